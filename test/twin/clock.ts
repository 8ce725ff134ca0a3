/**
 * Virtual time. Timers fire in the order of their times, and everything that one of them settles (promises, `nextTick`)
 * happens before the next: a run of minutes takes milliseconds, and the same seed gives the same run.
 *
 * Vitest's fake timers do the same forty times slower: they search all timers for each step.
 */

/** A process that may be stopped for a while: then its timers fire late. */
export interface Process {
  /** ms since the start */
  stalledUntil: number;
}

/** The process whose code runs; undefined: one that is never stopped. */
let running: Process | undefined;

/** Runs as code of a process: the timers that it makes are its own. */
export function as<T>(owner: Process | undefined, act: () => T): T {
  const before = running;
  running = owner;
  try {
    return act();
  } finally {
    running = before;
  }
}

interface Timer {
  owner: Process | undefined;
  at: number;
  /** of timers with one time, the one that was made first is first */
  order: number;
  every: number | undefined;
  act: ((...args: unknown[]) => void) | undefined;
  args: unknown[];
  ref(): Timer;
  unref(): Timer;
  hasRef(): boolean;
}

const real = {
  setTimeout,
  clearTimeout,
  setInterval,
  clearInterval,
  setImmediate,
  clearImmediate,
  now: performance.now,
  date: Date.now,
  random: Math.random,
};
/** Unix ms at the start of every run. */
const EPOCH = 1_800_000_000_000;

export class Clock {
  /** ms since the start */
  now = 0;
  readonly #heap: Timer[] = [];
  #order = 0;

  /** Takes the place of the global timers, clocks and random numbers, until `uninstall`. */
  install(random: () => number): void {
    const cancel = (timer?: unknown) => {
      if (timer) (timer as Timer).act = undefined;
    };
    const fakes: Record<string, unknown> = {
      setTimeout: (act: Timer['act'], wait?: number, ...args: unknown[]) => this.#add(act, wait, args),
      setInterval: (act: Timer['act'], wait?: number, ...args: unknown[]) =>
        this.#add(act, wait, args, Math.max(1, wait ?? 1)),
      setImmediate: (act: Timer['act'], ...args: unknown[]) => this.#add(act, -1, args),
      clearTimeout: cancel,
      clearInterval: cancel,
      clearImmediate: cancel,
    };
    Object.assign(globalThis, fakes);
    performance.now = () => this.now;
    Date.now = () => EPOCH + Math.floor(this.now);
    Math.random = random;
  }

  uninstall(): void {
    const { now, date, random, ...timers } = real;
    Object.assign(globalThis, timers);
    performance.now = now;
    Date.now = date;
    Math.random = random;
  }

  /** Timers that would still fire. */
  get pending(): number {
    return this.#heap.filter(({ act }) => act).length;
  }

  /** Lets time pass. @param end ms since the start */
  async runUntil(end: number): Promise<void> {
    await settled();
    for (;;) {
      const first = this.#heap[0];
      if (!first || first.at > end) break;
      this.#pop();
      const { act, owner } = first;
      if (!act) continue;
      if (owner && owner.stalledUntil > first.at) {
        first.at = owner.stalledUntil;
        this.#push(first);
        continue;
      }
      this.now = Math.max(this.now, first.at);
      if (first.every === undefined) first.act = undefined;
      else {
        first.at += first.every;
        first.order = this.#order++;
        this.#push(first);
      }
      running = owner;
      act(...first.args);
      await settled();
      running = undefined;
    }
    this.now = end;
  }

  /** @param wait ms; -1: at once, as `setImmediate` does; Node waits for 1 ms at least */
  #add(act: Timer['act'], wait = 1, args: unknown[] = [], every?: number): Timer {
    const timer: Timer = {
      owner: running,
      at: this.now + (wait < 0 ? 0 : Math.max(1, wait)),
      order: this.#order++,
      every,
      act,
      args,
      ref: () => timer,
      unref: () => timer,
      hasRef: () => false,
    };
    this.#push(timer);
    return timer;
  }

  #push(timer: Timer): void {
    const heap = this.#heap;
    let place = heap.push(timer) - 1;
    while (place > 0) {
      const above = (place - 1) >> 1;
      if (!isBefore(timer, heap[above] as Timer)) break;
      heap[place] = heap[above] as Timer;
      place = above;
    }
    heap[place] = timer;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop() as Timer;
    if (heap.length === 0) return;
    let place = 0;
    for (;;) {
      let below = 2 * place + 1;
      if (below >= heap.length) break;
      if (below + 1 < heap.length && isBefore(heap[below + 1] as Timer, heap[below] as Timer)) below++;
      if (!isBefore(heap[below] as Timer, last)) break;
      heap[place] = heap[below] as Timer;
      place = below;
    }
    heap[place] = last;
  }
}

const isBefore = (one: Timer, other: Timer) =>
  one.at < other.at || (one.at === other.at && one.order < other.order);

/** When all promises and ticks that are under way are done: nothing here waits for the outside world. */
const settled = () => new Promise<void>(resolve => real.setImmediate(resolve));
