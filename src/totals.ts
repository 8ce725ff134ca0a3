/**
 * Adds up the metrics of all workers. Counters of dead workers stay in the sum: a decrease would look like a restart.
 */
import { aggregate, countersIn, type Measured } from './samples.js';

/**
 * How long to wait for the metrics of a worker, ms. After that its previous metrics count. Less than a worker waits for the
 * sum.
 */
const TIMEOUT = 1500;

/** @typeParam W a worker */
export class Totals<W> {
  readonly #ask: (worker: W, what: 'all' | 'live') => void;
  /** the metrics of the primary itself */
  readonly #own: () => Measured[];
  /** the newest metrics of each worker, by name */
  readonly #known = new Map<W, Map<string, Measured>>();
  readonly #loops = new Map<W, number>();
  /** the counters of workers that died */
  #dead: Measured[] = [];
  readonly #waiting = new Set<{ missing: Set<W>; done: () => void }>();

  constructor(ask: (worker: W, what: 'all' | 'live') => void, own: () => Measured[]) {
    this.#ask = ask;
    this.#own = own;
  }

  /** A worker has sent its metrics. @param loop its event loop delay, ms */
  onMeasured(worker: W, measured: Measured[], loop = 0): void {
    const known = this.#known.get(worker) ?? new Map<string, Measured>();
    this.#known.set(worker, known);
    this.#loops.set(worker, loop);
    for (const metric of measured) known.set(metric.name, metric);
    this.#answered(worker);
  }

  /** A worker has died. */
  delete(worker: W): void {
    const last = [...(this.#known.get(worker)?.values() ?? [])];
    this.#known.delete(worker);
    this.#loops.delete(worker);
    this.#dead = aggregate([this.#dead, countersIn(last)]);
    this.#answered(worker);
  }

  /** The largest event loop delay of all workers, ms. */
  loop(): number {
    return Math.max(0, ...this.#loops.values());
  }

  /** Requests the metrics of these workers and waits for at most 1.5 s. @returns the sum over all workers */
  async gather(workers: readonly W[], what: 'all' | 'live'): Promise<Measured[]> {
    if (workers.length > 0)
      await new Promise<void>(resolve => {
        const timer = setTimeout(() => wait.done(), TIMEOUT);
        const wait = {
          missing: new Set(workers),
          done: () => {
            clearTimeout(timer);
            this.#waiting.delete(wait);
            resolve();
          },
        };
        this.#waiting.add(wait);
        for (const worker of workers) this.#ask(worker, what);
      });
    const answers = [...this.#known.values()].map(known => [...known.values()]);
    return aggregate([...answers, this.#dead, this.#own()]);
  }

  #answered(worker: W): void {
    for (const wait of this.#waiting) {
      wait.missing.delete(worker);
      if (wait.missing.size === 0) wait.done();
    }
  }
}
