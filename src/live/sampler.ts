/** This node's last minutes, in small: what the live page plots. */

import type { Measured } from '../metrics.js';

/** One look. Rates are per second, since the look before. */
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
  /** ms from a set to its pages, over those since the look before; null: there were none */
  p50: number | null;
  p99: number | null;
  /** refused since the look before, by limit */
  limits: Record<string, number>;
  /** since the start */
  lost: number;
  returns: number;
  gaps: number;
  storeUp: boolean;
  ready: boolean;
  /** ms, 99th of a hundred */
  loop: number;
  connections: number;
  /** bytes */
  memory: number;
  /** cores */
  cpu: number;
}

/** Sums of what was measured: the value of a metric, over all series whose label has this value. */
class Look {
  readonly #metrics: Map<string, Measured['values']>;
  constructor(
    readonly at: number,
    measured: Measured[],
  ) {
    // copied: a counter's own objects go on counting
    this.#metrics = new Map(measured.map(({ name, values }) => [name, values.map(one => ({ ...one }))]));
  }

  series(name: string): Measured['values'] {
    return this.#metrics.get(name) ?? [];
  }

  sum(name: string, label?: string, of?: string): number {
    return this.series(name)
      .filter(({ labels }) => label === undefined || labels[label] === of)
      .reduce((sum, { value }) => sum + value, 0);
  }

  /** Cumulative counts of a histogram, by their upper bound. */
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
/** What is looked at. */
export const LOOKED_AT = [
  LATENCY,
  ...[
    'held',
    'connections',
    'watched_keys',
    'polls_total',
    'answers_total',
    'sets_total',
    'limits_reached_total',
  ].map(name => `tagwait_${name}`),
  ...['lost_values_total', 'store_returns_total', 'gaps_total', 'store_up', 'ready'].map(
    name => `tagwait_${name}`,
  ),
  // The first is what makes the counter of all CPU time count. Not process_open_fds: it lists a directory, which with
  // 10,000 connections stops the event loop for 14 ms (measured).
  ...['cpu_user_seconds_total', 'cpu_seconds_total', 'resident_memory_bytes'].map(name => `process_${name}`),
];

/** @returns the bound below which this share lies, by straight lines within a bucket; null when nothing was counted */
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
  readonly #most: number;
  #before: Look | undefined;

  /** @param most samples that are kept */
  constructor(most: number) {
    this.#most = most;
  }

  get kept(): readonly Sample[] {
    return this.#kept;
  }

  /** @param loop the event loop's delay, ms @returns what happened since the last look; undefined at the first */
  take(measured: Measured[], loop: number, at = Date.now()): Sample | undefined {
    const now = new Look(at, measured);
    const before = this.#before;
    this.#before = now;
    if (!before || at <= before.at) return undefined;
    const sample = between(before, now, loop);
    this.#kept.push(sample);
    if (this.#kept.length > this.#most) this.#kept.shift();
    return sample;
  }
}

function between(before: Look, now: Look, loop: number): Sample {
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
