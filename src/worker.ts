/** The worker's side of the cluster: runs the service as one of several processes, as the primary directs. */
import type { Measured, Peers, Snapshot } from './samples.js';
import type { Service } from './service.js';

/** Interval of a worker's heartbeats to the primary, ms. */
export const HEARTBEAT_INTERVAL = 1000;
/** Variable with the key of the live page, which all workers share: a page may reach any of them. */
export const LIVE_KEY = 'TAGWAIT_WORKER_LIVE_KEY';
/** A process that has not stopped this long after the drain is killed, ms. */
export const OVERTIME = 450;
/** The first of these signals starts the drain, the second one ends the process. A closed terminal sends SIGHUP. */
export const STOP_SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

export interface Urls {
  publicUrl: string;
  internalUrl: string;
}
/** Why the process cannot start: a line for stderr and the exit code. */
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
  | { kind: 'snapshot'; snapshot: Snapshot };

/** Runs the service as one of several processes. @param explain turns an error of the start into its failure */
export async function runWorker(
  start: (peers: Peers) => Promise<Service>,
  explain: (error: Error) => Failure,
): Promise<void> {
  const send = (message: ToPrimary, sent = () => {}) => process.send?.(message, sent);
  let scrapes: ((text: string) => void)[] = [];
  let onSnapshot: (snapshot: Snapshot) => void = () => {};
  let service: Service | undefined;
  // the IPC channel broke during a send: the primary has died, so this process must end too
  process.on('error', () => process.exit(1));
  // a terminal or supervisor may signal the whole process group: ignored, the primary decides when to stop
  for (const signal of STOP_SIGNALS) process.on(signal, () => {});
  setInterval(() => send({ kind: 'heartbeat' }), HEARTBEAT_INTERVAL).unref();
  send({ kind: 'heartbeat' });
  process.on('message', async (message: ToWorker) => {
    if (message.kind === 'snapshot') return onSnapshot(message.snapshot);
    if (message.kind === 'scraped') {
      for (const resolve of scrapes) resolve(message.text);
      scrapes = [];
    } else if (message.kind === 'measure') {
      if (service) send({ kind: 'measured', ...(await service.measured(message.what)) });
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
        if (scrapes.length === 1) send({ kind: 'scrape' });
      }),
    onSnapshot: listener => {
      onSnapshot = listener;
    },
  };
  try {
    service = await start(peers);
    const { publicUrl, internalUrl } = service;
    send({ kind: 'ready', urls: { publicUrl, internalUrl } });
  } catch (error) {
    const failure = explain(error as Error);
    send({ kind: 'failed', failure }, () => process.exit(failure.code));
  }
}
