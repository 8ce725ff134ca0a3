/**
 * The primary of a cluster: runs several worker processes behind the same two ports. It starts the workers, replaces
 * those that die or hang, drains them, and adds up their metrics. Each worker is a node of its own.
 *
 * The primary binds the two listening sockets, and the workers accept from them. Node's own way, to accept in the primary and
 * hand over each connection, takes twice as long. The operating system prefers the same few workers: see balance.ts.
 */
import cluster, { type Worker } from 'node:cluster';
import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import type { Logger } from './log.js';
import { linesLost } from './output.js';
import { linesLostMetric, prometheusText } from './samples.js';
import type { Config } from './settings.js';
import { Sockets } from './sockets.js';
import { Totals } from './totals.js';
import {
  type Failure,
  HEARTBEAT_INTERVAL,
  LIVE_KEY,
  OVERTIME,
  STOP_SIGNALS,
  type ToPrimary,
  type ToWorker,
  type Urls,
} from './worker.js';

/**
 * Delay before a dead worker is replaced, ms: 100, 200, 400 … 10,000. Starts again after a worker ran for
 * `STABLE_AFTER`.
 */
const BACKOFF = { first: 100, max: 10_000 };
const STABLE_AFTER = 60_000;
/**
 * Heartbeats that a worker may miss in a row before it is killed; more while it loads and has not sent any. The primary
 * counts its own checks and not the time: while the primary is stopped or the machine sleeps, no worker misses any.
 */
const MAX_MISSED = { running: 10, loading: 30 };
/** A worker with more missed heartbeats than this is not asked for its metrics. */
const MAX_MISSED_FOR_METRICS = 3;
/** Interval of the snapshots for the live page, ms. */
const SNAPSHOT_INTERVAL = 2000;

export const isWorker = cluster.isWorker;
export const workersOf = ({ workers }: Config) => (workers === 'auto' ? availableParallelism() : workers);

/** The settings of a worker: limits per address are divided, because an address's connections go to all workers. */
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
  /** Turns an error of the start into its failure. */
  explain(error: Error): Failure;
  /** Called once, when all workers listen. */
  ready(urls: Urls): void;
  /** Called once, at the end, also if the start fails. */
  ended(failure?: Failure): never;
}

/** The state of a worker. */
interface Member {
  /** number of the worker, from 0; its replacement gets the same number */
  place: number;
  /**
   * loading: sent no heartbeat yet; starting: does not listen yet; killed: it hung; dismissed: killed when the drain began,
   * because it did not listen and so had no connections
   */
  state: 'loading' | 'starting' | 'listening' | 'killed' | 'dismissed';
  /** missed heartbeats in a row */
  missed: number;
}

export function startWorkers(start: Start): void {
  cluster.setupPrimary({ args: process.argv.slice(2) });
  void new Primary(start).start();
}

class Primary {
  readonly #options: Start;
  readonly #env = { [LIVE_KEY]: randomBytes(16).toString('base64url') };
  readonly #members = new Map<Worker, Member>();
  readonly #totals = new Totals<Worker>(
    (worker, what) => send(worker, { kind: 'measure', what }),
    () => [linesLostMetric(linesLost())],
  );
  readonly #sockets = new Sockets();
  #urls: Urls | undefined;
  #stopping = false;
  /** no worker failed or was killed since the drain began */
  #clean = true;
  #snapshots: NodeJS.Timeout | undefined;

  constructor(options: Start) {
    this.#options = options;
  }

  async start(): Promise<void> {
    for (const signal of STOP_SIGNALS) process.on(signal, () => this.#stop());
    const { config, explain } = this.#options;
    await this.#sockets
      .bind({
        internal: [config.internalHost, config.internalPort],
        public: [config.publicHost, config.publicPort],
      })
      .catch((error: Error) => this.#giveUp(explain(error)));
    const count = workersOf(config);
    for (let place = 0; place < count; place++) this.#spawn(place, 0);
    setInterval(() => this.#checkHeartbeats(), HEARTBEAT_INTERVAL);
    this.#snapshots = setInterval(() => void this.#sendSnapshot(), SNAPSHOT_INTERVAL);
  }

  /** @param deaths number of workers that died in this place in a row */
  #spawn(place: number, deaths: number): void {
    const startedAt = performance.now();
    const worker = cluster.fork(this.#env);
    const member: Member = { place, state: 'loading', missed: 0 };
    this.#members.set(worker, member);
    this.#sockets.add(worker);
    // a socket or message for a worker that has just died: `exit` handles that
    worker.on('error', () => {});
    worker.on('message', (message: ToPrimary) => this.#onMessage(worker, message));
    worker.on('exit', (code, signal) => {
      this.#members.delete(worker);
      this.#totals.delete(worker);
      this.#sockets.delete(worker);
      if (this.#stopping) return this.#stopped(code === 0 || member.state === 'dismissed');
      const wait = Math.min(BACKOFF.first * 2 ** deaths, BACKOFF.max);
      const { pid } = worker.process;
      this.#options.log.error({ place, pid, code, signal, again: wait }, 'a worker died');
      const inRow = performance.now() - startedAt > STABLE_AFTER ? 0 : deaths + 1;
      setTimeout(() => this.#stopping || this.#spawn(place, inRow), wait);
    });
  }

  #onMessage(worker: Worker, message: ToPrimary): void {
    const member = this.#members.get(worker);
    if (!member || member.state === 'killed' || member.state === 'dismissed') return;
    member.missed = 0;
    if (member.state === 'loading') member.state = 'starting';
    if (message.kind === 'measured') this.#totals.onMeasured(worker, message.measured, message.loop);
    else if (message.kind === 'scrape') void this.#scrape(worker);
    else if (message.kind === 'connections')
      this.#sockets.onReport(worker, message.port, message.accepted, message.open);
    else if (message.kind === 'open') this.#sockets.open(worker, message.port);
    else if (message.kind === 'ready') this.#onReady(worker, member, message.urls);
    else if (message.kind === 'failed') {
      // during the start this ends everything, as with one process; later the other workers go on
      if (!this.#urls) this.#giveUp(message.failure);
      this.#options.log.error({ pid: worker.process.pid }, message.failure.line);
    }
  }

  #onReady(worker: Worker, member: Member, urls: Urls): void {
    member.state = 'listening';
    const { config, log, ready } = this.#options;
    const listening = this.#listening().length;
    log.info({ pid: worker.process.pid, workers: listening }, 'a worker listens');
    if (this.#urls || listening < workersOf(config)) return;
    this.#urls = urls;
    ready(urls);
  }

  /** The workers that listen. @param maxMissed leaves out those with more missed heartbeats */
  #listening(maxMissed = Number.POSITIVE_INFINITY): Worker[] {
    return [...this.#members].flatMap(([worker, member]) =>
      member.state === 'listening' && member.missed <= maxMissed ? [worker] : [],
    );
  }

  /** Kills workers that hang: their connections break, and the pages poll again. */
  #checkHeartbeats(): void {
    for (const [worker, member] of this.#members) {
      const { state, place } = member;
      if (state === 'killed' || state === 'dismissed') continue;
      member.missed++;
      if (member.missed <= (state === 'loading' ? MAX_MISSED.loading : MAX_MISSED.running)) continue;
      member.state = 'killed';
      const { pid } = worker.process;
      const seconds = (member.missed * HEARTBEAT_INTERVAL) / 1000;
      this.#options.log.error({ place, pid, seconds }, 'a worker hangs: killing it');
      worker.process.kill('SIGKILL');
    }
  }

  async #scrape(worker: Worker): Promise<void> {
    const measured = await this.#totals.gather(this.#listening(MAX_MISSED_FOR_METRICS), 'all');
    send(worker, { kind: 'scraped', text: await prometheusText(measured) });
  }

  async #sendSnapshot(): Promise<void> {
    const measured = await this.#totals.gather(this.#listening(MAX_MISSED_FOR_METRICS), 'live');
    const processes = this.#listening().length;
    const snapshot = { at: Date.now(), measured, loop: this.#totals.loop(), processes };
    for (const worker of this.#listening(MAX_MISSED_FOR_METRICS))
      send(worker, { kind: 'snapshot', snapshot });
  }

  #stop(): void {
    // the second signal: kill all workers, so that none outlives the primary
    if (this.#stopping) {
      this.#killAll();
      process.exit(1);
    }
    this.#stopping = true;
    clearInterval(this.#snapshots);
    const { config, log } = this.#options;
    log.info({ workers: this.#members.size }, 'draining');
    void this.#sockets.close();
    for (const [worker, member] of this.#members) {
      if (member.state === 'listening') send(worker, { kind: 'stop' });
      else {
        // it may not hear messages yet, and cannot become ready without the sockets
        member.state = 'dismissed';
        worker.process.kill('SIGKILL');
      }
    }
    setTimeout(() => this.#killAll(), config.drain * 1000 + OVERTIME);
    if (this.#members.size === 0) this.#stopped(true);
  }

  #stopped(clean: boolean): void {
    this.#clean &&= clean;
    if (this.#members.size > 0) return;
    const { log, ended } = this.#options;
    log.info('stopped');
    if (this.#clean) ended();
    ended({ line: 'a worker did not stop in time, or failed while it stopped', code: 1 });
  }

  #killAll(): void {
    for (const worker of this.#members.keys()) worker.process.kill('SIGKILL');
  }

  #giveUp(failure: Failure): never {
    this.#killAll();
    return this.#options.ended(failure);
  }
}

function send(worker: Worker, message: ToWorker): void {
  if (worker.isConnected()) worker.send(message, () => {});
}
