/** Composes everything: a broker, the long poll, the routes; as a library, or with two listeners of its own. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, isIPv6 } from 'node:net';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import Koa, { type Middleware } from 'koa';
import type { Broker, NodeInfo, Peek, Receipt } from './broker.js';
import { MemoryBroker } from './brokers/memory.js';
import { type Config, configOf } from './config.js';
import { demoRoutes } from './demo/demo.js';
import { createLog, type Logger } from './log.js';
import { LongPoll } from './longpoll.js';
import { Metrics } from './metrics.js';
import { internalRoutes } from './routes/internal.js';
import { publicRoutes } from './routes/public.js';

const fromRoot = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url));
export const { version } = JSON.parse(readFileSync(fromRoot('package.json'), 'utf8')) as { version: string };

/** tagwait inside a program of yours: mount the routes where you like, and set without HTTP. */
export interface Tagwait {
  /** `GET /status/get`, `/client.js`, `/client/<version>.js`, `/healthz`; for a Koa app that pages reach */
  publicRoutes: Middleware;
  /** `/status/set`, `/status/new`, `/status/peek`, `/nodes`, `/metrics`, `/healthz`, `/readyz`; for one they do not */
  internalRoutes: Middleware;
  /**
   * Stores a value and hands it to every page that waits for it.
   * @param value anything JSON can say @param options.ttl seconds the key is kept from now
   * @throws {TypeError} the value cannot be stored @throws {Conflict} @throws {Unavailable}
   */
  set(
    key: string,
    value: unknown,
    options?: { ttl?: number; final?: boolean; expect?: string; id?: string },
  ): Promise<Receipt>;
  /** What is kept under a key, and who waits for it; values as JSON text, `ttl` in milliseconds. */
  peek(key: string): Promise<Peek>;
  nodes(): Promise<NodeInfo[]>;
  /** Answers every held request, and all later ones, `moved`. @param seconds over which pages are told to come back */
  drain(seconds?: number): void;
  close(): Promise<void>;
}

/**
 * @param options the settings by name (`hold: 25`), each as the command line takes it; see the README
 * @throws {Misconfigured} with all faults at once
 */
export async function createTagwait(options: Partial<Config> = {}): Promise<Tagwait> {
  const config = configOf(options);
  return (await compose(config, createLog(config.logLevel, newNodeId()))).tagwait;
}

const newNodeId = () =>
  `${
    hostname()
      .replace(/[^\w.-]/g, '')
      .slice(0, 32) || 'node'
  }-${randomBytes(4).toString('hex')}`;

async function compose(config: Config, log: Logger): Promise<{ tagwait: Tagwait; longpoll: LongPoll }> {
  const client = readFileSync(fromRoot('dist/client/tagwait.js'), 'utf8');
  const broker: Broker = new MemoryBroker({ history: config.history });
  const longpoll = new LongPoll(broker, { id: log.bindings().node as string, version });
  const metrics = new Metrics(
    () => longpoll.describe(),
    () => longpoll.ready(),
  );
  await longpoll.start();
  const tagwait: Tagwait = {
    publicRoutes: publicRoutes(longpoll, metrics, { ...config, secrets: config.secret, client, version }),
    internalRoutes: internalRoutes(longpoll, metrics, { ...config, secrets: config.secret }),
    set: async (key, value, { ttl = config.ttl, ...more } = {}) =>
      longpoll.set(key, value, { ttl: ttl * 1000, ...more }),
    peek: key => longpoll.peek(key),
    nodes: () => longpoll.nodes(),
    drain: (seconds = config.drain) => longpoll.drain(seconds * 1000),
    close: () => longpoll.close(),
  };
  return { tagwait, longpoll };
}

export interface Service {
  publicUrl: string;
  internalUrl: string;
  tagwait: Tagwait;
  /** Drains and closes, within `config.drain` seconds. */
  stop(): Promise<void>;
}

/** Starts both ports. @throws what listening throws, such as EADDRINUSE */
export async function startService(config: Config): Promise<Service> {
  const log = createLog(config.logLevel, newNodeId());
  const { tagwait, longpoll } = await compose(config, log);
  const pages = new Koa();
  const backends = new Koa();
  for (const app of [pages, backends])
    app.on('error', error => log.error({ err: error }, 'a request failed'));
  const publicServer = createServer();
  const internalServer = createServer(backends.use(tagwait.internalRoutes).callback());
  try {
    const internalUrl = await listen(internalServer, config.internalHost, config.internalPort);
    if (config.demo)
      pages.use(
        demoRoutes({
          internalUrl,
          token: config.setTokens?.[0],
          ticketed: !!config.secret,
          publicHost: config.publicHost,
        }),
      );
    publicServer.on('request', pages.use(tagwait.publicRoutes).callback());
    const publicUrl = await listen(publicServer, config.publicHost, config.publicPort);
    log.info({ publicUrl, internalUrl, version }, 'ready');
    return { publicUrl, internalUrl, tagwait, stop };
  } catch (error) {
    internalServer.close();
    await tagwait.close();
    throw error;
  }

  async function stop(): Promise<void> {
    const spread = config.drain * 1000;
    const someone = await connected(publicServer);
    log.info({ held: longpoll.held }, 'draining');
    longpoll.drain(spread);
    // balancers and pages that are here go on asking for a while: tell them, before nobody answers
    if (someone) await sleep(spread / 2);
    const cut = setTimeout(() => {
      publicServer.closeAllConnections();
      internalServer.closeAllConnections();
    }, spread / 2);
    await Promise.all([close(publicServer), close(internalServer)]);
    clearTimeout(cut);
    await tagwait.close();
    log.info('stopped');
  }
}

const connected = (server: Server) =>
  new Promise<boolean>(resolve => server.getConnections((error, count) => resolve(!error && count > 0)));

function close(server: Server): Promise<void> {
  return new Promise(resolve => {
    server.close(() => resolve());
    server.closeIdleConnections();
  });
}

/** @returns the URL at which this machine reaches it */
function listen(server: Server, host: string, port: number): Promise<string> {
  // a held request is not slow: these count only until it was read, or after it was answered
  server.headersTimeout = 10_000;
  server.requestTimeout = 30_000;
  // longer than the 60 s after which balancers drop their idle connections, so that it is they who do
  server.keepAliveTimeout = 65_000;
  const name = host.replace(/^\[|\]$/g, '');
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: name, port }, () => {
      server.off('error', reject);
      resolve(`http://${reachable(name)}:${(server.address() as AddressInfo).port}`);
    });
  });
}

function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  if (host === '::') return '[::1]';
  return isIPv6(host) ? `[${host}]` : host;
}
