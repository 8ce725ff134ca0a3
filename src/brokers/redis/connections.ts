/** The clients that a broker needs: one that commands, one that hears, and with `wait` one for sets. */
import slotOf from 'cluster-key-slot';
import { Cluster, Redis, type RedisOptions } from 'ioredis';
import type { Access } from './address.js';
import { scripts } from './scripts.js';
import { Sentinels } from './sentinels.js';
import { natOf, type Store, serverIn, serversIn } from './store.js';
import { Connector } from './stream.js';

/** Without an answer to a command for so long, the connection is destroyed, ms. */
const SOCKET_TIMEOUT = 3500;
const COMMAND_TIMEOUT = 5000;
const CONNECT_TIMEOUT = 3000;
/** At most one reconnect in this time because a server is a replica or refuses the database, ms. */
const REFUSED = 1000;
/** Reconnect at once, then soon: every page waits for it. With jitter, because every node does. */
export const backoff = (attempt: number) => Math.min(50 * attempt, 500) * (0.5 + Math.random() / 2);

export interface Connections {
  commands: Redis | Cluster;
  /** for sets; a client of its own when replicas are waited for: WAIT blocks its connection */
  writes: Redis | Cluster;
  /** receives messages; a client of its own, because a subscribed connection takes no commands */
  subscriber: Redis;
  /** all clients that take commands, for events */
  clients: (Redis | Cluster)[];
}

/** For every connection, also those to the nodes of a Cluster. */
const shared = {
  scripts,
  protocol: 2,
  commandTimeout: COMMAND_TIMEOUT,
  connectTimeout: CONNECT_TIMEOUT,
  socketTimeout: SOCKET_TIMEOUT,
  // the heartbeat finds out, and reports, that a server loads or is a replica
  enableReadyCheck: false,
  disableClientInfo: true,
} satisfies RedisOptions;

const client = {
  ...shared,
  // what could not be sent, or was not answered, fails now: a set that is sent again by itself may be stored twice
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  lazyConnect: true,
} satisfies RedisOptions;

/** Clients that are not connected yet, and go on trying once they are told to connect. */
export function connections(store: Store, wait: number): Connections {
  return store.kind === 'cluster' ? cluster(store, wait) : single(store, wait);
}

/** One server at a time: the one in the settings, or the one that the Sentinels name. */
function single(store: Exclude<Store, { kind: 'cluster' }>, wait: number): Connections {
  const [where, given] = store.kind === 'server' ? server(store) : master(store);
  const make = (more: RedisOptions = {}) => {
    const refusals = new Refusals();
    const made = new Redis({
      ...client,
      ...access(given),
      ...where,
      ...more,
      db: given.database,
      retryStrategy: times => refusals.delay() ?? backoff(times),
      reconnectOnError: error => {
        if (!/READONLY/.test(error.message) || !refusals.may()) return false;
        made.emit('error', error);
        return true;
      },
    });
    made.on('error', explain);
    made.on('error', (error: Error & { command?: { name: string } }) => {
      // ioredis would go on, in database 0
      if (error.command?.name !== 'select') return;
      refusals.add();
      made.disconnect(true);
    });
    return made;
  };
  const commands = make();
  const writes = wait > 0 ? make() : commands;
  return {
    commands,
    writes,
    subscriber: make({ autoResubscribe: false }),
    clients: [...new Set([commands, writes])],
  };
}

function server(store: Extract<Store, { kind: 'server' }>): [RedisOptions, Access] {
  const { at, ...given } = serverIn(store);
  return [at, given];
}

function master(store: Extract<Store, { kind: 'sentinel' }>): [RedisOptions, Access] {
  const { at, ...given } = serversIn(store);
  const { sentinelPassword: password = given.password, master: name } = store;
  const sentinels = new Sentinels({ ...given, at, name, password, nat: natOf(store), backoff });
  return [{ name, host: '', Connector: sentinels.connector }, given];
}

function cluster(store: Extract<Store, { kind: 'cluster' }>, wait: number): Connections {
  const { at, ...given } = serversIn(store);
  const natMap = natOf(store);
  const make = () => {
    const made = new Cluster(at, {
      scripts,
      // a pipeline of ioredis follows redirections to addresses that are not mapped
      enableAutoPipelining: Object.keys(natMap).length === 0,
      autoPipeliningIgnoredCommands: ['tagwaitSetMany', 'tagwaitSubscribe', 'tagwaitUnsubscribe'],
      enableOfflineQueue: false,
      lazyConnect: true,
      clusterRetryStrategy: backoff,
      retryDelayOnFailover: 0,
      retryDelayOnClusterDown: 100,
      slotsRefreshInterval: 5000,
      slotsRefreshTimeout: 2000,
      natMap,
      // names are looked up when connecting: a certificate is held against the name, which an address would replace
      dnsLookup: (host, found) => found(null, host),
      redisOptions: { ...shared, ...access(given) },
    });
    made.on('error', explain);
    made.on('node error', explain);
    made.on('+node', handled);
    return made;
  };
  const commands = make();
  const writes = wait > 0 ? make() : commands;
  const pick = () => {
    const masters = commands.nodes('master').map(({ options: { host = '', port = 0 } }) => ({ host, port }));
    const from = masters.length > 0 ? masters : at;
    return from[Math.floor(Math.random() * from.length)];
  };
  const subscriber: Redis = new Redis({
    ...client,
    ...access(given),
    ...pick(),
    autoResubscribe: false,
    retryStrategy: times => {
      Object.assign(subscriber.options, pick());
      return backoff(times);
    },
  });
  subscriber.on('error', explain);
  return { commands, writes, subscriber, clients: [...new Set([commands, writes])] };
}

const access = ({ username, password, tls }: Access): RedisOptions => ({
  ...(username ? { username } : {}),
  ...(username || password ? { password } : {}),
  ...(tls ? { tls: {}, Connector } : {}),
});

/** Connections that were let in and are of no use: they must not be made again at once, for ever. */
class Refusals {
  #last = Number.NEGATIVE_INFINITY;
  #refused = false;

  /** @returns whether it is time to reconnect once more, which counts as done */
  may(): boolean {
    const now = performance.now();
    if (now - this.#last < REFUSED) return false;
    this.#last = now;
    return true;
  }

  add(): void {
    this.#refused = true;
  }

  /** @returns ms until the next try; undefined: the last connection was not refused */
  delay(): number | undefined {
    if (!this.#refused) return undefined;
    this.#refused = false;
    return REFUSED * (0.5 + Math.random() / 2);
  }
}

/** Gives an error a message that may be logged: Redis repeats the arguments of a command that it does not know. */
function explain(error: Error & { lastNodeError?: Error; errors?: Error[] }): void {
  if (error.lastNodeError) explain(error.lastNodeError);
  // a name with several addresses, none of which answers
  error.message ||= (error.errors ?? []).map(({ message }) => message).join(', ') || error.name;
  error.message = error.message.replace(/,? with args beginning with.*/s, '');
}

/** ioredis sends ASKING without a listener: its refusal, or a connection that breaks then, would end the process. */
function handled(node: Redis): void {
  const asking = node.asking.bind(node) as () => Promise<'OK'>;
  node.asking = (() => {
    const sent = asking();
    sent.catch(() => {});
    return sent;
  }) as Redis['asking'];
}

/** @returns the client of the server that stores this key */
export function serverOf(commands: Redis | Cluster, key: string): Redis {
  if (!(commands instanceof Cluster)) return commands;
  const address = commands.slots[slotOf(key)]?.[0];
  const found = commands.nodes('master').find(node => addressOf(node) === address);
  if (!found) throw new Error('no server is known for the slot');
  return found;
}

/** Where the server is that stores this key, for a log line. */
export const addressFor = (commands: Redis | Cluster, key: string): string =>
  commands instanceof Cluster ? (commands.slots[slotOf(key)]?.[0] ?? 'no server') : addressOf(commands);

/** `host:port`, a path, of a Cluster all masters, and of Sentinels that name no server the name they were asked for. */
export function addressOf(client: Redis | Cluster): string {
  if (client instanceof Cluster) return client.nodes('master').map(addressOf).join(',');
  const { path, host, port, name } = client.options;
  return path ?? (host ? `${host}:${port}` : String(name));
}
