/** Composes everything: a broker, the long poll, the routes; as a library, or with two listeners of its own. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import Koa from 'koa';
import type { Broker, NodeInfo, Peek, Receipt } from './brokers/broker.js';
import { MemoryBroker } from './brokers/memory.js';
import { RedisBroker } from './brokers/redis/redis.js';
import { libraryConfigOf, Misconfigured, redacted } from './config.js';
import { demoRoutes } from './demo/demo.js';
import { collectAfterPeaks } from './gc.js';
import { LongPoll } from './hold/longpoll.js';
import { type FdBudget, fdBudget, Limits } from './limits.js';
import { type Live, startLive } from './live/live.js';
import { createLog, type Logger, throttleLog } from './log.js';
import type { LoginCalls } from './login/calls.js';
import { Logins } from './login/machine.js';
import { Metrics, type MetricsSource } from './metrics.js';
import { linesLost } from './output.js';
import { KEY, KEY_ALLOWED } from './protocol/query.js';
import type { Ticket } from './protocol/ticket.js';
import { internalRoutes, ticketFor } from './routes/internal.js';
import { asLibrary, libraryError } from './routes/library.js';
import { LoginRoutes } from './routes/login.js';
import { PollRoute } from './routes/poll.js';
import { publicRoutes } from './routes/public.js';
import { SetRoute } from './routes/set.js';
import type { Measured, Snapshot } from './samples.js';
import type { Config, LibraryOptions } from './settings.js';
import type { SlowReason } from './wire/fast-path.js';
import { internalPort, type Port, publicPort } from './wire/port.js';

const fromRoot = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url));
export const { version } = JSON.parse(readFileSync(fromRoot('package.json'), 'utf8')) as { version: string };

/** A Koa middleware, in words that need no types of Koa: who mounts it elsewhere, or in JavaScript, has none. */
export type Routes = (
  ctx: { req: IncomingMessage; res: ServerResponse },
  next: () => Promise<unknown>,
) => Promise<unknown>;

/** tagwait inside a program of yours: mount the routes where you like, and set without HTTP. */
export interface Tagwait {
  /** `GET /status/get`, `/client.js`, `/login.js` and those of a version, `/healthz`; for a Koa app that pages reach */
  publicRoutes: Routes;
  /**
   * `/status/set`, `/status/new`, `/login/…`, `/status/peek`, `/nodes`, `/metrics`, `/openapi.json`, `/healthz`,
   * `/readyz`; for one they do not
   */
  internalRoutes: Routes;
  /**
   * Stores a value and hands it to every page that waits for it.
   * @param value anything JSON can say @param options.ttl seconds the key is kept from now
   * @throws {TypeError} no page could ask for the key, or the value cannot be stored @throws {Conflict} @throws
   * {Unavailable}
   */
  set(
    key: string,
    value: unknown,
    options?: { ttl?: number; final?: boolean; expect?: string; id?: string },
  ): Promise<Receipt>;
  /** The five calls of a scan login; they need `secret`. */
  login: LoginCalls;
  /**
   * A random key with the proof that lets a page watch it, for use with `secret`.
   * @param ttl seconds the proof is good for, `ttl` of the settings by default
   * @returns `expires` in unix seconds @throws {TypeError} no secret is set, or this is no ttl
   */
  newTicket(ttl?: number): Ticket;
  /**
   * What is kept under a key, and how many requests wait for it; values as JSON text, `ttl` in milliseconds.
   * @throws {TypeError} no page could ask for the key @throws {Unavailable}
   */
  peek(key: string): Promise<Peek>;
  nodes(): Promise<NodeInfo[]>;
  /** Answers every held request, and all later ones, `moved`. @param seconds over which pages are told to come back */
  drain(seconds?: number): void;
  close(): Promise<void>;
}

export interface Options extends LibraryOptions {
  /** a store of your own, not yet started, in place of the embedded one and Redis; see docs/brokers.md */
  broker?: Broker;
}

/**
 * @param options the settings by name (`hold: 25`), each as the command line takes it; see the README
 * @throws {Misconfigured} with all faults at once
 */
export async function createTagwait({ broker, ...options }: Options = {}): Promise<Tagwait> {
  const config = libraryConfigOf(options);
  const log = createLog(config.logLevel, newNodeId());
  if (broker) checkBroker(broker, config);
  return (await compose(config, log, broker ?? brokerOf(config, log))).tagwait;
}

const PROMISED = ['start', 'set', 'subscribe', 'unsubscribe', 'peek', 'nodes', 'status', 'close'] as const;

/** @throws {Misconfigured} the broker lacks something, or the settings name another store */
function checkBroker(broker: Partial<Broker>, config: Config): void {
  const lacks: string[] = PROMISED.filter(method => typeof broker[method] !== 'function');
  if (!(Number(broker.lease) > 0)) lacks.push('lease, in ms above 0');
  else if (broker.lease !== Number.POSITIVE_INFINITY && !broker.verify)
    lacks.push('verify, for a lease that ends');
  const faults = lacks.map(what => `broker: lacks ${what}; docs/brokers.md says what a broker needs`);
  if (storeOf(config) !== 'embedded')
    faults.push('broker: not allowed together with the address of a Redis; give one store');
  if (faults.length > 0) throw new Misconfigured(faults);
}

export const newNodeId = () =>
  `${
    hostname()
      .replace(/[^\w.-]/g, '')
      .slice(0, 32) || 'node'
  }-${randomBytes(4).toString('hex')}`;

/** What `startService` needs beyond `tagwait`. */
interface Composed {
  tagwait: Tagwait;
  poll: PollRoute;
  set: SetRoute;
  longpoll: LongPoll;
  limits: Limits;
  metrics: Metrics;
  fds: FdBudget;
  live: Live | undefined;
}

/** The other processes behind the same ports: what is asked of one is answered for all. */
export interface Peers {
  /** what all measured, in Prometheus text */
  scrape(): Promise<string>;
  /** the key of the live page */
  liveKey: string;
  /** @param listener gets a snapshot of all processes every 2 s */
  onSnapshot(listener: (snapshot: Snapshot) => void): void;
}

/** @param publicUrl given when the service has ports of its own: then there is a live page */
async function compose(
  config: Config,
  log: Logger,
  broker: Broker,
  publicUrl?: () => string,
  peers?: Peers,
): Promise<Composed> {
  const script = (name: string) => readFileSync(fromRoot(`dist/client/${name}.js`), 'utf8');
  const scripts = { client: script('tagwait'), login: script('login') };
  const node = log.bindings().node as string;
  // the two know each other: what one meets with, the other counts, and what one counts, the other can be asked
  const source: MetricsSource = {
    describe: () => longpoll.describe(),
    ready: () => longpoll.ready(),
    counts: () => longpoll.counts(),
    store: () => longpoll.store(),
    connections: () => limits.connections,
    linesLost,
  };
  const longpoll: LongPoll = new LongPoll(broker, {
    id: node,
    version,
    observer: {
      delivered: ms => metrics.delivered(ms),
      lost: values => metrics.lost(values),
      subscribed: () => metrics.subscribed(),
      gap: () => metrics.gap(),
      repaired: keys => metrics.repaired(keys),
    },
  });
  const metrics = new Metrics(source);
  const fds = fdBudget();
  const warn = throttleLog((limit, times) =>
    log.warn({ limit, times }, 'limit reached: clients are asked to retry later'),
  );
  const limits = new Limits(config, fds, limit => {
    metrics.reached(limit);
    warn(limit);
  });
  warnOfWeakness(config, log);
  if (limits.maxHeld > fds.held)
    log.warn(`TAGWAIT_MAX_HELD: the limits of open files and heap allow for ${fds.held}`);
  await longpoll.start();
  const live = publicUrl
    ? await startLive(longpoll, metrics, {
        page: readFileSync(fromRoot('src/live/live.html'), 'utf8'),
        client: scripts.client,
        version,
        store: storeOf(config),
        maxHeld: limits.maxHeld,
        log,
        shared: peers && { key: peers.liveKey, onSnapshot: peers.onSnapshot },
      })
    : undefined;
  const options = { ...config, secrets: config.secret, log, scripts, version, several: !!peers };
  const scrape = peers?.scrape ?? (() => metrics.text());
  const poll = new PollRoute(longpoll, metrics, limits, options);
  const set = new SetRoute(longpoll, metrics, { ...options, underWay: fds.internal });
  const login = new LoginRoutes(new Logins(longpoll, config.secret), metrics, {
    ...options,
    underWay: fds.internal,
  });
  const tagwait: Tagwait = {
    publicRoutes: publicRoutes(poll, options) as Routes,
    internalRoutes: internalRoutes(longpoll, set, login, {
      ...options,
      own: live && publicUrl && { live, publicUrl },
      scrape,
    }) as Routes,
    // the rules of `POST /status/set`
    set: (key, value, options = {}) => asLibrary(() => set.store({ ...options, key, value })),
    login: login.calls,
    newTicket: ttl => {
      try {
        return ticketFor({ ttl }, options);
      } catch (error) {
        throw libraryError(error);
      }
    },
    peek: async key => {
      if (!KEY.test(key)) throw new TypeError(KEY_ALLOWED);
      return longpoll.peek(key);
    },
    nodes: () => longpoll.nodes(),
    drain: (seconds = config.drain) => longpoll.drain(seconds * 1000),
    close: async () => {
      await live?.close();
      await longpoll.close();
    },
  };
  return { tagwait, poll, set, longpoll, limits, metrics, fds, live };
}

/**
 * RFC 2104 §3: shorter keys than the hash's output lessen its strength; a page may try secrets at home, on its own
 * proof.
 */
const SECRET_LENGTH = 32;

function warnOfWeakness({ secret = [], setTokens = [] }: Config, log: Logger): void {
  if (secret.some(text => text.length < SECRET_LENGTH))
    log.warn(`TAGWAIT_SECRET: give ${SECRET_LENGTH} random characters or more: a page can try shorter ones`);
  if (setTokens.some(text => text.length < SECRET_LENGTH))
    log.warn(`TAGWAIT_SET_TOKENS: give ${SECRET_LENGTH} random characters or more`);
}

const storeOf = ({ redisUrl, redisCluster, redisSentinels }: Config) =>
  redisUrl ? 'Redis' : redisCluster ? 'Redis Cluster' : redisSentinels ? 'Redis with Sentinel' : 'embedded';

function brokerOf(config: Config, log: Logger): Broker {
  const {
    history,
    redisUrl,
    redisSentinels,
    redisMaster,
    redisSentinelPassword,
    redisCluster,
    redisNat: nat,
    redisPrefix: prefix,
    redisWait: wait,
  } = config;
  const shared = { prefix, history, wait, node: log.bindings().node as string, log };
  if (redisUrl) return new RedisBroker({ store: { kind: 'server', url: redisUrl }, ...shared });
  if (redisCluster)
    return new RedisBroker({ store: { kind: 'cluster', nodes: redisCluster, nat }, ...shared });
  if (redisSentinels && redisMaster)
    return new RedisBroker({
      store: {
        kind: 'sentinel',
        sentinels: redisSentinels,
        master: redisMaster,
        sentinelPassword: redisSentinelPassword,
        nat,
      },
      ...shared,
    });
  return new MemoryBroker({ history, maxKeys: config.maxKeys });
}

/** ms of the drain that are kept for the store's connections, once the last client is gone. */
const CLOSING = 500;

export interface Service {
  publicUrl: string;
  internalUrl: string;
  tagwait: Tagwait;
  /** What this process measured: all of it, or what the live page shows. */
  measured(what: 'all' | 'live'): Promise<{ measured: Measured[]; loop?: number }>;
  /** Drains and closes, within `config.drain` seconds. */
  stop(): Promise<void>;
}

/** Starts both ports. @param peers processes that share them @throws what listening throws, such as EADDRINUSE */
export async function startService(config: Config, peers?: Peers): Promise<Service> {
  const log = createLog(config.logLevel, newNodeId());
  log.info({ version, nodejs: process.version, settings: redacted(config) }, 'starting');
  let publicUrl = '';
  const composed = await compose(config, log, brokerOf(config, log), () => publicUrl, peers);
  const { tagwait, poll, set, longpoll, limits, metrics, fds, live } = composed;
  const pages = new Koa();
  const backends = new Koa();
  const failed = (error: unknown) => log.error({ err: error }, 'a request failed');
  for (const app of [pages, backends]) app.on('error', failed);
  const onSlowPath = (reason: SlowReason) => {
    metrics.wasSlow(reason);
    log.debug({ reason }, 'not on the fast path');
  };
  const internal = internalPort({
    route: set,
    others: backends.use(tagwait.internalRoutes).callback(),
    failed,
    onSlowPath,
    connections: fds.internal,
    onCut: cut => metrics.wasCut(cut),
  });
  let stopCollecting = () => {};
  try {
    const internalUrl = await internal.listen(config.internalHost, config.internalPort);
    if (config.demo)
      pages.use(
        demoRoutes({
          internalUrl,
          token: config.setTokens?.[0],
          ticketed: !!config.secret,
          publicHost: config.publicHost,
        }),
      );
    const open = publicPort({
      route: poll,
      others: pages.use(tagwait.publicRoutes).callback(),
      failed,
      onSlowPath,
      limits,
      connections: fds.connections,
      hold: config.hold,
      onCut: cut => metrics.wasCut(cut),
    });
    publicUrl = await open.listen(config.publicHost, config.publicPort);
    const { openFiles, connections } = fds;
    log.info({ publicUrl, internalUrl, version, openFiles, connections, maxHeld: limits.maxHeld }, 'ready');
    const measured: Service['measured'] = async what =>
      what === 'live' && live ? live.snapshot() : { measured: await metrics.all() };
    stopCollecting = collectAfterPeaks(() => limits.peak());
    return { publicUrl, internalUrl, tagwait, measured, stop: () => stop(open) };
  } catch (error) {
    void internal.close();
    await tagwait.close();
    throw error;
  }

  async function stop(open: Port): Promise<void> {
    const spread = config.drain * 1000;
    const reserve = Math.min(spread / 10, CLOSING);
    const someone = await open.connected();
    log.info({ held: longpoll.held }, 'draining');
    longpoll.drain(spread);
    // balancers and pages that are here go on asking for a while: tell them, before nobody answers
    if (someone) await sleep(spread / 2);
    const cut = setTimeout(
      () => {
        open.cut();
        internal.cut();
      },
      spread / 2 - reserve,
    );
    await Promise.all([open.close(), internal.close()]);
    clearTimeout(cut);
    stopCollecting();
    await tagwait.close();
    log.info('stopped');
  }
}
