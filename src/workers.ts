/**
 * One process per core behind the same two ports. The primary starts the workers, replaces those that die or hang, and
 * speaks for them: one line when all listen, one drain, one sum of what they measured. Each worker is a node of its own.
 *
 * The primary takes the connections and deals them out in turn (round robin): when workers accept by themselves, the
 * system wakes the same ones again and again, and held requests would fill one process while others are empty.
 */
import cluster, { type Worker } from 'node:cluster';
import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { keepHandedOver } from './handover.js';
import type { Logger } from './log.js';
import { linesLostMetric, textOf } from './metrics.js';
import { linesLost } from './output.js';
import type { Config } from './settings.js';
import { Totals } from './totals.js';
import {
  type Failure,
  HEARTBEAT,
  LIVE_KEY,
  OVERTIME,
  STOP_SIGNALS,
  type ToPrimary,
  type ToWorker,
  type Urls,
} from './worker.js';

/** ms until a dead worker is replaced: doubled with each death in a row, forgotten when one has lived for `SETTLED`. */
const BACKOFF = { first: 100, most: 10_000 };
const SETTLED = 60_000;
/**
 * Heartbeats that a worker may miss in a row before it is killed, and while it loads and has not sent any. The primary
 * counts its own looks and not the time: while it is stopped itself, or the machine sleeps, no worker misses any.
 */
const MAX_MISSED = { running: 10, loading: 30 };
/** Heartbeats after which a worker is not asked for what it measured. */
const LATE = 3;
/** ms between two looks at all workers, for the live page. */
const LOOK = 2000;

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

interface Start {
  config: Config;
  log: Logger;
  /** all workers listen */
  ready(urls: Urls): void;
  /** it is over, before or after that */
  ended(failure?: Failure): never;
}

/** What the primary knows of a worker. */
interface Member {
  /** which of the places, from 0; the one that replaces it gets the same */
  place: number;
  /** loading: no heartbeat came yet; starting: it does not listen yet; killed: it hung */
  state: 'loading' | 'starting' | 'listening' | 'killed';
  /** heartbeats, in a row */
  missed: number;
}

export function startWorkers(start: Start): void {
  cluster.schedulingPolicy = cluster.SCHED_RR;
  cluster.setupPrimary({ args: process.argv.slice(2) });
  new Primary(start).start();
}

class Primary {
  readonly #options: Start;
  readonly #env = { [LIVE_KEY]: randomBytes(16).toString('base64url') };
  readonly #members = new Map<Worker, Member>();
  readonly #totals = new Totals<Worker>(
    (worker, what) => tell(worker, { kind: 'measure', what }),
    () => [linesLostMetric(linesLost())],
  );
  #urls: Urls | undefined;
  #stopping = false;
  /** every worker that has ended since the signal did so in time, with exit code 0 */
  #clean = true;
  #looking: NodeJS.Timeout | undefined;

  constructor(options: Start) {
    this.#options = options;
  }

  start(): void {
    const count = workersOf(this.#options.config);
    for (let place = 0; place < count; place++) this.#spawn(place, 0);
    setInterval(() => this.#checkHeartbeats(), HEARTBEAT);
    this.#looking = setInterval(() => void this.#look(), LOOK);
    for (const signal of STOP_SIGNALS) process.on(signal, () => this.#stop());
  }

  /** @param deaths of the workers that had this place before, in a row */
  #spawn(place: number, deaths: number): void {
    const bornAt = performance.now();
    const worker = cluster.fork(this.#env);
    this.#members.set(worker, { place, state: 'loading', missed: 0 });
    const closeHandedOver = keepHandedOver(worker.process);
    // a connection or message for one that has just died: its exit says all there is to say
    worker.on('error', () => {});
    worker.on('message', (message: ToPrimary) => this.#onMessage(worker, message));
    worker.on('exit', (code, signal) => {
      this.#members.delete(worker);
      this.#totals.leave(worker);
      closeHandedOver();
      if (this.#stopping) return this.#stopped(code === 0);
      const wait = Math.min(BACKOFF.first * 2 ** deaths, BACKOFF.most);
      const { pid } = worker.process;
      this.#options.log.error({ place, pid, code, signal, again: wait }, 'a worker died');
      const later = performance.now() - bornAt > SETTLED ? 0 : deaths + 1;
      setTimeout(() => this.#stopping || this.#spawn(place, later), wait);
    });
  }

  #onMessage(worker: Worker, message: ToPrimary): void {
    const member = this.#members.get(worker);
    if (!member || member.state === 'killed') return;
    member.missed = 0;
    if (member.state === 'loading') member.state = 'starting';
    if (message.kind === 'measured') this.#totals.take(worker, message.measured, message.loop);
    else if (message.kind === 'scrape') void this.#scrape(worker);
    else if (message.kind === 'ready') this.#onReady(worker, member, message.urls);
    else if (message.kind === 'failed') {
      // nothing runs yet: as with one process, nothing is announced. Later on the others carry the pages.
      if (!this.#urls) this.#giveUp(message.failure);
      this.#options.log.error({ pid: worker.process.pid }, message.failure.line);
    }
  }

  #onReady(worker: Worker, member: Member, urls: Urls): void {
    if (this.#stopping) return tell(worker, { kind: 'stop' });
    member.state = 'listening';
    const { config, log, ready } = this.#options;
    const listening = this.#listening().length;
    log.info({ pid: worker.process.pid, workers: listening }, 'a worker listens');
    // with port 0, when all died at once: nothing that knows the old ports would find the new ones
    if (this.#urls && this.#urls.publicUrl + this.#urls.internalUrl !== urls.publicUrl + urls.internalUrl)
      this.#giveUp({
        line: 'all workers died at once, and the free ports that were picked with them',
        code: 1,
      });
    if (this.#urls || listening < workersOf(config)) return;
    this.#urls = urls;
    ready(urls);
  }

  /** Workers that listen. @param missed heartbeats that they may have missed */
  #listening(missed = Number.POSITIVE_INFINITY): Worker[] {
    return [...this.#members].flatMap(([worker, member]) =>
      member.state === 'listening' && member.missed <= missed ? [worker] : [],
    );
  }

  /** Kills what hangs: its connections break, and their pages ask again. */
  #checkHeartbeats(): void {
    for (const [worker, member] of this.#members) {
      const { state, place } = member;
      if (state === 'killed') continue;
      member.missed++;
      if (member.missed <= (state === 'loading' ? MAX_MISSED.loading : MAX_MISSED.running)) continue;
      member.state = 'killed';
      const { pid } = worker.process;
      const seconds = (member.missed * HEARTBEAT) / 1000;
      this.#options.log.error({ place, pid, seconds }, 'a worker hangs: killing it');
      worker.process.kill('SIGKILL');
    }
  }

  async #scrape(worker: Worker): Promise<void> {
    const measured = await this.#totals.gather(this.#listening(LATE), 'all');
    tell(worker, { kind: 'scraped', text: await textOf(measured) });
  }

  async #look(): Promise<void> {
    const measured = await this.#totals.gather(this.#listening(LATE), 'live');
    const processes = this.#listening().length;
    const look = { at: Date.now(), measured, loop: this.#totals.loop(), processes };
    for (const worker of this.#listening(LATE)) tell(worker, { kind: 'look', look });
  }

  #stop(): void {
    // not one of them may stay behind, not even one that hangs
    if (this.#stopping) {
      this.#killAll();
      process.exit(1);
    }
    this.#stopping = true;
    clearInterval(this.#looking);
    const { config, log } = this.#options;
    log.info({ workers: this.#members.size }, 'draining');
    for (const worker of this.#members.keys()) tell(worker, { kind: 'stop' });
    setTimeout(() => this.#killAll(), config.drain * 1000 + OVERTIME);
    if (this.#members.size === 0) this.#stopped(true);
  }

  #stopped(well: boolean): void {
    this.#clean &&= well;
    if (this.#members.size > 0) return;
    const { log, ended } = this.#options;
    log.info('stopped');
    if (this.#clean) ended();
    ended({ line: 'a worker did not stop in time, or failed as it did', code: 1 });
  }

  #killAll(): void {
    for (const worker of this.#members.keys()) worker.process.kill('SIGKILL');
  }

  #giveUp(failure: Failure): never {
    this.#killAll();
    return this.#options.ended(failure);
  }
}

function tell(worker: Worker, message: ToWorker): void {
  if (worker.isConnected()) worker.send(message, () => {});
}
