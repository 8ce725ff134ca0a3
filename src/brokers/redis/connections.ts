/** The ways Redis is run, and what a broker needs of each: one client that commands, and one that hears. */
import slotOf from 'cluster-key-slot';
import { Cluster, Redis, type RedisOptions } from 'ioredis';
import { scripts } from './scripts.js';

export type Store =
  | { kind: 'server'; url: string }
  | { kind: 'sentinel'; sentinels: readonly string[]; master: string }
  | { kind: 'cluster'; nodes: readonly string[] };

/** Without an answer to a command for so long, the connection is destroyed, ms. */
const SOCKET_TIMEOUT = 3500;
const COMMAND_TIMEOUT = 5000;
const CONNECT_TIMEOUT = 3000;
/** Reconnect at once, then soon: every page waits for it. With jitter, because every node does. */
export const backoff = (attempt: number) => Math.min(50 * attempt, 500) * (0.5 + Math.random() / 2);

const common = {
  scripts,
  protocol: 2,
  // what could not be sent, or was not answered, fails now: a set that is sent again by itself may be stored twice
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  commandTimeout: COMMAND_TIMEOUT,
  connectTimeout: CONNECT_TIMEOUT,
  socketTimeout: SOCKET_TIMEOUT,
  disableClientInfo: true,
} satisfies RedisOptions;

export interface Connections {
  commands: Redis | Cluster;
  /** for sets; a client of its own when replicas are waited for: WAIT blocks its connection */
  writes: Redis | Cluster;
  /** receives messages; a client of its own, because a subscribed connection takes no commands */
  subscriber: Redis;
  /** all clients there are, for events */
  clients: (Redis | Cluster)[];
}

/** `host:port`, or a URL of that with what it takes to be let in. */
function parsed(text: string) {
  const url = new URL(text.includes('://') ? text : `redis://${text}`);
  return { url, host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port) };
}

/** What the first of some addresses says of user, password and TLS. */
function access([first = '']: readonly string[]): RedisOptions {
  const { url } = parsed(first);
  const { username, password } = url;
  return {
    ...(username ? { username: decodeURIComponent(username) } : {}),
    ...(password ? { password: decodeURIComponent(password) } : {}),
    ...(url.protocol === 'rediss:' ? { tls: {}, sentinelTLS: {}, enableTLSForSentinelMode: true } : {}),
  };
}

const hosts = (addresses: readonly string[]) =>
  addresses.map(text => {
    const { host, port } = parsed(text);
    return { host, port };
  });

/** @returns the client of the server that stores this key */
export function serverOf(commands: Redis | Cluster, key: string): Redis {
  if (!(commands instanceof Cluster)) return commands;
  const address = commands.slots[slotOf(key)]?.[0];
  const server = commands
    .nodes('master')
    .find(({ options }) => `${options.host}:${options.port}` === address);
  if (!server) throw new Error('no server is known for the slot');
  return server;
}
/** Where the server is that stores this key, for a log line. */
export const addressFor = (commands: Redis | Cluster, key: string): string =>
  commands instanceof Cluster ? (commands.slots[slotOf(key)]?.[0] ?? 'no server') : addressOf(commands);
export const databaseOf = (store: Store): number =>
  store.kind === 'server' ? Number(new URL(store.url).pathname.slice(1) || 0) : 0;
const NEVER =
  /WRONGPASS|NOAUTH|NOPERM|invalid password|without any password configured|DB index is out of range/;
export const neverWorks = (cause: string) =>
  NEVER.test(cause) ? `Redis refuses this node: ${cause}` : undefined;
export function addressOf(client: Redis | Cluster): string {
  if (client instanceof Cluster) return client.nodes('master').map(addressOf).join(',');
  return `${client.options.host}:${client.options.port}`;
}

/** Clients that are not connected yet, and go on trying once they are told to connect. */
export function connections(store: Store, wait: number): Connections {
  if (store.kind === 'cluster') {
    const make = () =>
      new Cluster(hosts(store.nodes), {
        scripts,
        enableAutoPipelining: true,
        autoPipeliningIgnoredCommands: ['tagwaitSetMany', 'tagwaitSubscribe', 'tagwaitUnsubscribe'],
        enableOfflineQueue: false,
        lazyConnect: true,
        clusterRetryStrategy: backoff,
        retryDelayOnFailover: 0,
        retryDelayOnClusterDown: 100,
        slotsRefreshInterval: 5000,
        slotsRefreshTimeout: 2000,
        redisOptions: {
          ...access(store.nodes),
          scripts,
          protocol: 2,
          commandTimeout: COMMAND_TIMEOUT,
          connectTimeout: CONNECT_TIMEOUT,
          socketTimeout: SOCKET_TIMEOUT,
          disableClientInfo: true,
        },
      });
    const cluster = make();
    const writes = wait > 0 ? make() : cluster;
    const pick = () => {
      const masters = cluster.nodes('master').map(({ options: { host = '', port = 0 } }) => ({ host, port }));
      const from = masters.length > 0 ? masters : hosts(store.nodes);
      return from[Math.floor(Math.random() * from.length)];
    };
    const subscriber: Redis = new Redis({
      ...common,
      ...access(store.nodes),
      ...pick(),
      lazyConnect: true,
      autoResubscribe: false,
      retryStrategy: times => {
        Object.assign(subscriber.options, pick());
        return backoff(times);
      },
    });
    return { commands: cluster, writes, subscriber, clients: [...new Set([cluster, writes])] };
  }
  const where: RedisOptions =
    store.kind === 'server'
      ? {}
      : {
          ...access(store.sentinels),
          sentinels: hosts(store.sentinels),
          name: store.master,
          failoverDetector: true,
          sentinelRetryStrategy: backoff,
        };
  const options = { ...common, ...where, lazyConnect: true, retryStrategy: backoff };
  const client = (more: RedisOptions) =>
    store.kind === 'server'
      ? new Redis(store.url, { ...options, ...more })
      : new Redis({ ...options, ...more });
  const commands = client({});
  const writes = wait > 0 ? client({}) : commands;
  return {
    commands,
    writes,
    subscriber: client({ autoResubscribe: false }),
    clients: [...new Set([commands, writes])],
  };
}
