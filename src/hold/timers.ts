/** When holds end: together where they may, and spread where a crowd would come back at once. */

/** Of a hold, the last part over which crowds are spread. */
const SPREAD = 0.2;
/** ms between the lengths of holds that end earlier. */
const STEP = 100;
/** Cap per second: 100 + 1.25 × average. 10,000 held for 25 s: 400/s on average, at most 600/s. */
const BASE = 100;
const FACTOR = 1.25;
/** Seconds that are counted: longer than any hold. */
const SLOTS = 512;
/** Milliseconds between two ticks at which holds end: one timer for each tick, and not for each waiter. */
const TICK = 10;

/** A tick at which holds end. */
interface Tick<Item> {
  readonly number: number;
  readonly timer: NodeJS.Timeout;
  first: Item | undefined;
}

/** An item in the list of one tick. */
export interface Timed<Item> {
  /** undefined: it has no end, or it has passed */
  tick: Tick<Item> | undefined;
  /** its neighbours among those that end in the same tick */
  prevTimer: Item | undefined;
  nextTimer: Item | undefined;
}

/**
 * Pages that asked in the same second (a node was restarted, a network came back) would all be answered in one second and
 * ask again in one, for ever: where too many would end, the rest end a little earlier, each at another time. A hold is
 * never longer than asked for, but for two ticks, and as long as asked for while there is no crowd.
 */
export class HoldTimers<Item extends Timed<Item>> {
  readonly #counts = new Uint32Array(SLOTS);
  /** which second each slot counts */
  readonly #seconds = new Uint32Array(SLOTS);
  readonly #ticks = new Map<number, Tick<Item>>();
  readonly #onEnd: (item: Item) => void;

  /** @param onEnd is called for each item whose hold has ended */
  constructor(onEnd: (item: Item) => void) {
    this.#onEnd = onEnd;
  }

  /** @param hold ms @param held requests held now */
  add(item: Item, hold: number, held: number): void {
    const now = performance.now();
    const number = Math.ceil((now + this.lengthOf(hold, held, now)) / TICK);
    let tick = this.#ticks.get(number);
    if (!tick) {
      // in whole ticks: Node keeps a list for each length of a timer
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

  /** @param hold ms @param held requests held now @returns ms after which the hold ends */
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
