/** Turns metrics into samples, which the live page plots: values and rates of the last minutes. */
import type { Measured } from '../samples.js';

/** One point of all plots. Rates are per second, since the previous sample. */
export interface Sample {
  /** unix ms */
  at: number;
  held: number;
  watched: number;
  polls: number;
  values: number;
  timeouts: number;
  refusals: number;
  sets: number;
  setsFailed: number;
  /** latency from a set to its answers since the previous sample, ms; null: there were none */
  p50: number | null;
  p99: number | null;
  /** refusals since the previous sample, by limit */
  limits: Record<string, number>;
  /** scan logins since the start, by the step that succeeded: new, scan, approve, deny, redeem */
  logins: Record<string, number>;
  /** since the start */
  lost: number;
  returns: number;
  gaps: number;
  storeUp: boolean;
  ready: boolean;
  /** event loop delay, p99, ms */
  loop: number;
  connections: number;
  /** bytes */
  memory: number;
  /** cores */
  cpu: number;
}

/** The metrics at one time, with sums over their series. */
class Values {
  readonly #metrics: Map<string, Measured['values']>;
  constructor(
    readonly at: number,
    measured: Measured[],
  ) {
    // a copy: prom-client changes the objects of a counter later
    this.#metrics = new Map(measured.map(({ name, values }) => [name, values.map(one => ({ ...one }))]));
  }

  series(name: string): Measured['values'] {
    return this.#metrics.get(name) ?? [];
  }

  /** Sum of a metric over all series, or over those whose label has this value. */
  sum(name: string, label?: string, of?: string): number {
    return this.series(name)
      .filter(({ labels }) => label === undefined || labels[label] === of)
      .reduce((sum, { value }) => sum + value, 0);
  }

  /** Cumulative counts of a histogram, by upper bound. */
  buckets(name: string): { bound: number; count: number }[] {
    return this.series(name)
      .filter(({ metricName }) => metricName === `${name}_bucket`)
      .map(({ labels, value }) => ({
        bound: labels.le === '+Inf' ? Infinity : Number(labels.le),
        count: value,
      }));
  }
}

const LATENCY = 'tagwait_set_to_answer_seconds';
/** The metrics that samples are made of. */
export const SAMPLED = [
  LATENCY,
  ...[
    'held',
    'connections',
    'watched_keys',
    'polls_total',
    'answers_total',
    'sets_total',
    'limits_reached_total',
    'logins_total',
  ].map(name => `tagwait_${name}`),
  ...['lost_values_total', 'store_returns_total', 'gaps_total', 'store_up', 'ready'].map(
    name => `tagwait_${name}`,
  ),
  // prom-client updates process_cpu_seconds_total when the first of these is collected. Not process_open_fds: it lists
  // a directory, which with 10,000 connections blocks the event loop for 14 ms (measured).
  ...['cpu_user_seconds_total', 'cpu_seconds_total', 'resident_memory_bytes'].map(name => `process_${name}`),
];

/**
 * A quantile of a histogram, interpolated within its bucket: `quantile(0.99, buckets)`. @returns null: nothing counted
 */
export function quantile(share: number, buckets: { bound: number; count: number }[]): number | null {
  const total = buckets.at(-1)?.count ?? 0;
  if (total === 0) return null;
  let below = { bound: 0, count: 0 };
  for (const bucket of buckets) {
    if (bucket.count >= share * total) {
      if (bucket.bound === Infinity) return below.bound;
      const part = (share * total - below.count) / (bucket.count - below.count);
      return below.bound + (bucket.bound - below.bound) * part;
    }
    below = bucket;
  }
  return below.bound;
}

export class Sampler {
  readonly #kept: Sample[] = [];
  readonly #max: number;
  #before: Values | undefined;

  /** @param max number of samples to keep */
  constructor(max: number) {
    this.#max = max;
  }

  get kept(): readonly Sample[] {
    return this.#kept;
  }

  /** @param loop event loop delay, ms @returns the sample since the previous call; undefined for the first */
  take(measured: Measured[], loop: number, at = Date.now()): Sample | undefined {
    const now = new Values(at, measured);
    const before = this.#before;
    this.#before = now;
    if (!before || at <= before.at) return undefined;
    const sample = between(before, now, loop);
    this.#kept.push(sample);
    if (this.#kept.length > this.#max) this.#kept.shift();
    return sample;
  }
}

function between(before: Values, now: Values, loop: number): Sample {
  const seconds = (now.at - before.at) / 1000;
  const more = (name: string, label?: string, of?: string) =>
    now.sum(name, label, of) - before.sum(name, label, of);
  const rate = (...what: Parameters<typeof more>) => Math.round((more(...what) / seconds) * 100) / 100;
  const answers = (kind?: string) => rate('tagwait_answers_total', kind && 'answer', kind);
  const earlier = before.buckets(LATENCY);
  const latencies = now
    .buckets(LATENCY)
    .map(({ bound, count }, index) => ({ bound, count: count - (earlier[index]?.count ?? 0) }));
  const ms = (share: number) => {
    const part = quantile(share, latencies);
    return part === null ? null : Math.round(part * 10_000) / 10;
  };
  const limits = now.series('tagwait_limits_reached_total').map(({ labels }) => String(labels.limit));
  const stored = rate('tagwait_sets_total', 'result', 'stored');
  return {
    at: now.at,
    held: now.sum('tagwait_held'),
    watched: now.sum('tagwait_watched_keys'),
    polls: rate('tagwait_polls_total'),
    values: answers('success'),
    timeouts: answers('timeout'),
    refusals: Math.max(0, answers() - answers('success') - answers('timeout')),
    sets: stored,
    setsFailed: Math.max(0, rate('tagwait_sets_total') - stored),
    p50: ms(0.5),
    p99: ms(0.99),
    limits: Object.fromEntries(
      limits.map(limit => [limit, more('tagwait_limits_reached_total', 'limit', limit)]),
    ),
    logins: Object.fromEntries(
      now
        .series('tagwait_logins_total')
        .filter(({ labels }) => labels.result === 'ok')
        .map(({ labels, value }) => [String(labels.step), value]),
    ),
    lost: now.sum('tagwait_lost_values_total'),
    returns: now.sum('tagwait_store_returns_total'),
    gaps: now.sum('tagwait_gaps_total'),
    storeUp: now.sum('tagwait_store_up') === 1,
    ready: now.sum('tagwait_ready') === 1,
    loop,
    connections: now.sum('tagwait_connections'),
    memory: now.sum('process_resident_memory_bytes'),
    cpu: rate('process_cpu_seconds_total'),
  };
}
