/** Creates metrics in a prom-client registry: sampled ones, and counters that are cheap on the hot path. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';

/** Adds 1 to the series with these label values. */
export type Increment = (label: string, another?: string) => void;

/** Creates metrics in one registry. */
export class MetricsFactory {
  readonly registry = new Registry();
  readonly #registers = [this.registry];

  /** A gauge that is sampled at scrape time. @param aggregator how the values of several workers are combined */
  gauge(name: string, help: string, sample: () => number, aggregator: 'sum' | 'min' = 'sum'): void {
    new Gauge({
      name,
      help,
      aggregator,
      registers: this.#registers,
      collect() {
        this.set(sample());
      },
    });
  }

  counter(name: string, help: string): Counter {
    return new Counter({ name, help, registers: this.#registers });
  }

  /** A counter whose value is kept elsewhere and sampled at scrape time. */
  sampledCounter(name: string, help: string, sample: () => number): void {
    new Counter({
      name,
      help,
      registers: this.#registers,
      collect() {
        this.reset();
        this.inc(sample());
      },
    });
  }

  /**
   * A counter with one or two labels, for the hot path. It counts in Maps and is read at scrape time: `inc` of
   * prom-client validates and joins the labels on each call, which takes longer than all limits of a poll.
   * @param series the label values of all series, which all start at 0: an event that never happened is visible as 0
   */
  labelled(name: string, help: string, labelNames: string[], series: string[][]): Increment {
    const [first = '', second] = labelNames;
    const counts = new Map(series.map(([label = '']) => [label, new Map<string, number>()]));
    for (const [label = '', another = ''] of series) counts.get(label)?.set(another, 0);
    new Counter({
      name,
      help,
      labelNames,
      registers: this.#registers,
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

  /** A counter with one label, for the hot path. Its help ends with the values of the label. */
  counterBy(label: string, values: readonly string[], name: string, help: string): Increment {
    const series = values.map(value => [value]);
    return this.labelled(name, `${help}, by ${label} (${values.join(', ')})`, [label], series);
  }

  histogram(name: string, help: string, buckets: number[], collect: () => void): Histogram {
    return new Histogram({ name, help, buckets, registers: this.#registers, collect });
  }

  info(name: string, help: string, labels: Record<string, string>): void {
    const gauge = new Gauge({ name, help, labelNames: Object.keys(labels), registers: this.#registers });
    gauge.labels(labels).set(1);
  }
}
