/** The names of keys and channels in Redis, and which keys one command may name. */
import slotOf from 'cluster-key-slot';

/** The version of key names, of what is kept under them, and of messages. */
const LAYOUT = 1;

export class Keys {
  readonly #start: string;
  readonly #clustered: boolean;
  /** the start of all channels: they know no database, so its number is part of their names */
  readonly channels: string;

  constructor(prefix: string, database: number, clustered: boolean) {
    this.#start = `${prefix}:${LAYOUT}:`;
    this.channels = database === 0 ? this.#start : `${this.#start}db${database}:`;
    this.#clustered = clustered;
  }

  entries = (key: string) => `${this.#start}{${key}}`;
  watchers = (key: string) => `${this.#start}w:{${key}}`;
  /** Under the tag of one server, see `link.ts`. */
  markers = (tag: string) => `${this.#start}m:{${tag}}:`;

  /** Divides items into what one script may look at: on a Cluster, keys of one slot. */
  batches<T extends { readonly key: string }>(items: readonly T[], max: number): T[][] {
    const open = new Map<number, T[]>();
    const batches: T[][] = [];
    for (const item of items) {
      const slot = this.#clustered ? slotOf(item.key) : 0;
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
}
