/** A worker's side of the cluster: runs the service as one of several processes, and does what the primary says. */
import type { Look, Measured } from './metrics.js';
import type { Peers, Service } from './service.js';

/** ms between two heartbeats of a worker */
export const HEARTBEAT = 1000;
/** tells a worker the key of the live page, which all share: a page may reach any of them */
export const LIVE_KEY = 'TAGWAIT_WORKER_LIVE_KEY';
/** ms beyond the drain after which a process that has not stopped is ended */
export const OVERTIME = 450;
/** Each starts the drain; the second one ends the process. A terminal that closes sends SIGHUP. */
export const STOP_SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

export interface Urls {
  publicUrl: string;
  internalUrl: string;
}
/** Why it cannot start, for the person or program that started it. */
export interface Failure {
  line: string;
  code: number;
}
export type ToPrimary =
  | { kind: 'heartbeat' }
  | { kind: 'ready'; urls: Urls }
  | { kind: 'failed'; failure: Failure }
  | { kind: 'measured'; measured: Measured[]; loop?: number }
  | { kind: 'scrape' };
export type ToWorker =
  | { kind: 'stop' }
  | { kind: 'measure'; what: 'all' | 'live' }
  | { kind: 'scraped'; text: string }
  | { kind: 'look'; look: Look };

/** Runs the service as one of several. @param explain says why it cannot start */
export async function work(
  start: (peers: Peers) => Promise<Service>,
  explain: (error: Error) => Failure,
): Promise<void> {
  const tell = (message: ToPrimary, sent = () => {}) => process.send?.(message, sent);
  let scrapes: ((text: string) => void)[] = [];
  let take: (look: Look) => void = () => {};
  let service: Service | undefined;
  // the channel broke while something was sent: the primary is gone, which ends this process in any case
  process.on('error', () => process.exit(1));
  // a terminal or a supervisor may signal the whole group: the primary alone says when to stop
  for (const signal of STOP_SIGNALS) process.on(signal, () => {});
  setInterval(() => tell({ kind: 'heartbeat' }), HEARTBEAT).unref();
  tell({ kind: 'heartbeat' });
  process.on('message', async (message: ToWorker) => {
    if (message.kind === 'look') return take(message.look);
    if (message.kind === 'scraped') {
      for (const resolve of scrapes) resolve(message.text);
      scrapes = [];
    } else if (message.kind === 'measure') {
      if (service) tell({ kind: 'measured', ...(await service.measured(message.what)) });
    } else if (!service) process.exit(0);
    else
      service.stop().then(
        () => process.exit(0),
        () => process.exit(1),
      );
  });
  const peers: Peers = {
    liveKey: process.env[LIVE_KEY] as string,
    scrape: () =>
      new Promise(resolve => {
        scrapes.push(resolve);
        if (scrapes.length === 1) tell({ kind: 'scrape' });
      }),
    onLook: given => {
      take = given;
    },
  };
  try {
    service = await start(peers);
    const { publicUrl, internalUrl } = service;
    tell({ kind: 'ready', urls: { publicUrl, internalUrl } });
  } catch (error) {
    const failure = explain(error as Error);
    tell({ kind: 'failed', failure }, () => process.exit(failure.code));
  }
}
