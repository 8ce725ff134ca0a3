import { randomBytes } from 'node:crypto';
import {
  type Backlog,
  type Broker,
  Conflict,
  type Entry,
  type Events,
  type NodeInfo,
  type Peek,
  positionsOf,
  RECEIPTS,
  type Receipt,
  type SetOptions,
  type StoreStatus,
  Unavailable,
} from './broker.js';

interface Stored {
  /** names this life of the key: after the key was forgotten another epoch begins, and old cursors count as none */
  epoch: string;
  /** offset of the newest entry in this epoch, from 1 */
  last: number;
  /** the newest entries, oldest first */
  entries: Entry[];
  final: boolean;
  /** by the `id` of their set; most sets have none */
  receipts: Map<string, Receipt> | undefined;
  /** when the key is forgotten, on the monotonic clock: the wall clock may jump */
  until: number;
  timer: NodeJS.Timeout | undefined;
}

/** The embedded store: one process, nothing survives it. */
export class MemoryBroker implements Broker {
  readonly lease = Number.POSITIVE_INFINITY;
  readonly #kept = new Map<string, Stored>();
  readonly #watched = new Set<string>();
  readonly #history: number;
  readonly #maxKeys: number;
  #events!: Events;

  /** @param options.history entries kept per key @param options.maxKeys 0 or absent: no limit */
  constructor(options: { history: number; maxKeys?: number }) {
    this.#history = options.history;
    this.#maxKeys = options.maxKeys || Number.POSITIVE_INFINITY;
  }

  async start(events: Events): Promise<void> {
    this.#events = events;
  }

  async set(key: string, value: string, options: SetOptions): Promise<Receipt> {
    const { id, expect, final = false } = options;
    const kept = this.#kept.get(key);
    const cursor = newest(kept);
    const repeated = id === undefined ? undefined : kept?.receipts?.get(id);
    if (repeated) return { ...repeated, repeated: true };
    if (kept?.final) throw new Conflict('final', cursor);
    if (expect !== undefined && expect !== cursor) throw new Conflict('expect', cursor);

    // refused, never made room for: a key that was forgotten early would strand the page that waits for it
    if (!kept && this.#kept.size >= this.#maxKeys)
      throw new Unavailable(`the embedded store keeps ${this.#maxKeys} keys at most (TAGWAIT_MAX_KEYS)`);
    const stored = kept ?? this.#begin(key);
    stored.last++;
    stored.final = final;
    const entry: Entry = {
      value,
      cursor: `${stored.epoch}-${stored.last}`,
      prev: cursor,
      final,
      at: Date.now(),
    };
    stored.entries.push(entry);
    if (stored.entries.length > this.#history) stored.entries.shift();
    this.#keep(key, stored, options.ttl);
    const receipt = { cursor: entry.cursor, watched: this.#watched.has(key) };
    if (id !== undefined) {
      stored.receipts ??= new Map();
      remember(stored.receipts, id, receipt);
    }
    if (receipt.watched) this.#events.entry(key, entry);
    return receipt;
  }

  subscribe(key: string, since: string): Backlog {
    this.#watched.add(key);
    const kept = this.#kept.get(key);
    if (!kept) return { entries: [], lost: 0, cursor: '', final: false };
    const newer = kept.last - seen(kept, since);
    const entries = newer > 0 ? kept.entries.slice(-newer) : [];
    return {
      entries,
      lost: newer - entries.length,
      cursor: newest(kept),
      final: kept.final,
    };
  }

  unsubscribe(key: string): void {
    this.#watched.delete(key);
  }

  async peek(key: string): Promise<Peek> {
    const kept = this.#kept.get(key);
    const held = this.#events.held(key);
    return {
      entries: kept?.entries ?? [],
      cursor: newest(kept),
      final: kept?.final ?? false,
      ttl: kept ? Math.max(0, kept.until - performance.now()) : 0,
      waiters: held > 0 ? { [this.#events.describe().id]: held } : {},
    };
  }

  async nodes(): Promise<NodeInfo[]> {
    return [this.#events.describe()];
  }

  status(): StoreStatus {
    return { up: true, reconnects: 0 };
  }

  async close(): Promise<void> {
    for (const { timer } of this.#kept.values()) clearTimeout(timer);
    this.#kept.clear();
  }

  #begin(key: string): Stored {
    const epoch = randomBytes(6).readUIntLE(0, 6).toString(36);
    const stored = {
      epoch,
      last: 0,
      entries: [],
      final: false,
      receipts: undefined,
      until: 0,
      timer: undefined,
    };
    this.#kept.set(key, stored);
    return stored;
  }

  /** Node's timers hold 2^31 - 1 ms, 24.8 days: a longer life is looked at again then. */
  #keep(key: string, stored: Stored, ttl: number): void {
    const now = performance.now();
    const longer = now + ttl >= stored.until;
    stored.until = now + ttl;
    // a timer that is early looks again: most sets lengthen a life, and need no other
    if (stored.timer && longer) return;
    clearTimeout(stored.timer);
    const look = () => {
      const left = stored.until - performance.now();
      if (left > 1) stored.timer = setTimeout(look, Math.min(left, 2 ** 31 - 1)).unref();
      else this.#kept.delete(key);
    };
    stored.timer = setTimeout(look, Math.min(ttl, 2 ** 31 - 1)).unref();
  }
}

const newest = (kept: Stored | undefined) => kept?.entries.at(-1)?.cursor ?? '';

/** How many of this epoch's entries a page with this cursor has seen: 0 when no position of it is in this epoch. */
function seen({ epoch, last }: Stored, since: string): number {
  const position = positionsOf(since).find(one => one.startsWith(`${epoch}-`));
  return position ? Math.min(Number(position.slice(epoch.length + 1)), last) : 0;
}

function remember(receipts: Map<string, Receipt>, id: string, receipt: Receipt): void {
  receipts.set(id, receipt);
  for (const oldest of receipts.keys()) {
    if (receipts.size <= RECEIPTS) break;
    receipts.delete(oldest);
  }
}
