/** The worker's side of the cluster: runs the service as one of several processes, as the primary directs. */
import type { Measured, Snapshot } from './samples.js';
import type { Service, Siblings } from './service.js';
import type { Closable, PortName, SharedSocket } from './wire/shared.js';

/** Interval of a worker's heartbeats to the primary, ms. */
export const HEARTBEAT_INTERVAL = 1000;
/** Interval in which a worker adds up the connections that it accepts, ms. */
const REPORT_INTERVAL = 20;
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
  | { kind: 'open'; port: PortName }
  | { kind: 'accepted'; port: PortName; count: number }
  | { kind: 'failed'; failure: Failure }
  | { kind: 'measured'; measured: Measured[]; loop?: number }
  | { kind: 'scrape' };
export type ToWorker =
  | { kind: 'stop' }
  | { kind: 'accept'; port: PortName }
  | { kind: 'pause'; port: PortName }
  | { kind: 'ask'; port: PortName }
  | { kind: 'measure'; what: 'all' | 'live' }
  | { kind: 'scraped'; text: string }
  | { kind: 'snapshot'; snapshot: Snapshot };

/** A listening socket of the primary's. */
class PrimarySocket implements SharedSocket {
  readonly #port: PortName;
  readonly #send: (message: ToPrimary) => void;
  #accept: (socket: Closable) => void = socket => socket.close();
  #pause = () => {};
  /** connections since the last report */
  #count = 0;

  constructor(port: PortName, send: (message: ToPrimary) => void) {
    this.#port = port;
    this.#send = send;
  }

  open(accept: (socket: Closable) => void, pause: () => void): void {
    this.#accept = accept;
    this.#pause = pause;
    this.#send({ kind: 'open', port: this.#port });
  }

  accepted(): void {
    if (this.#count++ === 0) setTimeout(() => this.#report(), REPORT_INTERVAL);
  }

  on({ kind }: ToWorker, socket: Closable | undefined): void {
    if (kind === 'pause') this.#pause();
    else if (kind === 'ask') this.#send({ kind: 'accepted', port: this.#port, count: 0 });
    else if (socket) this.#accept(socket);
    // the process has no descriptor left for it: later, perhaps
    else setTimeout(() => this.#send({ kind: 'open', port: this.#port }), HEARTBEAT_INTERVAL);
  }

  #report(): void {
    this.#send({ kind: 'accepted', port: this.#port, count: this.#count });
    this.#count = 0;
  }
}

/** Runs the service as one of several processes. @param explain turns an error of the start into its failure */
export async function runWorker(
  start: (siblings: Siblings) => Promise<Service>,
  explain: (error: Error) => Failure,
): Promise<void> {
  const send = (message: ToPrimary, sent = () => {}) => process.send?.(message, sent);
  const sockets = {
    public: new PrimarySocket('public', send),
    internal: new PrimarySocket('internal', send),
  };
  let scrapes: ((text: string) => void)[] = [];
  let onSnapshot: (snapshot: Snapshot) => void = () => {};
  let service: Service | undefined;
  // the IPC channel broke during a send: the primary has died, so this process must end too
  process.on('error', () => process.exit(1));
  // a terminal or supervisor may signal the whole process group: ignored, the primary decides when to stop
  for (const signal of STOP_SIGNALS) process.on(signal, () => {});
  setInterval(() => send({ kind: 'heartbeat' }), HEARTBEAT_INTERVAL).unref();
  send({ kind: 'heartbeat' });
  process.on('message', async (message: ToWorker, socket: unknown) => {
    if ('port' in message) return sockets[message.port].on(message, socket as Closable | undefined);
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
  const siblings: Siblings = {
    socketOf: port => sockets[port],
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
    service = await start(siblings);
    const { publicUrl, internalUrl } = service;
    send({ kind: 'ready', urls: { publicUrl, internalUrl } });
  } catch (error) {
    const failure = explain(error as Error);
    send({ kind: 'failed', failure }, () => process.exit(failure.code));
  }
}
