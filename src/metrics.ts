/** The Prometheus metrics of one process, as `GET /metrics` shows them. */
import { type Counter, collectDefaultMetrics, type Histogram, type Registry } from 'prom-client';
import type { NodeInfo, StoreStatus } from './brokers/broker.js';
import { LIMITS, type Limit } from './limits.js';
import { STEPS, type Step } from './login/steps.js';
import { ANSWERS, type Kind } from './protocol/answers.js';
import { type Increment, MetricsFactory } from './registry.js';
import { LINES_LOST, type Measured } from './samples.js';
import { SLOW_REASONS, type SlowReason } from './wire/fast-path.js';
import { CUTS, type Cut } from './wire/port.js';

/** Values that are sampled at scrape time (gauges). */
export interface MetricsSource {
  describe(): NodeInfo;
  ready(): boolean;
  counts(): { watched: number; leases: number };
  store(): StoreStatus;
  /** open connections to the public port */
  connections(): number;
  /** log lines that this process could not write */
  linesLost(): number;
}

/** Buckets of the latency histogram, in seconds. */
const LATENCY_BUCKETS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10];
/** Latencies observed in one batch: one by one, between other work, each costs several times as much. */
const LATENCY_BATCH = 100;

const SET_RESULTS = ['stored', 'conflict', 'refused', 'unauthorized', 'unavailable'] as const;
/** How a set ended. */
export type SetResult = (typeof SET_RESULTS)[number];

/** Of `new`; `unknown`: no secret. */
const NEW_RESULTS = ['ok', 'refused', 'unauthorized', 'unavailable', 'unknown'] as const;
const STEP_RESULTS = [...NEW_RESULTS, 'repeated', 'conflict', 'expired'] as const;
const REDEEM_RESULTS = [...STEP_RESULTS, 'wrong', 'limited'] as const;
/** How a call of a scan login ended. */
export type LoginResult = (typeof REDEEM_RESULTS)[number];
const resultsOf = (step: Step): readonly LoginResult[] =>
  step === 'new' ? NEW_RESULTS : step === 'redeem' ? REDEEM_RESULTS : STEP_RESULTS;

const MODES = ['callback', 'var', 'json', 'text', 'events', 'socket'] as const;
/** How an answer is wrapped. `text`: not at all, because the name for `callback` or `var` is not allowed. */
export type Mode = (typeof MODES)[number];

export class Metrics {
  readonly #registry: Registry;
  readonly #polls: Increment;
  readonly #answers: Increment;
  readonly #sets: Increment;
  readonly #receipts: Increment;
  readonly #logins: Increment;
  readonly #cuts: Increment;
  readonly #slow: Increment;
  readonly #limits: Increment;
  /** seconds, not observed yet */
  readonly #latencies: number[] = [];
  readonly #latency: Histogram;
  readonly #lost: Counter;
  readonly #subscribed: Counter;
  readonly #repaired: Counter;
  readonly #gaps: Counter;

  constructor(source: MetricsSource) {
    const make = new MetricsFactory();
    this.#registry = make.registry;
    collectDefaultMetrics({ register: this.#registry });
    registerSampled(make, source);
    this.#polls = make.counterBy('mode', MODES, 'tagwait_polls_total', 'Polls');
    this.#answers = make.labelled(
      'tagwait_answers_total',
      `Answered polls, by mode (${MODES.join(', ')}) and answer`,
      ['mode', 'answer'],
      MODES.flatMap(mode => Object.keys(ANSWERS).map(kind => [mode, kind])),
    );
    this.#latency = make.histogram(
      'tagwait_set_to_answer_seconds',
      'Latency from a set on any node to the answer of a request held here; depends on the clocks of both nodes',
      LATENCY_BUCKETS,
      () => this.#observe(),
    );
    this.#lost = make.counter('tagwait_lost_values_total', 'Values that a page missed: no longer kept');
    this.#subscribed = make.counter('tagwait_store_asked_total', 'Reads of a key from the store');
    this.#repaired = make.counter('tagwait_repaired_keys_total', 'Keys with a loss that verification found');
    this.#gaps = make.counter('tagwait_gaps_total', 'Times all held keys were read again from the store');
    this.#sets = make.counterBy('result', SET_RESULTS, 'tagwait_sets_total', 'Sets');
    this.#receipts = make.counterBy(
      'received',
      ['true', 'false'],
      'tagwait_receipts_total',
      'Sets that waited for a receipt',
    );
    this.#logins = make.labelled(
      'tagwait_logins_total',
      `Calls of scan logins, by step (${STEPS.join(', ')}) and result (${REDEEM_RESULTS.join(', ')})`,
      ['step', 'result'],
      STEPS.flatMap(step => resultsOf(step).map(result => [step, result])),
    );
    this.#limits = make.counterBy(
      'limit',
      LIMITS,
      'tagwait_limits_reached_total',
      'Refused requests and connections',
    );
    this.#cuts = make.counterBy(
      'reason',
      CUTS,
      'tagwait_connections_cut_total',
      'Connections closed by the server; the last two reasons on the internal port',
    );
    this.#slow = make.counterBy(
      'reason',
      SLOW_REASONS,
      'tagwait_slow_path_requests_total',
      'Requests of both ports that were not on the fast path',
    );
  }

  /** The server closed a connection. @param reason see `CUTS` in `wire/port.ts` */
  wasCut(reason: Cut): void {
    this.#cuts(reason);
  }

  /** A request was not on the fast path. */
  wasSlow(reason: SlowReason): void {
    this.#slow(reason);
  }

  /** A poll arrived. */
  asked(mode: Mode): void {
    this.#polls(mode);
  }

  /** A held request was answered with a value. @param ms from the set to the answer */
  delivered(ms: number): void {
    if (this.#latencies.push(ms / 1000) === LATENCY_BATCH) this.#observe();
  }

  #observe(): void {
    for (const latency of this.#latencies) this.#latency.observe(latency);
    this.#latencies.length = 0;
  }

  /** A page missed values that are no longer kept. */
  lost(values: number): void {
    this.#lost.inc(values);
  }

  /** A key was read from the store. */
  subscribed(): void {
    this.#subscribed.inc();
  }

  /** Verification found lost subscriptions or entries. */
  repaired(keys: number): void {
    this.#repaired.inc(keys);
  }

  /** All held keys are read again. */
  gap(): void {
    this.#gaps.inc();
  }

  /** A limit refused a request or connection. */
  reached(limit: Limit): void {
    this.#limits(limit);
  }

  /** A poll was answered. */
  answered(mode: Mode, answer: Kind): void {
    this.#answers(mode, answer);
  }

  /** A set ended. */
  wasSet(result: SetResult): void {
    this.#sets(result);
  }

  /** A set that waited for a receipt is answered. */
  receipt(received: boolean): void {
    this.#receipts(received ? 'true' : 'false');
  }

  /** A call of a scan login ended. */
  login(step: Step, result: LoginResult): void {
    this.#logins(step, result);
  }

  /** These metrics as data. Not the event loop's delay: reading it resets it for every reader. */
  values(names: readonly string[]): Promise<Measured[]> {
    const known = names
      .map(name => this.#registry.getSingleMetric(name))
      .filter(metric => metric !== undefined);
    return Promise.all(known.map(metric => metric.get() as Promise<unknown> as Promise<Measured>));
  }

  /** All metrics as data, to be combined with those of other processes. */
  all(): Promise<Measured[]> {
    return this.#registry.getMetricsAsJSON() as Promise<unknown> as Promise<Measured[]>;
  }

  /** All metrics in the Prometheus text format. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }
}

/** Registers what is sampled at scrape time. */
function registerSampled(make: MetricsFactory, source: MetricsSource): void {
  const { version, id } = source.describe();
  make.info('tagwait_info', 'Version and name of this node', { version, node: id });
  make.gauge('tagwait_held', 'Requests held now', () => source.describe().held);
  make.gauge(
    'tagwait_ready',
    '1 if this node accepts polls and reaches its store, otherwise 0',
    () => (source.ready() ? 1 : 0),
    'min',
  );
  make.gauge('tagwait_watched_keys', 'Keys with a held request, or one a moment ago', () => {
    return source.counts().watched;
  });
  make.gauge('tagwait_leases', 'Watched keys whose newest position is known', () => source.counts().leases);
  make.gauge('tagwait_connections', 'Open connections to the public port', () => source.connections());
  make.gauge(
    'tagwait_store_up',
    '1 if the store works, otherwise 0',
    () => (source.store().up ? 1 : 0),
    'min',
  );
  make.sampledCounter('tagwait_store_returns_total', 'Times the store came back after an outage', () => {
    return source.store().reconnects;
  });
  make.sampledCounter(LINES_LOST.name, LINES_LOST.help, () => source.linesLost());
}
