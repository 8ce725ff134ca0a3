/** The worker's side of the cluster: runs the service as one of several processes, as the primary directs. */
import { allowance } from './balance.js';
import type { Logger } from './log.js';
import { type Measured, prometheusText, type Snapshot } from './samples.js';
import { Scrapes } from './scrapes.js';
import type { Service, Siblings } from './service.js';
import type { Closable, PortName, SharedSocket } from './wire/shared.js';

/** Interval of a worker's heartbeats to the primary, ms. */
export const HEARTBEAT_INTERVAL = 1000;
/** Interval in which a worker adds up the connections that it accepts, ms. Many are reported sooner. */
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
  | { kind: 'connections'; port: PortName; accepted: number; open: number }
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
  #count: (counted: (open: number) => void) => void = () => {};
  /** connections since the last report */
  #accepted = 0;
  /** connections at the last report */
  #open = 0;
  /** is to accept and cannot: says nothing, so that no other worker waits for this one */
  #lacking = false;

  constructor(port: PortName, send: (message: ToPrimary) => void) {
    this.#port = port;
    this.#send = send;
  }

  open(...[accept, pause, count]: Parameters<SharedSocket['open']>): void {
    this.#accept = accept;
    this.#pause = pause;
    this.#count = count;
    this.#send({ kind: 'open', port: this.#port });
  }

  accepted(): void {
    if (this.#accepted++ === 0) setTimeout(() => this.report(), REPORT_INTERVAL);
    // so many that it may have to pause
    else if (this.#accepted > allowance(this.#open)) this.report();
  }

  on({ kind }: ToWorker, socket: Closable | undefined): void {
    if (kind === 'pause') return this.#pause();
    if (kind === 'ask') return this.report('always');
    const lacked = this.#lacking;
    this.#lacking = !socket;
    if (socket) this.#accept(socket);
    // the process has no descriptor left for it: later, perhaps
    else setTimeout(() => this.#send({ kind: 'open', port: this.#port }), HEARTBEAT_INTERVAL);
    if (socket && lacked) this.report('always');
  }

  /** @param when default: only if connections were opened or closed */
  report(when?: 'always'): void {
    this.#count(open => {
      const [accepted, before] = [this.#accepted, this.#open];
      if (this.#lacking || (!when && accepted === 0 && open === before)) return;
      this.#accepted = 0;
      this.#open = open;
      this.#send({ kind: 'connections', port: this.#port, accepted, open });
    });
  }
}

/** Leaves it to the primary when this process ends. */
function obey(): void {
  // the IPC channel broke during a send: the primary has died, so this process must end too
  process.on('error', () => process.exit(1));
  // a terminal or supervisor may signal the whole process group
  for (const signal of STOP_SIGNALS) process.on(signal, () => {});
}

function end(service: Service | undefined): void {
  if (!service) process.exit(0);
  service.stop().then(
    () => process.exit(0),
    () => process.exit(1),
  );
}

/** Runs the service as one of several processes. @param explain turns an error of the start into its failure */
export async function runWorker(
  start: (siblings: Siblings) => Promise<Service>,
  explain: (error: Error) => Failure,
  log: Logger,
): Promise<void> {
  const send = (message: ToPrimary, sent = () => {}) => process.send?.(message, sent);
  const sockets = {
    public: new PrimarySocket('public', send),
    internal: new PrimarySocket('internal', send),
  };
  let onSnapshot: (snapshot: Snapshot) => void = () => {};
  let service: Service | undefined;
  const scrapes = new Scrapes({
    ask: () => send({ kind: 'scrape' }),
    own: async () => prometheusText((await service?.measured('all'))?.measured ?? []),
    onSilent: () => log.warn('the primary does not answer: /metrics shows the last known values'),
  });
  obey();
  const beat = () => send({ kind: 'heartbeat' });
  setInterval(() => {
    beat();
    for (const socket of Object.values(sockets)) socket.report();
  }, HEARTBEAT_INTERVAL).unref();
  beat();
  process.on('message', async (message: ToWorker, socket: unknown) => {
    if ('port' in message) return sockets[message.port].on(message, socket as Closable | undefined);
    if (message.kind === 'snapshot') return onSnapshot(message.snapshot);
    if (message.kind === 'scraped') scrapes.onAnswer(message.text);
    else if (message.kind === 'measure') {
      if (service) send({ kind: 'measured', ...(await service.measured(message.what)) });
    } else end(service);
  });
  const siblings: Siblings = {
    socketOf: port => sockets[port],
    liveKey: process.env[LIVE_KEY] as string,
    scrape: () => scrapes.scrape(),
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
