/** A map that cannot grow: entries run out, and beyond a number the oldest make room. */
export class Bounded<T> {
  readonly #entries = new Map<string, { value: T; until: number }>();

  constructor(
    readonly most: number,
    /** milliseconds, the same for all: so the oldest is always the first to go */
    readonly life: number,
  ) {}

  get(key: string): T | undefined {
    const entry = this.#entries.get(key);
    return entry && entry.until > Date.now() ? entry.value : undefined;
  }

  add(key: string, value: T): void {
    this.#entries.delete(key);
    this.#entries.set(key, { value, until: Date.now() + this.life });
    for (const [old, { until }] of this.#entries) {
      if (until > Date.now() && this.#entries.size <= this.most) break;
      this.#entries.delete(old);
    }
  }

  delete(key: string): void {
    this.#entries.delete(key);
  }
}
