/** A map of bounded size. An entry expires after a fixed time; when the map is full, the oldest entry is deleted. */
export class Bounded<T> {
  readonly #entries = new Map<string, { value: T; until: number }>();

  constructor(
    readonly most: number,
    /** ms, the same for all entries, so that the oldest is the first to expire */
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
