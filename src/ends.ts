/** When holds end: together where they may, and spread where a crowd would come back at once. */

/** Of a hold, the last part over which crowds are spread. */
const LAST = 0.2;
/** ms between the lengths of holds that end earlier. */
const STEP = 100;
/** Holds that may end in one second however few are held, and how many times their even share. */
const FEW = 100;
const TIMES = 1.25;
/** Seconds that are looked at: longer than any hold. */
const SLOTS = 512;
/** Milliseconds between two moments at which holds end: a timer for each of them, and not for each waiter. */
const MOMENT = 10;

/** A moment at which holds end. */
interface End<Item> {
  readonly moment: number;
  readonly timer: NodeJS.Timeout;
  first: Item | undefined;
}

/** Who is held until such a moment. */
export interface Ending<Item> {
  /** gone when nothing is waited for any more */
  end: End<Item> | undefined;
  /** its neighbours among those with the same end */
  sooner: Item | undefined;
  later: Item | undefined;
}

/**
 * When holds end. Pages that asked in the same second (a node was restarted, a network came back) would all be answered
 * in one second and ask again in one, for ever: where too many would end, the rest end a little earlier, each at another
 * moment. A hold is never longer than asked but for two moments, and as long as asked while there is no crowd.
 */
export class Ends<Item extends Ending<Item>> {
  readonly #counts = new Uint32Array(SLOTS);
  /** which second each slot is for */
  readonly #seconds = new Uint32Array(SLOTS);

  readonly #ends = new Map<number, End<Item>>();
  readonly #over: (item: Item) => void;

  /** @param over is told of each whose hold is over */
  constructor(over: (item: Item) => void) {
    this.#over = over;
  }

  /** Has one end. @param hold ms @param held requests held now */
  add(item: Item, hold: number, held: number): void {
    const now = performance.now();
    const moment = Math.ceil((now + this.after(hold, held, now)) / MOMENT);
    let end = this.#ends.get(moment);
    if (!end) {
      // in whole moments: Node keeps a list for each length of a timer
      const wait = MOMENT * Math.ceil(moment - now / MOMENT);
      const timer = setTimeout(() => this.#come(moment), wait);
      end = { moment, first: undefined, timer };
      this.#ends.set(moment, end);
    }
    item.end = end;
    item.later = end.first;
    if (end.first) end.first.sooner = item;
    end.first = item;
  }

  /** Takes an end back. */
  remove(item: Item): void {
    const { end, sooner, later } = item;
    if (!end) return;
    if (sooner) sooner.later = later;
    else end.first = later;
    if (later) later.sooner = sooner;
    item.end = undefined;
    item.sooner = undefined;
    item.later = undefined;
    if (end.first) return;
    clearTimeout(end.timer);
    this.#ends.delete(end.moment);
  }

  #come(moment: number): void {
    const end = this.#ends.get(moment);
    while (end?.first) {
      const item = end.first;
      this.remove(item);
      this.#over(item);
    }
  }

  /** @param hold ms @param held requests held now @returns ms after which the hold ends */
  after(hold: number, held: number, now: number): number {
    const most = FEW + (TIMES * held * 1000) / Math.max(hold, 1000);
    if (this.#count(now + hold) <= most) return hold;
    const earlier = hold - STEP * Math.floor((LAST * hold * Math.random()) / STEP);
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
