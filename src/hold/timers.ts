/** Timers of holds: one per 10 ms instead of one per request, with limits on how many holds end in the same second. */

/** Share of a hold by which it may end earlier. */
const SPREAD = 0.2;
/** Holds that end earlier end by a multiple of this earlier, ms. */
const STEP = 100;
/** Cap per second: 100 + 1.25 × average. 10,000 held for 25 s: 400/s on average, at most 600/s. */
const BASE = 100;
const FACTOR = 1.25;
/** Size of the ring of per-second counters; larger than any hold in seconds. */
const SLOTS = 512;
/** Resolution of the timers, ms. */
const TICK = 10;

/** A time at which holds end, with its timer. */
interface Tick<Item> {
  readonly number: number;
  readonly timer: NodeJS.Timeout;
  first: Item | undefined;
}

/** An item with a timer. */
export interface Timed<Item> {
  /** undefined: its timer is not running */
  tick: Tick<Item> | undefined;
  /** neighbours in the linked list of the tick */
  prevTimer: Item | undefined;
  nextTimer: Item | undefined;
}

/**
 * Spreads the ends of holds. Without it, pages that polled in the same second (after a restart or a network outage)
 * would all be answered in one second and poll again in the next, for ever. If too many holds end in a second, further
 * ones end up to 20 % earlier, at random. No hold takes longer than requested, except for two ticks.
 */
export class HoldTimers<Item extends Timed<Item>> {
  readonly #counts = new Uint32Array(SLOTS);
  /** the second that each slot counts */
  readonly #seconds = new Uint32Array(SLOTS);
  readonly #ticks = new Map<number, Tick<Item>>();
  readonly #onEnd: (item: Item) => void;

  /** @param onEnd called for each item when its hold ends */
  constructor(onEnd: (item: Item) => void) {
    this.#onEnd = onEnd;
  }

  /** Starts the timer of an item. @param hold ms @param held requests held now */
  add(item: Item, hold: number, held: number): void {
    const now = performance.now();
    const number = Math.ceil((now + this.lengthOf(hold, held, now)) / TICK);
    let tick = this.#ticks.get(number);
    if (!tick) {
      // a multiple of the tick: Node.js keeps a list for each delay
      const wait = TICK * Math.ceil(number - now / TICK);
      const timer = setTimeout(() => this.#end(number), wait);
      tick = { number, first: undefined, timer };
      this.#ticks.set(number, tick);
    }
    item.tick = tick;
    item.nextTimer = tick.first;
    if (tick.first) tick.first.prevTimer = item;
    tick.first = item;
  }

  remove(item: Item): void {
    const { tick, prevTimer, nextTimer } = item;
    if (!tick) return;
    if (prevTimer) prevTimer.nextTimer = nextTimer;
    else tick.first = nextTimer;
    if (nextTimer) nextTimer.prevTimer = prevTimer;
    item.tick = undefined;
    item.prevTimer = undefined;
    item.nextTimer = undefined;
    if (tick.first) return;
    clearTimeout(tick.timer);
    this.#ticks.delete(tick.number);
  }

  #end(number: number): void {
    const tick = this.#ticks.get(number);
    while (tick?.first) {
      const item = tick.first;
      this.remove(item);
      this.#onEnd(item);
    }
  }

  /** The length of a hold. @param hold requested length, ms @param held requests held now @returns ms */
  lengthOf(hold: number, held: number, now: number): number {
    const max = BASE + (FACTOR * held * 1000) / Math.max(hold, 1000);
    if (this.#count(now + hold) <= max) return hold;
    const earlier = hold - STEP * Math.floor((SPREAD * hold * Math.random()) / STEP);
    this.#count(now + earlier);
    return earlier;
  }

  #count(end: number): number {
    const second = Math.floor(end / 1000);
    const slot = second % SLOTS;
    if (this.#seconds[slot] !== second) {
      this.#seconds[slot] = second;
      this.#counts[slot] = 0;
    }
    const count = (this.#counts[slot] ?? 0) + 1;
    this.#counts[slot] = count;
    return count;
  }
}
