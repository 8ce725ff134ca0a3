/** Names of keys and channels in Redis, and the batches of keys that one command may use. */
import slotOf from 'cluster-key-slot';

/** Version of key names, stored data and messages. */
const LAYOUT = 1;

export class Keys {
  readonly #start: string;
  readonly #clustered: boolean;
  /** prefix of all channels: channels are shared by all databases, so the name contains the database if it is not 0 */
  readonly channels: string;

  constructor(prefix: string, database: number, clustered: boolean) {
    this.#start = `${prefix}:${LAYOUT}:`;
    this.channels = database === 0 ? this.#start : `${this.#start}db${database}:`;
    this.#clustered = clustered;
  }

  entries = (key: string) => `${this.#start}{${key}}`;
  watchers = (key: string) => `${this.#start}w:{${key}}`;
  /** Prefix of the markers on one server. @param tag the server's hash tag, see `heartbeats.ts` */
  markers = (tag: string) => `${this.#start}m:{${tag}}:`;

  /** Splits items into batches for one script: at most `max`, on a Cluster of one slot. */
  batches<T extends { readonly key: string }>(items: readonly T[], max: number): T[][] {
    const open = new Map<number, T[]>();
    const batches: T[][] = [];
    for (const item of items) {
      const slot = this.#slot(item.key);
      let batch = open.get(slot);
      if (!batch || batch.length >= max) {
        batch = [];
        open.set(slot, batch);
        batches.push(batch);
      }
      batch.push(item);
    }
    return batches;
  }

  /** Removes the first items of a queue that fit in one script: at most `max`, on a Cluster of one slot. */
  take<T extends { readonly key: string }>(queue: T[], max: number): T[] {
    let first: number | undefined;
    const end = queue.findIndex(({ key }, index) => {
      const slot = this.#slot(key);
      first ??= slot;
      return index === max || slot !== first;
    });
    return queue.splice(0, end < 0 ? queue.length : end);
  }

  #slot(key: string): number {
    return this.#clustered ? slotOf(key) : 0;
  }
}
