/**
 * Runs the operations of each key one after the other, in the order in which they were asked for: an `unsubscribe` never
 * overtakes a later `subscribe`. Operations of different keys run side by side.
 */
export class InOrder {
  /** by key: the newest operation, which never rejects */
  readonly #last = new Map<string, Promise<unknown>>();

  /** @returns what the operation returns @throws its error, which does not stop the next one */
  do<T>(key: string, operation: () => T | Promise<T>): Promise<T> {
    const done = (this.#last.get(key) ?? Promise.resolve()).then(operation);
    const settled: Promise<unknown> = done
      .catch(() => {})
      .then(() => {
        if (this.#last.get(key) === settled) this.#last.delete(key);
      });
    this.#last.set(key, settled);
    return done;
  }
}
