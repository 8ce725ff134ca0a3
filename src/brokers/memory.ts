/** The embedded store: keeps values in the memory of one process, until the process ends. */
import { newEpoch, offsetIn } from '../protocol/cursor.js';
import {
  type Backlog,
  type Broker,
  Conflict,
  type Entry,
  type Events,
  type NodeInfo,
  type Peek,
  RECEIPTS,
  type Receipt,
  type SetOptions,
  type StoreStatus,
  Unavailable,
} from './broker.js';

/** The longest delay of a Node.js timer, ms: 24.8 days. */
const MAX_TIMER = 2 ** 31 - 1;

interface Stored {
  /** random; a key that expired and is set again gets a new epoch, so that old cursors count as none */
  epoch: string;
  /** offset of the newest entry in this epoch, from 1 */
  last: number;
  /** the newest entries, oldest first */
  entries: Entry[];
  final: boolean;
  /** by the `id` of their set; most sets have none */
  receipts: Map<string, Receipt> | undefined;
  /** entries whose sets waited for a page's proof, by position */
  proofs: Map<string, 'wanted' | 'proved'> | undefined;
  /** when the key expires, ms on the monotonic clock: the wall clock may jump */
  expiresAt: number;
  timer: NodeJS.Timeout | undefined;
}

export class MemoryBroker implements Broker {
  readonly lease = Number.POSITIVE_INFINITY;
  readonly #stored = new Map<string, Stored>();
  readonly #watched = new Set<string>();
  readonly #history: number;
  readonly #maxKeys: number;
  #events!: Events;

  /** @param options.history entries kept per key @param options.maxKeys default 0, which means no limit */
  constructor(options: { history: number; maxKeys?: number }) {
    this.#history = options.history;
    this.#maxKeys = options.maxKeys || Number.POSITIVE_INFINITY;
  }

  async start(events: Events): Promise<void> {
    this.#events = events;
  }

  async set(key: string, value: string, options: SetOptions): Promise<Receipt> {
    const { id, expect, final = false } = options;
    const existing = this.#stored.get(key);
    const cursor = newest(existing);
    const repeated = id === undefined ? undefined : existing?.receipts?.get(id);
    if (repeated) {
      const wants = existing && options.receipt !== undefined;
      return { ...repeated, repeated: true, ...(wants && this.#want(key, existing, repeated.cursor)) };
    }
    if (existing?.final) throw new Conflict('final', cursor);
    if (expect !== undefined && expect !== cursor) throw new Conflict('expect', cursor);

    // a full store refuses new keys and evicts none: a page may wait for the value of any key
    if (!existing && this.#stored.size >= this.#maxKeys)
      throw new Unavailable(`the embedded store keeps ${this.#maxKeys} keys at most (TAGWAIT_MAX_KEYS)`);
    const stored = existing ?? this.#create(key);
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
    if (options.receipt !== undefined) {
      entry.receipt = true;
      proofsOf(stored).set(entry.cursor, 'wanted');
    }
    if (stored.entries.length > this.#history) {
      const oldest = stored.entries.shift() as Entry;
      stored.proofs?.delete(oldest.cursor);
    }
    this.#expireAfter(key, stored, options.ttl);
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
    const stored = this.#stored.get(key);
    if (!stored) return { entries: [], lost: 0, cursor: '', final: false };
    const newer = stored.last - Math.min(offsetIn(stored.epoch, since), stored.last);
    const entries = newer > 0 ? stored.entries.slice(-newer) : [];
    return {
      entries,
      lost: newer - entries.length,
      cursor: newest(stored),
      final: stored.final,
      ...(stored.proofs && { wanted: wantedOf(stored.proofs) }),
    };
  }

  prove(key: string, position: string): void {
    const proofs = this.#stored.get(key)?.proofs;
    // without a state it is no longer kept
    if (proofs?.get(position) !== 'wanted') return;
    proofs.set(position, 'proved');
    this.#events.receipt?.(key, position, 'proved');
  }

  unsubscribe(key: string): void {
    this.#watched.delete(key);
  }

  async peek(key: string): Promise<Peek> {
    const stored = this.#stored.get(key);
    const held = this.#events.held(key);
    return {
      entries: stored?.entries ?? [],
      cursor: newest(stored),
      final: stored?.final ?? false,
      ttl: stored ? Math.max(0, stored.expiresAt - performance.now()) : 0,
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
    for (const { timer } of this.#stored.values()) clearTimeout(timer);
    this.#stored.clear();
  }

  /** A repeated set waits for a receipt of an entry, if that is still kept. */
  #want(key: string, stored: Stored, position: string): { received: boolean } {
    const entry = stored.entries.find(({ cursor }) => cursor === position);
    const received = stored.proofs?.get(position) === 'proved';
    if (entry && !received) {
      entry.receipt = true;
      proofsOf(stored).set(position, 'wanted');
      if (this.#watched.has(key)) this.#events.receipt?.(key, position, 'wanted');
    }
    return { received };
  }

  #create(key: string): Stored {
    const stored = {
      epoch: newEpoch(),
      last: 0,
      entries: [],
      final: false,
      receipts: undefined,
      proofs: undefined,
      expiresAt: 0,
      timer: undefined,
    };
    this.#stored.set(key, stored);
    return stored;
  }

  #expireAfter(key: string, stored: Stored, ttl: number): void {
    const expiresAt = performance.now() + ttl;
    const extended = expiresAt >= stored.expiresAt;
    stored.expiresAt = expiresAt;
    // most sets extend the time to live: the timer that is running checks `expiresAt` and starts again
    if (stored.timer && extended) return;
    clearTimeout(stored.timer);
    const check = () => {
      const left = stored.expiresAt - performance.now();
      if (left > 1) stored.timer = setTimeout(check, Math.min(left, MAX_TIMER)).unref();
      else this.#stored.delete(key);
    };
    stored.timer = setTimeout(check, Math.min(ttl, MAX_TIMER)).unref();
  }
}

const newest = (stored: Stored | undefined) => stored?.entries.at(-1)?.cursor ?? '';

function proofsOf(stored: Stored): Map<string, 'wanted' | 'proved'> {
  stored.proofs ??= new Map();
  return stored.proofs;
}

const wantedOf = (proofs: ReadonlyMap<string, 'wanted' | 'proved'>) =>
  [...proofs].filter(([, state]) => state === 'wanted').map(([position]) => position);

function remember(receipts: Map<string, Receipt>, id: string, receipt: Receipt): void {
  receipts.set(id, receipt);
  for (const oldest of receipts.keys()) {
    if (receipts.size <= RECEIPTS) break;
    receipts.delete(oldest);
  }
}
