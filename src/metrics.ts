/** What the operator sees at /metrics, in Prometheus text. */
import {
  AggregatorRegistry,
  Counter,
  type CounterConfiguration,
  collectDefaultMetrics,
  Gauge,
  Histogram,
  Registry,
} from 'prom-client';
import type { NodeInfo, StoreStatus } from './brokers/broker.js';
import { LIMITS, type Limit } from './limits.js';
import { STEPS, type Step } from './login/steps.js';
import { ANSWERS, type Kind } from './protocol/answers.js';
import type { Form } from './protocol/query.js';
import { SLOW_REASONS, type SlowReason } from './wire/fast-path.js';
import { CUTS, type Cut } from './wire/port.js';

/** What can only be looked at, when somebody asks. */
export interface Sight {
  describe(): NodeInfo;
  ready(): boolean;
  counts(): { watched: number; leases: number };
  store(): StoreStatus;
  /** of the public port */
  connections(): number;
  /** lines that this process could not write */
  linesLost(): number;
}

/** Seconds from a set to the page: a round trip in a data centre to what a person calls broken. */
const LATENCIES = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10];

/** A metric with its series. */
export interface Measured {
  name: string;
  type?: unknown;
  aggregator?: string;
  values: { value: number; labels: Partial<Record<string, string | number>>; metricName?: string }[];
}

/** What was measured, by one process or by several. */
export interface Look {
  /** unix ms */
  at: number;
  measured: Measured[];
  /** the event loop's delay, ms */
  loop: number;
  /** how many were looked at */
  processes: number;
}

/** What several processes measured, as one: each metric knows whether it is a sum, a mean or the least of them. */
export function add(all: Measured[][]): Measured[] {
  const metrics = AggregatorRegistry.aggregate(all).getMetricsAsArray();
  return metrics.map(({ get: _, ...metric }: object & { get?: unknown }) => metric as Measured);
}

/** Of what a process measured, that which only grows. */
export const countsOf = (measured: Measured[]) =>
  measured.filter(({ type }) => type === 'counter' || type === 'histogram');

export const textOf = (measured: Measured[]) => AggregatorRegistry.aggregate([measured]).metrics();

const LINES_LOST = {
  name: 'tagwait_log_lines_lost_total',
  help: 'Lines of the log that could not be written, or not in time',
};
/** What a process counted that has no other metrics. */
export const linesLostMetric = (lines: number): Measured => ({
  ...LINES_LOST,
  type: 'counter',
  aggregator: 'sum',
  values: [{ value: lines, labels: {} }],
});

export const METRICS_TYPE: string = Registry.PROMETHEUS_CONTENT_TYPE;

/** How a set ended. */
export type SetResult = 'stored' | 'conflict' | 'refused' | 'unauthorized' | 'unavailable';

/** How a call of a scan login ended. `new` has the first five alone (`unknown`: without a secret), and `redeem` alone has the last two. */
const LOGIN_RESULTS = [
  'ok',
  'refused',
  'unauthorized',
  'unavailable',
  'unknown',
  'repeated',
  'conflict',
  'expired',
  'wrong',
  'limited',
] as const;
export type LoginResult = (typeof LOGIN_RESULTS)[number];
const resultsOf = (step: Step) =>
  LOGIN_RESULTS.slice(0, step === 'new' ? 5 : step === 'redeem' ? undefined : -2);

/** How an answer is wrapped; text: in no way, since the name to call or assign was none. */
const MODES = ['callback', 'var', 'json', 'text'];
export type Mode = Form['mode'] | 'text';
type Count = (label: string, another?: string) => void;

/**
 * A counter of what happens with every poll or set: counted in Maps, and told to the registry when somebody looks.
 * Its own `inc` checks and joins the labels each time, which cost a poll more than its limits do.
 * @param series the values of the labels, one or two, each from the start at 0
 */
function counted(configuration: CounterConfiguration<string>, series: string[][]): Count {
  const [first = '', second] = configuration.labelNames ?? [];
  const counts = new Map(series.map(([label = '']) => [label, new Map<string, number>()]));
  for (const [label = '', another = ''] of series) counts.get(label)?.set(another, 0);
  new Counter({
    ...configuration,
    collect() {
      this.reset();
      for (const [label, others] of counts)
        for (const [another, count] of others)
          this.inc({ [first]: label, ...(second === undefined ? {} : { [second]: another }) }, count);
    },
  });
  return (label, another = '') => {
    const others = counts.get(label);
    others?.set(another, (others.get(another) ?? 0) + 1);
  };
}

/** How many latencies are observed together. */
const TOGETHER = 100;

export class Metrics {
  readonly #registry = new Registry();
  readonly #answers: Count;
  readonly #sets: Count;
  readonly #logins: Count;
  readonly #cuts: Counter<'reason'>;
  readonly #polls: Count;
  readonly #slow: Count;
  /** seconds, not yet observed: one by one, between all else, they cost several times what they do together */
  readonly #latencies: number[] = [];
  readonly #latency: Histogram;
  readonly #lost: Counter;
  readonly #subscribed: Counter;
  readonly #repaired: Counter;
  readonly #gaps: Counter;
  readonly #limits: Counter<'limit'>;

  constructor(sight: Sight) {
    const { describe, ready } = sight;
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry });
    const { version, id } = describe();
    new Gauge({
      name: 'tagwait_info',
      help: 'The version and name of this node',
      labelNames: ['version', 'node'],
      registers,
    })
      .labels(version, id)
      .set(1);
    new Gauge({
      name: 'tagwait_held',
      help: 'Requests held now',
      registers,
      collect() {
        this.set(describe().held);
      },
    });
    new Gauge({
      name: 'tagwait_ready',
      help: '1 while this node takes pages and reaches its store',
      aggregator: 'min',
      registers,
      collect() {
        this.set(ready() ? 1 : 0);
      },
    });
    const looked = (name: string, help: string, look: () => number, aggregator: 'sum' | 'min' = 'sum') =>
      new Gauge({
        name,
        help,
        aggregator,
        registers,
        collect() {
          this.set(look());
        },
      });
    const counter = (name: string, help: string) => new Counter({ name, help, registers });
    looked(
      'tagwait_watched_keys',
      'Keys that pages wait for here, or did a moment ago',
      () => sight.counts().watched,
    );
    looked('tagwait_connections', 'Connections to the public port now', () => sight.connections());
    looked(
      'tagwait_leases',
      'Of those, the ones whose newest position is known',
      () => sight.counts().leases,
    );
    looked('tagwait_store_up', '1 while the store can be reached', () => (sight.store().up ? 1 : 0), 'min');
    new Counter({
      name: 'tagwait_store_returns_total',
      help: 'Times the store could be reached again after it was away',
      registers,
      collect() {
        this.reset();
        this.inc(sight.store().reconnects);
      },
    });
    new Counter({
      ...LINES_LOST,
      registers,
      collect() {
        this.reset();
        this.inc(sight.linesLost());
      },
    });
    this.#polls = counted(
      { name: 'tagwait_polls_total', help: 'Polls asked, by mode', labelNames: ['mode'], registers },
      MODES.map(mode => [mode]),
    );
    const observe = () => this.#observe();
    this.#latency = new Histogram({
      name: 'tagwait_set_to_answer_seconds',
      help: 'From a set on any node to the answer of a page held here; as true as the nodes clocks agree',
      buckets: LATENCIES,
      registers,
      collect: observe,
    });
    this.#lost = counter('tagwait_lost_values_total', 'Values that pages were told are no longer kept');
    this.#subscribed = counter('tagwait_store_asked_total', 'Times the store was asked what a key holds');
    this.#repaired = counter(
      'tagwait_repaired_keys_total',
      'Keys for which verification found a lost subscription or entry',
    );
    this.#gaps = counter('tagwait_gaps_total', 'Times all that is held was asked for again');
    this.#limits = new Counter({
      name: 'tagwait_limits_reached_total',
      help: 'Who was refused, by limit (held, held_per_key, held_per_ip, polls_per_ip, connections_per_ip)',
      labelNames: ['limit'],
      registers,
    });
    this.#answers = counted(
      {
        name: 'tagwait_answers_total',
        help: 'Polls answered, by mode (callback, var, json, text) and answer',
        labelNames: ['mode', 'answer'],
        registers,
      },
      MODES.flatMap(mode => Object.keys(ANSWERS).map(kind => [mode, kind])),
    );
    this.#sets = counted(
      {
        name: 'tagwait_sets_total',
        help: 'Sets, by result (stored, conflict, refused, unauthorized, unavailable)',
        labelNames: ['result'],
        registers,
      },
      ['stored', 'conflict', 'refused', 'unauthorized', 'unavailable'].map(result => [result]),
    );
    this.#logins = counted(
      {
        name: 'tagwait_logins_total',
        help: `Calls of scan logins, by step (${STEPS.join(', ')}) and result (${LOGIN_RESULTS.join(', ')})`,
        labelNames: ['step', 'result'],
        registers,
      },
      STEPS.flatMap(step => resultsOf(step).map(result => [step, result])),
    );
    this.#cuts = new Counter({
      name: 'tagwait_connections_cut_total',
      help: `Connections closed unasked, by reason (${CUTS.join(', ')}); the last two on the internal port`,
      labelNames: ['reason'],
      registers,
    });
    this.#slow = counted(
      {
        name: 'tagwait_slow_path_requests_total',
        help: `Requests of both ports that were not on the fast path, by reason (${SLOW_REASONS.join(', ')})`,
        labelNames: ['reason'],
        registers,
      },
      SLOW_REASONS.map(reason => [reason]),
    );
    this.#begin();
  }

  /** Every series from the start, at 0: what has never happened can be told from what is not measured. */
  #begin(): void {
    for (const limit of LIMITS) this.#limits.inc({ limit }, 0);
    for (const reason of CUTS) this.#cuts.inc({ reason }, 0);
  }

  /** @param reason address: it has too many connections; full: all are in use; pipelining */
  wasCut(reason: Cut): void {
    this.#cuts.inc({ reason });
  }

  /** A request was not on the fast path. */
  wasSlow(reason: SlowReason): void {
    this.#slow(reason);
  }

  asked(mode: Mode): void {
    this.#polls(mode);
  }

  /** @param ms from the set to the answer */
  delivered(ms: number): void {
    if (this.#latencies.push(ms / 1000) === TOGETHER) this.#observe();
  }

  #observe(): void {
    for (const latency of this.#latencies) this.#latency.observe(latency);
    this.#latencies.length = 0;
  }

  lost(values: number): void {
    this.#lost.inc(values);
  }

  subscribed(): void {
    this.#subscribed.inc();
  }

  repaired(keys: number): void {
    this.#repaired.inc(keys);
  }

  gap(): void {
    this.#gaps.inc();
  }

  reached(limit: Limit): void {
    this.#limits.inc({ limit });
  }

  answered(mode: Mode, answer: Kind): void {
    this.#answers(mode, answer);
  }

  wasSet(result: SetResult): void {
    this.#sets(result);
  }

  login(step: Step, result: LoginResult): void {
    this.#logins(step, result);
  }

  /** Some of what is measured, as objects. Not the event loop's delay: who reads that begins it anew for all. */
  values(names: readonly string[]): Promise<Measured[]> {
    const known = names
      .map(name => this.#registry.getSingleMetric(name))
      .filter(metric => metric !== undefined);
    return Promise.all(known.map(metric => metric.get() as Promise<unknown> as Promise<Measured>));
  }

  /** All that is measured, as objects, to be added to that of other processes. */
  all(): Promise<Measured[]> {
    return this.#registry.getMetricsAsJSON() as Promise<unknown> as Promise<Measured[]>;
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }
}
