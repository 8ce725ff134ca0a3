/** Limits wrong codes and visitors by key, on this node. It limits noise: a code of 128 bits is not guessed. */

/** Wrong tries of a key in one window that are answered `wrong`; further ones are answered `tries`. */
const MAX = 10;
/** ms */
const WINDOW = 60_000;
/** Keys that are counted at a time; beyond that the oldest window is forgotten. */
const KEYS = 10_000;

export class Tries {
  /** oldest first, because all windows are of one length */
  readonly #windows = new Map<string, { count: number; ends: number }>();

  /** Counts a wrong try. @param now ms @returns 0, or the ms until the next one is answered as such */
  wrong(key: string, now: number): number {
    const window = this.#windows.get(key);
    if (!window || now >= window.ends) {
      this.#windows.delete(key);
      const [oldest] = this.#windows.keys();
      if (oldest !== undefined && this.#windows.size >= KEYS) this.#windows.delete(oldest);
      this.#windows.set(key, { count: 1, ends: now + WINDOW });
      return 0;
    }
    window.count++;
    return window.count > MAX ? window.ends - now : 0;
  }
}
