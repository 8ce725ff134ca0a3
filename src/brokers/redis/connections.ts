/** The ways Redis is run, and what a broker needs of each: one client that commands, and one that hears. */
import { readFileSync } from 'node:fs';
import { Cluster, Redis, type RedisOptions, type Result } from 'ioredis';

export type Store =
  | { kind: 'server'; url: string }
  | { kind: 'sentinel'; sentinels: readonly string[]; master: string }
  | { kind: 'cluster'; nodes: readonly string[] };

const lua = (name: string) =>
  readFileSync(new URL(`../../../src/brokers/redis/${name}.lua`, import.meta.url), 'utf8');
const scripts = {
  tagwaitSet: { lua: lua('set'), numberOfKeys: 2 },
  tagwaitSetMany: { lua: lua('set') },
  tagwaitSubscribe: { lua: lua('subscribe') },
  tagwaitUnsubscribe: { lua: lua('unsubscribe') },
  tagwaitPeek: { lua: lua('peek'), numberOfKeys: 1 },
  tagwaitBeat: { lua: lua('beat'), numberOfKeys: 1 },
};

type Reply = (string | number | null)[];
declare module 'ioredis' {
  interface RedisCommander<Context> {
    tagwaitSet(entries: string, watchers: string, ...args: (string | number)[]): Result<Reply[], Context>;
    tagwaitSetMany(keys: number, ...keysAndArgs: (string | number)[]): Result<Reply[], Context>;
    tagwaitSubscribe(keys: number, ...keysAndArgs: (string | number)[]): Result<Reply[], Context>;
    tagwaitUnsubscribe(keys: number, ...keysAndArgs: string[]): Result<null, Context>;
    tagwaitPeek(entries: string): Result<Reply, Context>;
    tagwaitBeat(
      marker: string,
      life: number,
      channel: string,
      message: string,
    ): Result<[number, string], Context>;
  }
}

/** A command unanswered for so long counts as failed, ms: well under what a backend waits for its set. */
const COMMAND_TIMEOUT = 3000;
/** Reconnect at once, then soon: every page waits for it. With jitter, because every node does. */
const retry = (times: number) => Math.min(50 * times, 500) * (0.5 + Math.random() / 2);

const common = {
  scripts,
  protocol: 2,
  // what could not be sent, or was not answered, fails now: a set that is sent again by itself may be stored twice
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  commandTimeout: COMMAND_TIMEOUT,
  connectTimeout: COMMAND_TIMEOUT,
  disableClientInfo: true,
  // a master that became a replica: look for the new one
  reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
} satisfies RedisOptions;

export interface Connections {
  commands: Redis | Cluster;
  /** hears channels; a client of its own, because a subscribed connection takes no commands */
  hints: Redis | Cluster;
  /** all clients there are, for events */
  clients: (Redis | Cluster)[];
}

/** `host:port`, or a URL of that with what it takes to be let in. */
function addressOf(text: string) {
  const url = new URL(text.includes('://') ? text : `redis://${text}`);
  return { url, host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port) };
}

/** What the first of some addresses says of user, password and TLS. */
function access([first = '']: readonly string[]): RedisOptions {
  const { url } = addressOf(first);
  const { username, password } = url;
  return {
    ...(username ? { username: decodeURIComponent(username) } : {}),
    ...(password ? { password: decodeURIComponent(password) } : {}),
    ...(url.protocol === 'rediss:' ? { tls: {}, sentinelTLS: {}, enableTLSForSentinelMode: true } : {}),
  };
}

const hosts = (addresses: readonly string[]) =>
  addresses.map(text => {
    const { host, port } = addressOf(text);
    return { host, port };
  });

/** Clients that are not connected yet, and go on trying once they are told to connect. */
export function connections(store: Store): Connections {
  if (store.kind === 'cluster') {
    const cluster = new Cluster(hosts(store.nodes), {
      scripts,
      // a tick's sets are of as many slots as keys, and each a command: one write for those that go to one server
      enableAutoPipelining: true,
      // it takes the first argument for the key, which here is the number of keys
      autoPipeliningIgnoredCommands: ['tagwaitSetMany', 'tagwaitSubscribe', 'tagwaitUnsubscribe'],
      enableOfflineQueue: false,
      lazyConnect: true,
      clusterRetryStrategy: retry,
      // a set that is sent again by itself may be stored twice
      retryDelayOnFailover: 0,
      retryDelayOnClusterDown: 100,
      slotsRefreshInterval: 5000,
      slotsRefreshTimeout: 2000,
      redisOptions: {
        ...access(store.nodes),
        protocol: 2,
        commandTimeout: COMMAND_TIMEOUT,
        connectTimeout: COMMAND_TIMEOUT,
        disableClientInfo: true,
      },
    });
    return { commands: cluster, hints: cluster, clients: [cluster] };
  }
  const where: RedisOptions =
    store.kind === 'server'
      ? {}
      : {
          ...access(store.sentinels),
          sentinels: hosts(store.sentinels),
          name: store.master,
          failoverDetector: true,
          sentinelRetryStrategy: retry,
        };
  const options = { ...common, ...where, lazyConnect: true, retryStrategy: retry };
  const client = (more: RedisOptions) =>
    store.kind === 'server'
      ? new Redis(store.url, { ...options, ...more })
      : new Redis({ ...options, ...more });
  const commands = client({});
  const hints = client({ autoResubscribe: false });
  return { commands, hints, clients: [commands, hints] };
}
