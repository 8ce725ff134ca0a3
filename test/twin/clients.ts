/**
 * The clients of ioredis, as far as the broker uses them, on connections in memory: their states and events, what they
 * reject and when, their time-outs and reconnecting, as `ioredis/built/Redis.js` and `redis/event_handler.js` have it.
 */
import { EventEmitter } from 'node:events';
import slotOf from 'cluster-key-slot';
import { Cluster, type Redis } from 'ioredis';
import { backoff, type Connections } from '../../src/brokers/redis/connections.js';
import { Connection, type Line, type Role, type Server } from './server.js';
import type { Reply } from './store.js';

const COMMAND_TIMEOUT = 5000;
const SOCKET_TIMEOUT = 3500;
const CONNECT_TIMEOUT = 3000;
/** At most one reconnect in this time because a server is a replica, ms. */
const REFUSED = 1000;

interface Pending {
  settle(error: Error | undefined, reply: Reply): void;
}

/** The first arguments of a command are its keys: how many, and where they start. */
function keysOf(name: string, args: readonly string[]): [names: string[], rest: string[]] {
  switch (name) {
    case 'tagwaitSet':
      return [args.slice(0, 2), args.slice(2)];
    case 'tagwaitSetMany':
    case 'tagwaitSubscribe':
    case 'tagwaitUnsubscribe': {
      const count = Number(args[0]);
      return [args.slice(1, 1 + count), args.slice(1 + count)];
    }
    case 'tagwaitHeartbeat':
    case 'tagwaitProve':
    case 'tagwaitPeek':
    case 'del':
      return [args.slice(0, 1), args.slice(1)];
    case 'mget':
    case 'exists':
      return [[...args], []];
    default:
      return [[], [...args]];
  }
}

/** The commands that the broker calls, each by its name. */
const COMMANDS = [
  'tagwaitSet',
  'tagwaitSetMany',
  'tagwaitSubscribe',
  'tagwaitUnsubscribe',
  'tagwaitProve',
  'tagwaitPeek',
  'tagwaitHeartbeat',
  'tagwaitRenew',
  'mget',
  'del',
  'exists',
  'publish',
  'subscribe',
  'ping',
  'wait',
  'info',
] as const;

/** Gives an object a method for each command. */
function offerCommands(target: object, send: (name: string, args: string[]) => Promise<Reply>): void {
  for (const name of COMMANDS)
    Object.defineProperty(target, name, {
      value: (...args: (string | number | string[])[]) => send(name, args.flat().map(String)),
    });
}

/** Emits each state as an event, a tick later. */
abstract class Stateful extends EventEmitter {
  status = 'wait';
  protected become(status: string): void {
    this.status = status;
    process.nextTick(() => this.emit(status));
  }
}

export class FakeClient extends Stateful {
  readonly options = { host: 'fake', port: 0 };
  /** not the number of bytes: it grows with each piece that arrives */
  readonly stream = { bytesRead: 0 };
  readonly #line: Line;
  readonly #role: Role;
  readonly #pick: () => Server;
  #connection: Connection | undefined;
  readonly #pending = new Set<Pending>();
  #attempts = 0;
  #refusedAt = Number.NEGATIVE_INFINITY;
  #reconnecting: NodeJS.Timeout | undefined;
  #socketTimer: NodeJS.Timeout | undefined;
  #closing = false;

  /** @param pick the server of the next connection */
  constructor(line: Line, role: Role, pick: () => Server) {
    super();
    this.#line = line;
    this.#role = role;
    this.#pick = pick;
    this.options.port = pick().port;
    offerCommands(this, (name, args) => this.send(name, args));
  }

  connect(): Promise<void> {
    if (['connecting', 'connect', 'ready'].includes(this.status))
      return Promise.reject(new Error('Redis is already connecting/connected'));
    this.become('connecting');
    this.#dial();
    return new Promise((resolve, reject) => {
      const ready = () => {
        this.removeListener('close', closed);
        resolve();
      };
      const closed = () => {
        this.removeListener('ready', ready);
        reject(new Error('Connection is closed.'));
      };
      this.once('ready', ready);
      this.once('close', closed);
    });
  }

  disconnect(reconnect = false): void {
    if (!reconnect) {
      this.#closing = true;
      clearTimeout(this.#reconnecting);
    }
    if (this.status === 'wait') this.#closed();
    else this.#connection?.end();
  }

  send(name: string, args: string[]): Promise<Reply> {
    if (this.status === 'end') return Promise.reject(new Error('Connection is closed.'));
    if (this.status !== 'ready' || !this.#connection?.writable)
      return Promise.reject(new Error("Stream isn't writeable and enableOfflineQueue options is false"));
    return new Promise((resolve, reject) => {
      const timed = this.#role === 'commands';
      const timer = timed && setTimeout(() => reject(new Error('Command timed out')), COMMAND_TIMEOUT);
      this.#request(name, args, (error, reply) => {
        if (timer) clearTimeout(timer);
        if (error) {
          this.#leaveReplica(error);
          reject(error);
        } else resolve(reply);
      });
    });
  }

  #request(name: string, args: string[], settle: Pending['settle']): void {
    const pending = { settle };
    this.#pending.add(pending);
    const [names, rest] = keysOf(name, args);
    this.#connection?.request(name, names, rest, (error, reply) => {
      if (this.#pending.delete(pending)) settle(error, reply);
    });
    if (this.#socketTimer === undefined) this.#expectData();
  }

  #expectData(): void {
    const connection = this.#connection;
    this.#socketTimer = setTimeout(() => {
      this.#socketTimer = undefined;
      const error = `Socket timeout. Expecting data, but didn't receive any in ${SOCKET_TIMEOUT}ms.`;
      connection?.reset(error);
    }, SOCKET_TIMEOUT);
  }

  #dial(): void {
    const server = this.#pick();
    Object.assign(this.options, { port: server.port });
    if (this.#line.silent.has(this.#role)) {
      setTimeout(() => this.#closed(new Error('connect ETIMEDOUT')), CONNECT_TIMEOUT);
      return;
    }
    setTimeout(() => {
      // asked to disconnect meanwhile
      if (this.#closing) this.#closed();
      else if (!server.up) this.#closed(new Error(`connect ECONNREFUSED ${server.address}`));
      else this.#open(server);
    }, 2 * this.#line.delay(this.#role));
  }

  #open(server: Server): void {
    const connection = new Connection(server, this.#line, this.#role, {
      data: () => {
        this.stream.bytesRead++;
        clearTimeout(this.#socketTimer);
        this.#socketTimer = undefined;
        if (this.#pending.size > 0) this.#expectData();
      },
      message: text => this.emit('message', '', text),
      close: error => {
        if (this.#connection === connection) this.#closed(error);
      },
    });
    this.#connection = connection;
    this.become('connect');
    // the password; it is not checked otherwise that Redis is ready
    this.#request('auth', [], error => {
      if (this.#connection !== connection || this.status !== 'connect') return;
      if (error) {
        this.#flush(error);
        this.emit('error', error);
        connection.end();
      } else {
        this.#attempts = 0;
        this.become('ready');
      }
    });
  }

  /** `reconnectOnError`: a replica answers, and perhaps another server is to be found there now. */
  #leaveReplica(error: Error): void {
    const now = performance.now();
    if (!/READONLY|NOREPLICAS|MASTERDOWN/.test(error.message) || now - this.#refusedAt < REFUSED) return;
    this.#refusedAt = now;
    this.emit('error', error);
    this.disconnect(true);
  }

  #closed(error?: Error): void {
    this.#connection = undefined;
    clearTimeout(this.#socketTimer);
    this.#socketTimer = undefined;
    if (error) this.emit('error', error);
    this.become('close');
    if (this.#closing) {
      this.#closing = false;
      this.become('end');
      this.#flush(new Error('Connection is closed.'));
      return;
    }
    this.become('reconnecting');
    this.#reconnecting = setTimeout(() => this.connect().catch(() => {}), backoff(++this.#attempts));
    this.#flush(
      new Error(
        'Reached the max retries per request limit (which is 0). Refer to "maxRetriesPerRequest" option for details.',
      ),
    );
  }

  #flush(error: Error): void {
    const pending = [...this.#pending];
    this.#pending.clear();
    for (const { settle } of pending) settle(error, null);
  }
}

/** All slots of so many servers, dealt out in turn; made once: they are many. */
const slotsOf = new Map<number, string[][]>();
function slots(servers: readonly Server[]): string[][] {
  let made = slotsOf.get(servers.length);
  if (!made) {
    made = Array.from({ length: 16_384 }, (_, slot) => [servers[slot % servers.length]?.address as string]);
    // each heartbeat maps all slots to find the masters, which is most of what a run costs
    const masters = servers.map(({ address }) => [address]);
    Object.defineProperty(made, 'map', { value: masters.map.bind(masters) });
    slotsOf.set(servers.length, made);
  }
  return made;
}

export class FakeCluster extends Stateful {
  readonly options = {};
  readonly slots: string[][];
  readonly #line: Line;
  readonly #clients: FakeClient[];
  #closed = false;

  constructor(line: Line, servers: readonly Server[]) {
    super();
    this.#line = line;
    this.slots = slots(servers);
    this.#clients = servers.map(server => new FakeClient(line, 'commands', () => server));
    for (const client of this.#clients) this.#follow(client);
    offerCommands(this, (name, args) => this.#send(name, args));
  }

  connect(): Promise<void> {
    if (this.status !== 'wait') return Promise.reject(new Error('Redis is already connecting/connected'));
    this.become('connecting');
    for (const client of this.#clients) client.connect().catch(() => {});
    return Promise.resolve();
  }

  disconnect(): void {
    this.#closed = true;
    for (const client of this.#clients) client.disconnect();
    this.become('close');
    this.become('end');
  }

  nodes(): FakeClient[] {
    return this.#clients;
  }

  #follow(client: FakeClient): void {
    client.on('error', (error: Error) => {
      this.emit('node error', error, `fake:${client.options.port}`);
      if (this.status === 'connecting' && this.#clients.every(({ status }) => status !== 'ready'))
        this.emit(
          'error',
          Object.assign(new Error('Failed to refresh slots cache.'), { lastNodeError: error }),
        );
    });
    client.on('ready', () => {
      if (!this.#closed && this.status !== 'ready') this.become('ready');
    });
    client.on('close', () => {
      if (this.#closed || this.status !== 'ready' || this.#clients.some(({ status }) => status === 'ready'))
        return;
      this.become('close');
      this.become('connecting');
    });
  }

  async #send(name: string, args: string[]): Promise<Reply> {
    if (this.status !== 'ready')
      throw new Error("Cluster isn't ready and enableOfflineQueue options is false");
    const [[first]] = keysOf(name, args);
    const { random } = this.#line;
    const slot = first === undefined ? undefined : slotOf(first);
    const client = this.#clients[
      (slot ?? Math.floor(random.next() * 1e6)) % this.#clients.length
    ] as FakeClient;
    // another server was asked first: what is sent after this one may overtake it
    if (this.#line.redirecting && random.next() < 0.3)
      await new Promise(resolve => setTimeout(resolve, 300 * random.next()));
    return client.send(name, args);
  }
}
// the broker asks which kind of client it has
Object.defineProperty(Cluster, Symbol.hasInstance, {
  value: (one: unknown) =>
    one instanceof FakeCluster || Object.prototype.isPrototypeOf.call(Cluster.prototype, one as object),
});

/** What `RedisBroker` takes as `connect`. */
export function fakeConnections(line: Line, servers: readonly Server[], clustered: boolean): Connections {
  const anyServer = () => line.random.pick(servers);
  const commands = clustered
    ? new FakeCluster(line, servers)
    : new FakeClient(line, 'commands', () => servers[0] as Server);
  const client = commands as unknown as Redis | Cluster;
  const subscriber = new FakeClient(line, 'subscriber', anyServer) as unknown as Redis;
  return { client, writer: client, subscriber, clients: [client] };
}
