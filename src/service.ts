/** The service with its own two ports: starts them, and stops within the drain. */
import { setTimeout as sleep } from 'node:timers/promises';
import Koa from 'koa';
import { version } from './assets.js';
import { type Composed, compose } from './compose.js';
import { redacted } from './config.js';
import { demoRoutes } from './demo/demo.js';
import { collectAfterPeaks } from './gc.js';
import { createLog, type Logger, newNodeId } from './log.js';
import { internalPaths } from './routes/public.js';
import type { Measured, Peers } from './samples.js';
import type { Config } from './settings.js';
import { brokerOf } from './store.js';
import type { Tagwait } from './tagwait.js';
import type { SlowReason } from './wire/fast-path.js';
import { type Cut, internalPort, type Port, publicPort } from './wire/port.js';
import type { PortName, SharedSocket } from './wire/shared.js';

/** The part of the drain that is reserved for closing the store's connections, ms. */
const CLOSING = 500;

/** The other processes of a cluster, with which this one shares its ports. */
export interface Siblings extends Peers {
  socketOf(port: PortName): SharedSocket;
}

export interface Service {
  publicUrl: string;
  internalUrl: string;
  tagwait: Tagwait;
  /** The metrics of this process: all, or those of the live page. */
  measured(what: 'all' | 'live'): Promise<{ measured: Measured[]; loop?: number }>;
  /** Drains and closes within `config.drain` seconds. */
  stop(): Promise<void>;
}

/**
 * Starts both ports.
 * @param siblings the other processes behind them @param id unique name of this node
 * @throws errors of listening, such as EADDRINUSE
 */
export async function startService(config: Config, siblings?: Siblings, id = newNodeId()): Promise<Service> {
  const log = createLog(config.logLevel, id);
  log.info({ version, nodejs: process.version, settings: redacted(config) }, 'starting');
  const urls = { publicUrl: '', internalUrl: '' };
  const composed = await compose(config, log, brokerOf(config, log), () => urls.publicUrl, siblings);
  const { tagwait, limits, metrics, fds, live } = composed;
  const { internal, open } = portsOf(config, log, composed);
  try {
    const socketOf = (port: PortName) => siblings?.socketOf(port);
    urls.internalUrl = await internal.listen(config.internalHost, config.internalPort, socketOf('internal'));
    urls.publicUrl = await open.listen(config.publicHost, config.publicPort, socketOf('public'));
    const { openFiles, connections } = fds;
    log.info({ ...urls, version, openFiles, connections, maxHeld: limits.maxHeld }, 'ready');
    const measured: Service['measured'] = async what =>
      what === 'live' && live ? live.snapshot() : { measured: await metrics.all() };
    const stopCollecting = collectAfterPeaks(() => limits.peak());
    const stop = async () => {
      await drainAndClose(config, log, composed, { open, internal });
      stopCollecting();
      await tagwait.close();
      log.info('stopped');
    };
    return { ...urls, tagwait, measured, stop };
  } catch (error) {
    void internal.close();
    await tagwait.close();
    throw error;
  }
}

/** Both ports, not yet listening. */
function portsOf(config: Config, log: Logger, composed: Composed) {
  const { tagwait, poll, set, socket, limits, metrics, fds, demoLogin } = composed;
  const pages = new Koa();
  const backends = new Koa();
  const failed = (error: unknown) => log.error({ err: error }, 'a request failed');
  for (const app of [pages, backends]) app.on('error', failed);
  const shared = {
    failed,
    onSlowPath: (reason: SlowReason) => {
      metrics.wasSlow(reason);
      log.debug({ reason }, 'not on the fast path');
    },
    onCut: (cut: Cut) => metrics.wasCut(cut),
  };
  const internal = internalPort({
    ...shared,
    route: set,
    others: backends.use(tagwait.internalRoutes).callback(),
    connections: fds.internal,
  });
  const { demo, publicHost, hold } = config;
  if (demo) pages.use(demoRoutes({ login: demoLogin, publicHost }));
  const open = publicPort({
    ...shared,
    route: poll,
    others: pages.use(tagwait.publicRoutes).use(internalPaths).callback(),
    upgrade: socket,
    limits,
    connections: fds.connections,
    hold,
  });
  return { internal, open };
}

async function drainAndClose(
  config: Config,
  log: Logger,
  { longpoll, drain }: Composed,
  { open, internal }: { open: Port; internal: Port },
): Promise<void> {
  const spread = config.drain * 1000;
  const reserve = Math.min(spread / 10, CLOSING);
  const connected = await open.connected();
  log.info({ held: longpoll.held }, 'draining');
  drain(spread);
  // load balancers and pages still send polls for a while: answer them `moved` before the port closes
  if (connected) await sleep(spread / 2);
  // sets that wait for a receipt are answered before the connections are cut
  const settle = setTimeout(() => longpoll.endReceipts(), spread / 2 - 2 * reserve);
  const cut = setTimeout(
    () => {
      open.destroyAll();
      internal.destroyAll();
    },
    spread / 2 - reserve,
  );
  await Promise.all([open.close(), internal.close()]);
  clearTimeout(settle);
  clearTimeout(cut);
}
