/** Makes the ioredis clients of a broker: one for commands, one that subscribes, and with `wait` one for sets. */
import slotOf from 'cluster-key-slot';
import { Cluster, Redis, type RedisOptions } from 'ioredis';
import type { Access, Address } from './address.js';
import { cleanMessage } from './error-text.js';
import { ANOTHER_MASTER, Refusals } from './refusals.js';
import { scripts } from './scripts.js';
import { Sentinels } from './sentinels.js';
import { natOf, type Store, serverIn, serversIn } from './store.js';
import { Connector } from './stream.js';

/** A connection is destroyed if no answer to a command arrives within this time, ms. */
const SOCKET_TIMEOUT = 3500;
const COMMAND_TIMEOUT = 5000;
const CONNECT_TIMEOUT = 3000;
/**
 * ms before reconnect `attempt`: 25–50, 50–100 … at most 250–500. Short, because pages wait; with jitter, because all
 * nodes reconnect.
 */
export const backoff = (attempt: number) => Math.min(50 * attempt, 500) * (0.5 + Math.random() / 2);

export interface Connections {
  client: Redis | Cluster;
  /** for sets; a separate client if `wait` is set, because WAIT blocks its connection */
  writer: Redis | Cluster;
  /** receives messages; a separate client, because a subscribed connection accepts no commands */
  subscriber: Redis;
  /** `client`, and `writer` if it is another one */
  clients: (Redis | Cluster)[];
}

/** The servers of a Cluster in the settings. */
const configured = new WeakMap<Cluster, readonly Address[]>();

/** Options of every connection, including those to the servers of a Cluster. */
const shared = {
  scripts,
  protocol: 2,
  commandTimeout: COMMAND_TIMEOUT,
  connectTimeout: CONNECT_TIMEOUT,
  socketTimeout: SOCKET_TIMEOUT,
  // the heartbeat detects and reports that a server is loading or a replica
  enableReadyCheck: false,
  disableClientInfo: true,
} satisfies RedisOptions;

const clientOptions = {
  ...shared,
  // a command that cannot be sent or is not answered fails: ioredis must not retry, a set could be stored twice
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  lazyConnect: true,
} satisfies RedisOptions;

const subscriberOptions = {
  autoResubscribe: false,
  // a PONG waits behind the values before it; a silent connection is destroyed all the same
  commandTimeout: undefined,
};

export const NO_CONNECTION = 'there is no connection';
/** What went wrong with a command, without the names of ioredis's options, which are none of ours. */
export const wordsOf = ({ message }: Pick<Error, 'message'>): string =>
  /maxRetriesPerRequest|enableOfflineQueue/.test(message) ? NO_CONNECTION : message;

/**
 * Whether a command was sent to a server that does not have its slot: nothing was done. ioredis follows a redirection of
 * a command by itself, and of a pipeline only if each of its commands was refused alike.
 */
export const isRedirection = ({ message }: Pick<Error, 'message'>): boolean =>
  /^(?:MOVED|ASK) |same slots allocation group/.test(message);

/**
 * @param wait replicas that must confirm a set @returns clients that are not connected yet and reconnect by themselves
 */
export function connections(store: Store, wait: number): Connections {
  return store.kind === 'cluster' ? cluster(store, wait) : single(store, wait);
}

/** Clients of one server: the one in the settings, or the master that the Sentinels name. */
function single(store: Exclude<Store, { kind: 'cluster' }>, wait: number): Connections {
  const [where, given] = store.kind === 'server' ? server(store) : master(store);
  const make = (more: RedisOptions = {}) => {
    const refusals = new Refusals();
    const made = new Redis({
      ...clientOptions,
      ...access(given),
      ...where,
      ...more,
      db: given.database,
      retryStrategy: times => refusals.delay() ?? backoff(times),
      reconnectOnError: error => {
        if (!ANOTHER_MASTER.test(error.message) || !refusals.may()) return false;
        made.emit('error', error);
        return true;
      },
    });
    made.on('error', cleanMessage);
    made.on('error', (error: Error & { command?: { name: string } }) => {
      // ioredis would continue in database 0
      if (error.command?.name !== 'select') return;
      refusals.add();
      made.disconnect(true);
    });
    return made;
  };
  const client = make();
  const writer = wait > 0 ? make() : client;
  return {
    client,
    writer,
    subscriber: make(subscriberOptions),
    clients: [...new Set([client, writer])],
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
      // pipelines of ioredis follow redirections to addresses that are not in natMap
      enableAutoPipelining: Object.keys(natMap).length === 0,
      autoPipeliningIgnoredCommands: [
        ...['tagwaitSetMany', 'tagwaitSubscribe', 'tagwaitUnsubscribe', 'tagwaitPeek', 'tagwaitProve'],
        // alone it follows a redirection
        'tagwaitHeartbeat',
      ],
      enableOfflineQueue: false,
      lazyConnect: true,
      clusterRetryStrategy: backoff,
      retryDelayOnFailover: 0,
      retryDelayOnClusterDown: 100,
      slotsRefreshInterval: 5000,
      slotsRefreshTimeout: 2000,
      natMap,
      // keep host names: a TLS certificate is checked against the name, not against the resolved address
      dnsLookup: (host, found) => found(null, host),
      redisOptions: { ...shared, ...access(given) },
    });
    configured.set(made, at);
    made.on('error', cleanMessage);
    made.on('node error', cleanMessage);
    made.on('+node', ignoreAskingErrors);
    return made;
  };
  const client = make();
  const writer = wait > 0 ? make() : client;
  const anyMaster = () => {
    const masters = client.nodes('master').map(({ options: { host = '', port = 0 } }) => ({ host, port }));
    const from = masters.length > 0 ? masters : at;
    return from[Math.floor(Math.random() * from.length)];
  };
  const subscriber: Redis = new Redis({
    ...clientOptions,
    ...access(given),
    ...anyMaster(),
    ...subscriberOptions,
    retryStrategy: times => {
      Object.assign(subscriber.options, anyMaster());
      return backoff(times);
    },
  });
  subscriber.on('error', cleanMessage);
  return { client, writer, subscriber, clients: [...new Set([client, writer])] };
}

const access = ({ username, password, tls }: Access): RedisOptions => ({
  username,
  password,
  ...(tls ? { tls: {}, Connector } : {}),
});

/** ioredis does not handle the rejection of its own ASKING, which would end the process. */
function ignoreAskingErrors(node: Redis): void {
  const asking = node.asking.bind(node) as () => Promise<'OK'>;
  node.asking = (() => {
    const sent = asking();
    sent.catch(() => {});
    return sent;
  }) as Redis['asking'];
}

/** The client of the server that stores this key. @throws {Error} no server is known for its slot */
export function serverOf(client: Redis | Cluster, key: string): Redis {
  if (!(client instanceof Cluster)) return client;
  const address = client.slots[slotOf(key)]?.[0];
  const found = client.nodes('master').find(node => addressOf(node) === address);
  if (!found) throw new Error('no server is known for the slot');
  return found;
}

/** `host:port` of the server that stores this key, for log lines. */
export const addressFor = (client: Redis | Cluster, key: string): string =>
  client instanceof Cluster ? (client.slots[slotOf(key)]?.[0] ?? 'no server') : addressOf(client);

/**
 * `host:port`, or a socket's path, or all masters of a Cluster, or those of the settings while none is known, or the
 * master's name while no Sentinel knows an address.
 */
export function addressOf(client: Redis | Cluster): string {
  if (client instanceof Cluster) {
    const masters = client.nodes('master').map(addressOf);
    const given = configured.get(client) ?? [];
    return (masters.length > 0 ? masters : given.map(({ host, port }) => `${host}:${port}`)).join(',');
  }
  const { path, host, port, name } = client.options;
  return path ?? (host ? `${host}:${port}` : String(name));
}
