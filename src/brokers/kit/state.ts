/**
 * What a store keeps under one key, as one JSON value, and what the methods of a broker do with it. The store's part is to
 * read and replace the value in one step: PostgreSQL does it with a lock, ZooKeeper with a version number.
 */
import { newEpoch, offsetIn } from '../../protocol/cursor.js';
import {
  type Backlog,
  Conflict,
  type Entry,
  type Events,
  type Peek,
  RECEIPTS,
  type Receipt,
  type SetOptions,
} from '../broker.js';

/** The JSON. */
interface Kept {
  epoch: string;
  /** offset of the newest entry */
  last: number;
  final: boolean;
  /** unix ms */
  expires: number;
  /** the newest values, oldest first */
  values: string[];
  /** of the newest sets with an id, oldest first */
  receipts: [id: string, cursor: string, watched: boolean][];
}

const nothing = (): Kept => ({ epoch: '', last: 0, final: false, expires: 0, values: [], receipts: [] });

/** The state of one key: its entries, receipts and time to live. */
export class KeyState {
  readonly #kept: Kept;

  /**
   * @param stored what `toString` returned, also as bytes; nothing (undefined, null or '') for a key that was never set. A
   * state whose time to live has passed, by this machine's clock, counts as nothing
   */
  constructor(stored?: string | Uint8Array | null) {
    const text = typeof stored === 'string' ? stored : Buffer.from(stored ?? []).toString();
    const kept: Kept = text === '' ? nothing() : JSON.parse(text);
    this.#kept = kept.expires > Date.now() ? kept : nothing();
  }

  /** The state as JSON, to be stored. */
  toString(): string {
    return JSON.stringify(this.#kept);
  }

  /** The newest position, '' if nothing is stored. */
  get cursor(): string {
    return this.#positionAt(this.#kept.last);
  }

  /** When the key expires, unix ms; 0 if nothing is stored. */
  get expires(): number {
    return this.#kept.expires;
  }

  /**
   * Stores an entry in this state.
   * @param history entries to keep @param watched whether a node is subscribed to the key, for the receipt
   * @returns the receipt; the entry to deliver, unless the id is repeated: then the state is unchanged
   * @throws {Conflict} the state is unchanged
   */
  set(
    value: string,
    { ttl, final = false, expect, id }: SetOptions,
    { history, watched }: { history: number; watched: boolean },
  ): { receipt: Receipt; entry?: Entry } {
    const kept = this.#kept;
    const prev = this.cursor;
    const first = id === undefined ? undefined : kept.receipts.find(([known]) => known === id);
    if (first) return { receipt: { cursor: first[1], watched: first[2], repeated: true } };
    if (kept.final) throw new Conflict('final', prev);
    if (expect !== undefined && expect !== prev) throw new Conflict('expect', prev);
    if (kept.last === 0) kept.epoch = newEpoch();
    kept.last++;
    kept.final = final;
    kept.expires = Date.now() + ttl;
    kept.values = [...kept.values, value].slice(-history);
    const { cursor } = this;
    if (id !== undefined) {
      kept.receipts.push([id, cursor, watched]);
      if (kept.receipts.length > RECEIPTS) kept.receipts.shift();
    }
    return { receipt: { cursor, watched }, entry: { value, cursor, prev, final, at: Date.now() } };
  }

  /** The entries newer than a cursor, as `subscribe` returns them. */
  since(cursor: string): Backlog {
    const { epoch, last, final } = this.#kept;
    const newer = last - Math.min(offsetIn(epoch, cursor), last);
    const entries = newer > 0 ? this.#entries().slice(-newer) : [];
    return { entries, lost: newer - entries.length, cursor: this.cursor, final };
  }

  /**
   * Delivers the entries newer than a position to a node, and a gap if some of them are no longer kept. For stores that say
   * that a key has changed, and not how.
   */
  deliver(events: Pick<Events, 'entry' | 'gap'>, key: string, position: string): void {
    const { entries, lost } = this.since(position);
    if (lost > 0) events.gap(key);
    for (const entry of entries) events.entry(key, entry);
  }

  /** @param waiters requests held, by node; nodes that hold none are left out */
  peek(waiters: Readonly<Record<string, number>> = {}): Peek {
    return {
      entries: this.#entries().map(({ value, cursor }) => ({ value, cursor })),
      cursor: this.cursor,
      final: this.#kept.final,
      ttl: Math.max(0, this.expires - Date.now()),
      waiters: Object.fromEntries(Object.entries(waiters).filter(([, held]) => held > 0)),
    };
  }

  #entries(): Entry[] {
    const { last, final, values } = this.#kept;
    const first = last - values.length + 1;
    return values.map((value, index) => ({
      value,
      cursor: this.#positionAt(first + index),
      prev: this.#positionAt(first + index - 1),
      final: final && first + index === last,
    }));
  }

  #positionAt(offset: number): string {
    return offset > 0 ? `${this.#kept.epoch}-${offset}` : '';
  }
}
