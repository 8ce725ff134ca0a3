/** Metric values as data: taken from one process, added up over several, written in the Prometheus text format. */
import { AggregatorRegistry, Registry } from 'prom-client';

/** One metric with all its series. */
export interface Measured {
  name: string;
  type?: unknown;
  /** how values of several processes are combined: sum (default), min, max, average, first, omit */
  aggregator?: string;
  values: { value: number; labels: Partial<Record<string, string | number>>; metricName?: string }[];
}

/** The metrics that the live page shows, of one process or of several, at one time. */
export interface Snapshot {
  /** unix ms */
  at: number;
  measured: Measured[];
  /** event loop delay, p99, ms; of several processes the largest */
  loop: number;
  /** number of processes included */
  processes: number;
}

/** Combines the metrics of several processes, each by its aggregator. */
export function aggregate(all: Measured[][]): Measured[] {
  const metrics = AggregatorRegistry.aggregate(all).getMetricsAsArray();
  return metrics.map(({ get: _, ...metric }: object & { get?: unknown }) => metric as Measured);
}

/** Only the metrics that never decrease: counters and histograms. */
export const countersIn = (measured: Measured[]) =>
  measured.filter(({ type }) => type === 'counter' || type === 'histogram');

export const prometheusText = (measured: Measured[]) => AggregatorRegistry.aggregate([measured]).metrics();

/** Content type of the Prometheus text format. */
export const METRICS_TYPE: string = Registry.PROMETHEUS_CONTENT_TYPE;

export const LINES_LOST = {
  name: 'tagwait_log_lines_lost_total',
  help: 'Log lines that could not be written, or not in time',
};

/** The only metric of the primary process, which has no registry. */
export const linesLostMetric = (lines: number): Measured => ({
  ...LINES_LOST,
  type: 'counter',
  aggregator: 'sum',
  values: [{ value: lines, labels: {} }],
});

/** The other processes behind the same ports. */
export interface Peers {
  /** the metrics of all processes in the Prometheus text format */
  scrape(): Promise<string>;
  /** the key of the live page */
  liveKey: string;
  /** @param listener gets a snapshot of all processes every 2 s */
  onSnapshot(listener: (snapshot: Snapshot) => void): void;
}
