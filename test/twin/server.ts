/** Redis servers in memory, and the lines to them: they delay, refuse, pause, swallow and drop as a schedule says. */
import type { Random } from '../chaos/random.js';
import { as, type Process } from './clock.js';
import { type Reply, Store } from './store.js';

/** The client of a node that commands (and sets), or the one that receives messages. */
export type Role = 'commands' | 'subscriber';

/** What lies between one node and its servers, and what becomes of that which passes. */
export class Line implements Process {
  stalledUntil = 0;
  /** ms of all stalls of its process, that of now until its end */
  stalled = 0;
  /** ms that each way takes longer, at most, by role */
  readonly slow = new Map<Role, number>();
  /** roles whose bytes are swallowed, both ways */
  readonly silent = new Set<Role>();
  /** commands that are refused, and how; `*` for all */
  readonly refusals = new Map<string, string>();
  /** messages that get lost on the way to this node */
  dropping: 'none' | 'entries' | 'all' = 'none';
  /** some commands are redirected, and come later than those sent after them */
  redirecting = false;
  readonly connections = new Set<Connection>();
  onMessage: (text: string) => void = () => {};
  onDropped: (text: string) => void = () => {};
  /** A command is done whose connection its client has given up. */
  onLate: (names: readonly string[]) => void = () => {};
  onReply: (command: string, names: readonly string[], reply: Reply) => void = () => {};

  constructor(
    readonly random: Random,
    /** ms of one way */
    readonly base: number,
  ) {}

  /** Its process is stopped for so long from now on, ms. */
  stall(ms: number): void {
    const now = performance.now();
    const more = now + ms - Math.max(now, this.stalledUntil);
    if (more <= 0) return;
    this.stalled += more;
    this.stalledUntil = now + ms;
  }

  delay(role: Role): number {
    const way = this.base * (0.5 + this.random.next());
    const slow = this.slow.get(role);
    return slow === undefined ? way : way + slow * this.random.next();
  }

  /** Whether a connection lives, as far as its client knows, that will never carry anything again. */
  get deceives(): boolean {
    for (const { state } of this.connections) if (state === 'dead') return true;
    return false;
  }

  drops(text: string): boolean {
    return this.dropping === 'all' || (this.dropping === 'entries' && text.startsWith('e\n'));
  }
}

export class Server {
  readonly store: Store;
  up = true;
  replid = '';
  /** ms on the virtual clock */
  pausedUntil = 0;
  readonly refusals = new Map<string, string>();
  readonly connections = new Set<Connection>();
  /** the other servers of a Cluster, to which messages go too, unless that way is cut */
  others: Server[] = [];
  busIsCut = false;
  #busArrival = 0;
  readonly #paused: (() => void)[] = [];
  #runs = 0;

  constructor(readonly port: number) {
    this.restart();
    this.store = new Store({
      now: () => Date.now(),
      replid: () => this.replid,
      receivers: channel => this.#listening(channel).length,
      publish: (channel, message) => this.#publish(channel, message),
    });
  }

  get address(): string {
    return `fake:${this.port}`;
  }

  /** Another process, with what the one before had. */
  restart(): void {
    this.replid = `${this.port}${(++this.#runs).toString(16).padStart(4, '0')}`;
  }

  /** Nothing is done until then: SIGSTOP, CLIENT PAUSE, a slow script. What comes meanwhile is done after it. */
  pause(ms: number): void {
    this.pausedUntil = Math.max(this.pausedUntil, performance.now() + ms);
    setTimeout(() => this.#resume(), ms);
  }

  get paused(): boolean {
    return performance.now() < this.pausedUntil;
  }

  /** @returns what makes the process forget its clients */
  kill(): void {
    this.up = false;
    this.#paused.length = 0;
    for (const connection of [...this.connections]) connection.reset('read ECONNRESET');
  }

  receive(work: () => void): void {
    if (!this.up) return;
    if (this.paused) this.#paused.push(work);
    else work();
  }

  execute(connection: Connection, name: string, names: readonly string[], args: readonly string[]): Reply {
    const { line } = connection;
    const refused =
      line.refusals.get(name) ?? line.refusals.get('*') ?? this.refusals.get(name) ?? this.refusals.get('*');
    if (refused !== undefined) throw new Error(refused);
    switch (name) {
      case 'tagwaitSet':
      case 'tagwaitSetMany':
        return this.store.set(names, args);
      case 'tagwaitSubscribe':
        return this.store.subscribe(names, args);
      case 'tagwaitUnsubscribe':
        return this.store.unsubscribe(names, args);
      case 'tagwaitRenew':
        return this.store.renew(args);
      case 'tagwaitHeartbeat':
        return this.store.heartbeat(names[0] as string, args);
      case 'tagwaitProve':
        return this.store.prove(names[0] as string, args);
      case 'tagwaitPeek':
        return this.store.peek(names[0] as string, args);
      case 'mget':
        return names.map(key => this.store.get(key));
      case 'del':
        return this.store.del(names[0] as string);
      case 'exists':
        return names.filter(key => this.store.pttl(key) !== -2).length;
      case 'auth':
      case 'ping':
        return 'OK';
      case 'publish':
        return this.#publish(args[0] as string, args[1] as string);
      case 'subscribe':
        for (const channel of args) connection.channels.add(channel);
        return args.length;
      case 'wait':
        return Number(args[0]);
      case 'info':
        return 'maxmemory_policy:noeviction\r\n';
    }
    throw new Error(`ERR unknown command '${name}'`);
  }

  #resume(): void {
    // a timer of Node may fire a part of a millisecond early; of two pauses the longer one counts
    if (this.pausedUntil - performance.now() > 1) return;
    this.pausedUntil = 0;
    for (const work of this.#paused.splice(0)) work();
  }

  #listening(channel: string): Connection[] {
    return [...this.connections].filter(({ channels }) => channels.has(channel));
  }

  #publish(channel: string, message: string): number {
    const here = this.#listening(channel);
    for (const connection of here) connection.push(message);
    if (this.others.length > 0) {
      const at = Math.max(this.#busArrival, performance.now() + 1 + 3 * Math.random());
      this.#busArrival = at;
      for (const other of this.others) {
        const listening = other.#listening(channel);
        if (this.busIsCut || other.busIsCut) for (const { line } of listening) line.onDropped(message);
        else
          as(undefined, () => setTimeout(() => this.#pass(other, channel, message), at - performance.now()));
      }
    }
    return here.length;
  }

  #pass(other: Server, channel: string, message: string): void {
    other.receive(() => {
      for (const connection of other.#listening(channel)) connection.push(message);
    });
  }
}

/** One TCP connection. Bytes keep their order in each direction. */
export class Connection {
  /** dead: bytes are swallowed for ever, and neither side knows */
  state: 'open' | 'dead' | 'closed' = 'open';
  /** the client has not closed its side */
  writable = true;
  readonly channels = new Set<string>();
  #toServer = 0;
  #toClient = 0;
  /** what was sent before it was closed still arrives */
  #delivers = true;

  constructor(
    readonly server: Server,
    readonly line: Line,
    readonly role: Role,
    readonly on: { data(): void; message(text: string): void; close(error?: Error): void },
  ) {
    server.connections.add(this);
    line.connections.add(this);
  }

  request(
    name: string,
    names: readonly string[],
    args: readonly string[],
    answer: (error: Error | undefined, reply: Reply) => void,
  ): void {
    this.#sendTo(() =>
      this.server.receive(() => {
        if (!this.#arrives()) return;
        if (this.state !== 'open') this.line.onLate(names);
        let reply: Reply = null;
        let error: Error | undefined;
        try {
          reply = this.server.execute(this, name, names, args);
        } catch (thrown) {
          error = thrown as Error;
        }
        this.#sendBack(() => {
          if (!error) this.line.onReply(name, names, reply);
          answer(error, reply);
        });
      }),
    );
  }

  push(text: string): void {
    if (this.line.drops(text)) this.line.onDropped(text);
    else
      this.#sendBack(() => {
        this.line.onMessage(text);
        this.on.message(text);
      });
  }

  /** From now on bytes are swallowed, and neither side knows. */
  kill(): void {
    if (this.state !== 'closed') this.state = 'dead';
    this.#delivers = this.line.random.next() < 0.5;
  }

  /** The client was killed: the server sees the end, and the client nothing. */
  abandon(): void {
    this.state = 'closed';
    this.server.connections.delete(this);
    this.line.connections.delete(this);
  }

  /** The client has closed its side: the connection ends when the server has heard of it, or after 2 s. */
  end(): void {
    this.writable = false;
    const hears =
      this.state === 'open' && !this.line.silent.has(this.role) && !this.server.paused && this.server.up;
    setTimeout(() => this.#close(), hears ? 2 * this.line.delay(this.role) : 2000);
  }

  /** Broken, and the client knows at once. */
  reset(message: string): void {
    this.#delivers = this.line.random.next() < 0.5;
    this.#close(new Error(message));
  }

  #close(error?: Error): void {
    if (this.state === 'closed') return;
    this.state = 'closed';
    this.server.connections.delete(this);
    this.line.connections.delete(this);
    this.on.close(error);
  }

  #arrives = () => this.state === 'open' || this.#delivers;

  #sendTo(arrive: () => void): void {
    if (this.#swallowed()) return;
    const now = performance.now();
    this.#toServer = Math.max(this.#toServer, now + this.line.delay(this.role));
    as(undefined, () => setTimeout(arrive, this.#toServer - now));
  }

  #sendBack(arrive: () => void): void {
    if (this.#swallowed()) return;
    const now = performance.now();
    this.#toClient = Math.max(this.#toClient, now + this.line.delay(this.role));
    as(this.line, () =>
      setTimeout(() => {
        if (this.state !== 'open') return;
        arrive();
        this.on.data();
      }, this.#toClient - now),
    );
  }

  /** A byte that was swallowed is missing for ever: the connection is dead. */
  #swallowed(): boolean {
    if (this.state === 'dead') return true;
    if (!this.line.silent.has(this.role)) return false;
    this.kill();
    return true;
  }
}
