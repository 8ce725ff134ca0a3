/**
 * The link to Redis: whether commands are answered by every server, and messages received. One state, and one place
 * where it changes.
 *
 *   connecting ──► subscribed ◄──► away          any state ──► closed
 *
 * A heartbeat on every server checks three things: the command was answered (the server can be reached), our own message
 * came back (messages are received), marker and run_id are unchanged (no flush, no restart).
 */
import slotOf from 'cluster-key-slot';
import { Cluster, type Redis } from 'ioredis';
import type { Logger } from '../../log.js';
import { type Events, type StoreStatus, Unavailable, WrongStore } from '../broker.js';
import { decode } from '../messages.js';
import { DEAD, HEARTBEAT, type NodeChannel, Survey } from '../survey.js';
import { addressFor, addressOf, type Connections } from './connections.js';
import { assertNoCluster, warnOfEviction } from './inspect.js';
import type { Keys } from './keys.js';
import { neverWorks } from './store.js';
import { Subscriber } from './subscriber.js';

/** A heartbeat that was answered must be received within this time, ms, or messages are not received. */
const ECHO = 1500;
/** How long a node that starts waits for Redis before it goes on without, ms. */
const START = 3000;
/** How many causes are logged while Redis is away: each is said once. */
const MAX_CAUSES = 10;
/** How long the goodbye may take when a node closes, ms. */
const GOODBYE = 300;

export type LinkState = 'connecting' | 'subscribed' | 'away' | 'closed';

export interface LinkOptions {
  connections: Connections;
  keys: Keys;
  node: string;
  log: Pick<Logger, 'info' | 'warn'>;
  events: Events;
  /** the state is `subscribed` from now on */
  onReady(): void;
}

/** What the link knows of one server. */
interface Server {
  /** its process; undefined: not known, entries may have been missed */
  run: string | undefined;
  /** heartbeats sent, and the newest of them that came back */
  sent: number;
  received: number;
  /** of the newest heartbeat: why it was not answered; undefined: it was */
  failure: string | undefined;
  /** runs from an answer until its heartbeat comes back */
  echo: NodeJS.Timeout | undefined;
}

export class Link implements NodeChannel {
  readonly survey: Survey;
  reconnects = 0;
  #state: LinkState = 'connecting';
  /** why the state is `away` */
  #cause: string | undefined;
  /** causes that were logged since the link went away */
  readonly #logged = new Set<string>();
  readonly #options: LinkOptions;
  readonly #subscriber: Subscriber;
  readonly #servers = new Map<string, Server>();
  #heartbeats: NodeJS.Timeout | undefined;
  /** settles `start` */
  #started: (error?: Error) => void = () => {};

  constructor(options: LinkOptions) {
    this.#options = options;
    this.survey = new Survey(options.node, this, options.events);
    const { connections } = options;
    this.#subscriber = new Subscriber(connections.subscriber, [this.#channelOf(options.node), this.#all], {
      message: text => this.#receive(text),
      subscribed: () => this.#subscribed(),
      lost: cause => this.#lose(cause),
    });
  }

  /** Resolves when Redis works or is known to be away. @throws {WrongStore} */
  async start(): Promise<void> {
    const { commands, clients } = this.#options.connections;
    const started = new Promise<void>((resolve, reject) => {
      this.#started = error => (error ? reject(error) : resolve());
    });
    const timer = setTimeout(() => this.#lose(`no answer within ${START} ms`), START);
    commands.on('ready', () => void this.#beat());
    for (const client of clients) this.#follow(client);
    this.#subscriber.connect();
    this.#heartbeats = setInterval(() => void this.#beat(), HEARTBEAT).unref();
    try {
      await started;
    } catch (error) {
      await this.close();
      throw error;
    } finally {
      clearTimeout(timer);
      // what would end a node at its start is told and tried again from now on
      this.#started = () => {};
    }
  }

  status(): StoreStatus {
    return { up: this.#state === 'subscribed', cause: this.#cause, reconnects: this.reconnects };
  }

  /** @throws {Unavailable} whatever went wrong */
  async do<T>(command: (commands: Redis | Cluster) => Promise<T>): Promise<T> {
    try {
      return await command(this.#options.connections.commands);
    } catch (error) {
      // while the link does not work, its cause says more than what that does to one command
      throw new Unavailable(`Redis: ${this.#cause ?? (error as Error).message}`);
    }
  }

  async broadcast(message: string): Promise<number | undefined> {
    const receivers = await this.do(commands => commands.publish(this.#all, message));
    // a server of a Cluster counts only those that are connected to itself
    return this.#options.connections.commands instanceof Cluster ? undefined : receivers;
  }

  send(node: string, message: string): void {
    this.do(commands => commands.publish(this.#channelOf(node), message)).catch(() => {});
  }

  async close(): Promise<void> {
    const { commands, clients } = this.#options.connections;
    const reachable = this.#state === 'subscribed';
    this.#state = 'closed';
    clearInterval(this.#heartbeats);
    for (const server of this.#servers.values()) clearTimeout(server.echo);
    if (reachable) {
      const markers = [...this.#servers.keys()].map(tag => commands.del(this.#marker(tag)));
      const goodbye = [this.broadcast(this.survey.goodbye()), ...markers];
      await Promise.race([Promise.allSettled(goodbye), new Promise(late => setTimeout(late, GOODBYE))]);
    }
    this.#subscriber.close();
    for (const client of clients) client.disconnect();
  }

  get #all(): string {
    return `${this.#options.keys.channels}all`;
  }
  #channelOf = (node: string) => `${this.#options.keys.channels}n:${node}`;
  #marker = (tag: string) => `${this.#options.keys.markers(tag)}${this.#options.node}`;

  /** Connects a client, for ever: `end` comes when it gave up by itself, as when a failover is announced meanwhile. */
  #follow(client: Redis | Cluster): void {
    let cause = '';
    const connect = () => {
      if (this.#state !== 'closed') client.connect().catch(() => {});
    };
    // an `error` event without a listener would end the process
    client.on('error', (error: Error & { lastNodeError?: Error }) => {
      cause = (error.lastNodeError ?? error).message;
      this.#lose(`${addressOf(client)}: ${cause}`);
    });
    // one server of a Cluster: whether the Cluster works without it is not known here
    client.on('node error', (error: Error, address: string) => {
      cause = `${address}: ${error.message}`;
    });
    client.on('close', () => {
      if (client === this.#options.connections.commands)
        this.#disconnected(cause || 'the connection was closed');
      cause = '';
    });
    client.on('end', () => setTimeout(connect, 100).unref());
    connect();
  }

  #disconnected(cause: string): void {
    for (const server of this.#servers.values()) server.failure = cause;
    // what broke this connection may have silenced the other one
    this.#subscriber.reconnect();
    this.#lose(`${addressOf(this.#options.connections.commands)}: ${cause}`);
  }

  /** Ends a start that can never succeed. Later, the same is only logged: it may pass. */
  #refuse(cause: string): void {
    const reason = neverWorks(cause);
    if (reason) this.#started(new WrongStore(reason));
  }

  /** The link does not work, or something on the way to it. @param cause one line, with the address */
  #lose(cause: string): void {
    this.#refuse(cause);
    if (!this.#subscriber.subscribed) this.survey.listening(false);
    if (this.#state === 'closed' || (this.#state === 'subscribed' && !this.#failure())) return;
    this.#state = 'away';
    this.#cause = cause;
    // each cause once: while Redis is away the same few come again and again
    if (this.#logged.size < MAX_CAUSES && !this.#logged.has(cause)) {
      this.#logged.add(cause);
      this.#options.log.warn({ cause }, 'Redis is away: pages are held on, sets are refused');
    }
    this.#started();
  }

  /** Every server has answered, and messages are received. */
  #restore(): void {
    const { log, events, onReady } = this.#options;
    const returned = this.#state === 'away';
    this.#state = 'subscribed';
    this.#cause = undefined;
    this.#logged.clear();
    if (returned) {
      this.reconnects++;
      log.info('Redis is back');
    }
    this.#started();
    onReady();
    events.gap();
  }

  /** Why the link does not work; undefined: it does. */
  #failure(): string | undefined {
    if (!this.#subscriber.subscribed)
      return `${addressOf(this.#options.connections.subscriber)}: no messages are delivered`;
    if (this.#servers.size === 0) return 'no server is known';
    return [...this.#servers.values()].find(({ failure }) => failure)?.failure;
  }

  #subscribed(): void {
    this.survey.listening(true);
    // heartbeats from before the subscription do not come back
    for (const server of this.#servers.values()) {
      server.received = server.sent;
      clearTimeout(server.echo);
      server.echo = undefined;
    }
    void this.#beat();
  }

  async #beat(): Promise<void> {
    const { commands } = this.#options.connections;
    if (commands.status !== 'ready' || !this.#subscriber.subscribed) return;
    const missed = await Promise.all(this.#tags().map(tag => this.#beatOn(tag)));
    if (this.#state === 'closed') return;
    const failure = this.#failure();
    if (failure) this.#lose(failure);
    else if (this.#state !== 'subscribed') this.#restore();
    else if (missed.includes(true)) this.#options.events.gap();
  }

  /** A hash tag for each server that owns slots: a key with that tag is stored there. */
  #tags(): string[] {
    const { commands } = this.#options.connections;
    if (!(commands instanceof Cluster)) return ['0'];
    const masters = new Set(commands.slots.map(servers => servers?.[0]).filter(Boolean));
    const tags: string[] = [];
    for (let tag = 0; masters.size > 0 && tag < 100_000; tag++)
      if (masters.delete(commands.slots[slotOf(String(tag))]?.[0])) tags.push(String(tag));
    for (const [tag, server] of this.#servers) {
      if (tags.includes(tag)) continue;
      clearTimeout(server.echo);
      this.#servers.delete(tag);
    }
    return tags;
  }

  /** @returns whether entries may have been missed: another process answers, or the marker is gone */
  async #beatOn(tag: string): Promise<boolean> {
    const server = this.#servers.get(tag) ?? {
      run: undefined,
      sent: 0,
      received: 0,
      failure: undefined,
      echo: undefined,
    };
    this.#servers.set(tag, server);
    const count = ++server.sent;
    const { commands } = this.#options.connections;
    try {
      const message = this.survey.heartbeat(tag, count);
      const [kept, run] = await commands.tagwaitHeartbeat(this.#marker(tag), DEAD, this.#all, message);
      const same = kept === 1 && run === server.run;
      if (run !== server.run) await this.#inspect(tag);
      server.run = run;
      server.failure = undefined;
      if (server.received < count) this.#expectEcho(server);
      return !same;
    } catch (error) {
      const wasReached = server.failure === undefined;
      server.failure = `${addressFor(commands, this.#marker(tag))}: ${(error as Error).message}`;
      // a server that cannot be reached may be the one that messages come from
      if (wasReached && commands instanceof Cluster) this.#subscriber.reconnect();
      return false;
    }
  }

  async #inspect(tag: string): Promise<void> {
    const { keys, log, connections } = this.#options;
    await assertNoCluster(connections.commands, [keys.entries('0'), keys.entries('1')]);
    void warnOfEviction(connections.commands, this.#marker(tag), log);
  }

  /** Commands are answered and messages not received: that connection hangs, or its server is cut off from the others. */
  #expectEcho(server: Server): void {
    if (server.echo) return;
    const { sent } = server;
    server.echo = setTimeout(() => {
      server.echo = undefined;
      if (server.received >= sent || this.#state === 'closed') return;
      this.#options.log.warn('Redis delivers no messages: subscribing again');
      this.#subscriber.reconnect();
      const failure = this.#failure();
      if (failure) this.#lose(failure);
    }, ECHO).unref();
  }

  #receive(text: string): void {
    const message = decode(text);
    if (!message) return;
    if (message.kind === 'entries')
      for (const [key, entry] of message.entries) this.#options.events.entry(key, entry);
    else {
      this.survey.receive(message);
      if (message.kind === 'heartbeat' && message.node === this.#options.node)
        this.#receiveOwn(message.server, message.count);
    }
  }

  #receiveOwn(tag: string, count: number): void {
    const server = this.#servers.get(tag);
    if (!server) return;
    const missed = count > server.received + 1 && server.received > 0;
    server.received = Math.max(server.received, count);
    clearTimeout(server.echo);
    server.echo = undefined;
    if (missed) this.#options.events.gap();
  }
}
