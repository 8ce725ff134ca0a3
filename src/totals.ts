/** What all workers measured, added up. The counts of dead workers stay in it: a sum that falls looks like a restart. */
import { add, countsOf, type Measured } from './metrics.js';

/** ms for a worker to say what it measured: for one that is busy for longer, its last answer counts. */
const PATIENCE = 2000;

/** @typeParam W a worker */
export class Totals<W> {
  readonly #ask: (worker: W, what: 'all' | 'live') => void;
  /** what the primary itself measured */
  readonly #own: () => Measured[];
  /** the last answer of each worker, by the metric's name */
  readonly #known = new Map<W, Map<string, Measured>>();
  readonly #loops = new Map<W, number>();
  #gone: Measured[] = [];
  readonly #waiting = new Set<{ missing: Set<W>; done: () => void }>();

  constructor(ask: (worker: W, what: 'all' | 'live') => void, own: () => Measured[]) {
    this.#ask = ask;
    this.#own = own;
  }

  take(worker: W, measured: Measured[], loop = 0): void {
    const known = this.#known.get(worker) ?? new Map<string, Measured>();
    this.#known.set(worker, known);
    this.#loops.set(worker, loop);
    for (const metric of measured) known.set(metric.name, metric);
    this.#answered(worker);
  }

  leave(worker: W): void {
    const last = [...(this.#known.get(worker)?.values() ?? [])];
    this.#known.delete(worker);
    this.#loops.delete(worker);
    this.#gone = add([this.#gone, countsOf(last)]);
    this.#answered(worker);
  }

  /** The event loop's delay where it is longest, ms. */
  loop(): number {
    return Math.max(0, ...this.#loops.values());
  }

  /** Asks these workers. @returns the sum of what each worker answered, now or last, after 2 s at most */
  async gather(workers: readonly W[], what: 'all' | 'live'): Promise<Measured[]> {
    if (workers.length > 0)
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
        for (const worker of workers) this.#ask(worker, what);
      });
    const answers = [...this.#known.values()].map(known => [...known.values()]);
    return add([...answers, this.#gone, this.#own()]);
  }

  #answered(worker: W): void {
    for (const wait of this.#waiting) {
      wait.missing.delete(worker);
      if (wait.missing.size === 0) wait.done();
    }
  }
}
