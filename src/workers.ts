/**
 * One process per core behind the same two ports. The primary starts the workers, replaces those that die, and speaks for
 * them: one line when all listen, one drain, one sum of what they measured. Each worker is a node of its own.
 *
 * The primary takes the connections and deals them out in turn (round robin): when workers accept by themselves, the
 * system wakes the same ones again and again, and held requests would fill one process while others are empty.
 */
import cluster, { type Worker } from 'node:cluster';
import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import type { Logger } from './log.js';
import { add, countsOf, type Look, type Measured, textOf } from './metrics.js';
import type { Fellows, Service } from './service.js';
import type { Config } from './settings.js';

/** ms until a dead worker is replaced: doubled with each death in a row, forgotten when one has lived for `SETTLED`. */
const BACKOFF = { first: 100, most: 10_000 };
const SETTLED = 60_000;
/** ms for a worker to say what it measured: one that is busy for longer is taken at its last word. */
const PATIENCE = 2000;
/** ms beyond the drain after which workers that have not stopped are killed. */
const OVERTIME = 5000;
/** ms between two looks at all workers, for the live page. */
const LOOK = 2000;
/** tells a worker the key of the live page, which all share: a page may reach any of them */
const LIVE_KEY = 'TAGWAIT_WORKER_LIVE_KEY';

export const isWorker = cluster.isWorker;
export const workersOf = ({ workers }: Config) => (workers === 'auto' ? availableParallelism() : workers);

/** A worker's settings: what one address may do is shared out, since its connections are dealt to all of them. */
export function settingsOfWorker(config: Config): Config {
  const share = (limit: number) => Math.ceil(limit / workersOf(config));
  return {
    ...config,
    maxHeldPerIp: share(config.maxHeldPerIp),
    maxPollsPerIp: share(config.maxPollsPerIp),
  };
}

interface Urls {
  publicUrl: string;
  internalUrl: string;
}
/** Why it cannot start, as whoever started it is told. */
export interface Failure {
  line: string;
  code: number;
}
type ToPrimary =
  | { kind: 'ready'; urls: Urls }
  | { kind: 'failed'; failure: Failure }
  | { kind: 'measured'; measured: Measured[]; loop?: number }
  | { kind: 'scrape' };
type ToWorker =
  | { kind: 'stop' }
  | { kind: 'measure'; what: 'all' | 'live' }
  | { kind: 'scraped'; text: string }
  | { kind: 'look'; look: Look };

// --- A worker's side.

/** Runs the service as one of several. @param explain what is said when it cannot start */
export async function work(
  start: (fellows: Fellows) => Promise<Service>,
  explain: (error: Error) => Failure,
): Promise<void> {
  const tell = (message: ToPrimary, sent = () => {}) => process.send?.(message, sent);
  let scrapes: ((text: string) => void)[] = [];
  let take: (look: Look) => void = () => {};
  let service: Service | undefined;
  // the channel broke while something was sent: the primary is gone, which ends this process in any case
  process.on('error', () => process.exit(1));
  // a terminal or a supervisor may signal the whole group: the primary alone says when to stop
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => {});
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
  const fellows: Fellows = {
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
    service = await start(fellows);
    const { publicUrl, internalUrl } = service;
    tell({ kind: 'ready', urls: { publicUrl, internalUrl } });
  } catch (error) {
    const failure = explain(error as Error);
    tell({ kind: 'failed', failure }, () => process.exit(failure.code));
  }
}

// --- The primary's side.

interface Start {
  config: Config;
  log: Logger;
  /** all workers listen */
  ready(urls: Urls): void;
  /** it is over, before or after that */
  ended(failure?: Failure): never;
}

export function startWorkers({ config, log, ready, ended }: Start): void {
  const count = workersOf(config);
  const crew = new Set<Worker>();
  const listening = new Set<Worker>();
  const totals = new Totals();
  let urls: Urls | undefined;
  let stopping = false;

  cluster.schedulingPolicy = cluster.SCHED_RR;
  cluster.setupPrimary({ args: process.argv.slice(2) });
  const env = { [LIVE_KEY]: randomBytes(16).toString('base64url') };
  for (let place = 0; place < count; place++) employ(place, 0);

  /** @param deaths of those who had this place before, in a row */
  function employ(place: number, deaths: number): void {
    const born = performance.now();
    const worker = cluster.fork(env);
    crew.add(worker);
    // a connection or message for one that has just died: its exit says all there is to say
    worker.on('error', () => {});
    worker.on('message', (message: ToPrimary) => hear(worker, message));
    worker.on('exit', (code, signal) => {
      crew.delete(worker);
      listening.delete(worker);
      totals.leave(worker);
      if (stopping) return stopped(code === 0);
      const wait = Math.min(BACKOFF.first * 2 ** deaths, BACKOFF.most);
      log.error({ place, pid: worker.process.pid, code, signal, again: wait }, 'a worker died');
      const later = performance.now() - born > SETTLED ? 0 : deaths + 1;
      setTimeout(() => stopping || employ(place, later), wait);
    });
  }

  function hear(worker: Worker, message: ToPrimary): void {
    if (message.kind === 'measured') totals.take(worker, message.measured, message.loop);
    else if (message.kind === 'scrape')
      void totals
        .gather(listening, 'all')
        .then(textOf)
        .then(text => tell(worker, { kind: 'scraped', text }));
    else if (message.kind === 'failed') {
      // nothing runs yet: as with one process, nobody is told that it does. Later on the others carry the pages.
      if (!urls) giveUp(message.failure);
      log.error({ pid: worker.process.pid }, message.failure.line);
    } else if (stopping) tell(worker, { kind: 'stop' });
    else {
      listening.add(worker);
      log.info({ pid: worker.process.pid, workers: listening.size }, 'a worker listens');
      // with port 0, when all died at once: whoever was told the old one would ask nobody
      if (urls && urls.publicUrl + urls.internalUrl !== message.urls.publicUrl + message.urls.internalUrl)
        giveUp({ line: 'all workers died at once, and the free ports that were picked with them', code: 1 });
      if (urls || listening.size < count) return;
      urls = message.urls;
      ready(urls);
    }
  }

  function giveUp(failure: Failure): never {
    for (const worker of crew) worker.process.kill('SIGKILL');
    return ended(failure);
  }

  const looking = setInterval(async () => {
    const measured = await totals.gather(listening, 'live');
    const look = { at: Date.now(), measured, loop: totals.loop(), processes: listening.size };
    for (const worker of listening) tell(worker, { kind: 'look', look });
  }, LOOK);

  let clean = true;
  function stopped(well: boolean): void {
    clean &&= well;
    if (crew.size > 0) return;
    log.info('stopped');
    if (clean) ended();
    ended({ line: 'a worker did not stop in time, or failed as it did', code: 1 });
  }
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.on(signal, () => {
      // the workers end with it: their channel closes
      if (stopping) process.exit(1);
      stopping = true;
      clearInterval(looking);
      log.info({ workers: crew.size }, 'draining');
      for (const worker of crew) tell(worker, { kind: 'stop' });
      setTimeout(
        () => {
          for (const worker of crew) worker.process.kill('SIGKILL');
        },
        config.drain * 1000 + OVERTIME,
      );
      if (crew.size === 0) stopped(true);
    });
}

function tell(worker: Worker, message: ToWorker): void {
  if (worker.isConnected()) worker.send(message, () => {});
}

/** What all workers measured. The counts of those who died stay in it: a sum that falls looks like a restart. */
class Totals {
  /** the last word of each worker, by the metric's name */
  readonly #known = new Map<Worker, Map<string, Measured>>();
  readonly #loops = new Map<Worker, number>();
  #gone: Measured[] = [];
  readonly #waiting = new Set<{ missing: Set<Worker>; done: () => void }>();

  take(worker: Worker, measured: Measured[], loop = 0): void {
    const known = this.#known.get(worker) ?? new Map<string, Measured>();
    this.#known.set(worker, known);
    this.#loops.set(worker, loop);
    for (const metric of measured) known.set(metric.name, metric);
    this.#heard(worker);
  }

  leave(worker: Worker): void {
    const last = [...(this.#known.get(worker)?.values() ?? [])];
    this.#known.delete(worker);
    this.#loops.delete(worker);
    this.#gone = add([this.#gone, countsOf(last)]);
    this.#heard(worker);
  }

  /** The event loop's delay where it is longest, ms. */
  loop(): number {
    return Math.max(0, ...this.#loops.values());
  }

  /** Asks all of them. @returns the sum of what each said, now or last */
  async gather(workers: ReadonlySet<Worker>, what: 'all' | 'live'): Promise<Measured[]> {
    if (workers.size > 0)
      await new Promise<void>(resolve => {
        const timer = setTimeout(() => wait.done(), PATIENCE);
        const wait = {
          missing: new Set(workers),
          done: () => {
            clearTimeout(timer);
            this.#waiting.delete(wait);
            resolve();
          },
        };
        this.#waiting.add(wait);
        for (const worker of workers) tell(worker, { kind: 'measure', what });
      });
    return add([...[...this.#known.values()].map(known => [...known.values()]), this.#gone]);
  }

  #heard(worker: Worker): void {
    for (const wait of this.#waiting) {
      wait.missing.delete(worker);
      if (wait.missing.size === 0) wait.done();
    }
  }
}
