/** The end of a ticket, for transports without a timeout of their own. */

/** ms; Node fires a longer timer at once. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** Calls back once at a time of the wall clock, however far away it is. */
export class Expiry {
  readonly #at: number;
  readonly #onEnd: () => void;
  #timer: NodeJS.Timeout | undefined;

  /** @param at unix ms, in the future */
  constructor(at: number, onEnd: () => void) {
    this.#at = at;
    this.#onEnd = onEnd;
    this.#wait();
  }

  cancel(): void {
    clearTimeout(this.#timer);
  }

  #wait = (): void => {
    const left = this.#at - Date.now();
    if (left > 0 || this.#timer === undefined)
      this.#timer = setTimeout(this.#wait, Math.min(Math.max(left, 0), LONGEST_TIMER));
    else this.#onEnd();
  };
}
