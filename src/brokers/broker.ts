/**
 * The interface of a broker, which stores values and routes them between nodes. The long poll holds requests on one
 * node and calls it. A value is the text that `protocol/jsonp.ts` rendered when it was set; it is not parsed again.
 *
 * `contract/` tests every guarantee written here, against any broker.
 */

/** A stored value. A key's entries form a chain: `cursor` is the entry's position, `prev` the one before ('': none). */
export interface Entry {
  /** JSON text, ASCII, safe inside a script */
  value: string;
  cursor: string;
  prev: string;
  /** the last entry of the key */
  final: boolean;
  /** its set waits for a receipt: a page that ends with this entry polls once more */
  receipt?: boolean | undefined;
  /** when the set request arrived, unix ms by the clock of its node; only in delivered entries, not in a backlog */
  at?: number | undefined;
}

/** The entries of a key that are newer than a cursor. */
export interface Backlog {
  /** oldest first, of many perhaps only the oldest; empty: nothing newer */
  entries: Entry[];
  /** number of entries newer than the cursor that are no longer kept */
  lost: number;
  /** the newest position of the key, '' if nothing is stored */
  cursor: string;
  /** the key has had its final entry */
  final: boolean;
  /** positions of entries whose sets wait for a receipt, until a page has proved them; absent: none */
  wanted?: readonly string[] | undefined;
}

/** The newest position that a node knows of a key that it is subscribed to. */
export interface Known {
  readonly key: string;
  readonly position: string | undefined;
}

export interface SetOptions {
  /** how long to keep the key after this set, ms */
  ttl: number;
  /** this is the last entry of the key */
  final?: boolean | undefined;
  /** store only if this is the newest cursor; '' for "nothing set yet" */
  expect?: string | undefined;
  /** idempotency key: a second set with the same id stores nothing and returns the receipt of the first */
  id?: string | undefined;
  /**
   * how long the long poll waits for a page's proof that it has taken the entry, ms; absent: not at all. A broker notes that
   * the entry, or that of the first set with this id, is wanted: see `prove`
   */
  receipt?: number | undefined;
}

export interface Receipt {
  cursor: string;
  /** a node that is alive is subscribed to the key: it holds a request, or answered one within the grace period */
  watched: boolean;
  /** true if the id was used before: nothing was stored */
  repeated?: boolean | undefined;
  /** with `receipt`: a page has proved that it has taken the entry. A broker says so of a repeat; otherwise the long poll */
  received?: boolean | undefined;
}

/** Receipts kept per key, for sets with an id. Older ones are dropped: a retry comes within seconds. */
export const RECEIPTS = 1000;

export interface Peek {
  entries: Pick<Entry, 'value' | 'cursor'>[];
  cursor: string;
  final: boolean;
  /** time to live, ms; 0 if nothing is stored */
  ttl: number;
  /** requests held now, by node id; nodes that hold none are left out */
  waiters: Record<string, number>;
}

export interface NodeInfo {
  id: string;
  /** requests held now, of all keys */
  held: number;
  version: string;
  /** seconds */
  uptime: number;
}

/** Callbacks from a broker to its node. */
export interface Events {
  /** A new entry of a subscribed key. It may come twice, late or never: this is a hint, the store is the truth. */
  entry(key: string, entry: Entry): void;
  /** Entries of this key (no argument: of any key) may have been missed: the node reads its keys again. */
  gap(key?: string): void;
  /** Number of requests held now for a key that have seen its newest entry. */
  held(key: string): number;
  /** Another node was asked to drop a poll that it does not hold. @param from the address that the poll counts for */
  drop(key: string, name: string, from: string): void;
  /**
   * A set waits for a receipt of this entry, which was stored before (wanted), or a page has proved it (proved). Only from
   * brokers with `prove`.
   */
  receipt?(key: string, position: string, state: 'wanted' | 'proved'): void;
  /** This node, for the list of nodes. */
  describe(): NodeInfo;
}

export interface StoreStatus {
  /** true while the store answers and delivers new entries to this node */
  up: boolean;
  /** why it is not up, in one line */
  cause?: string | undefined;
  /** how many times the store came back after an outage */
  reconnects: number;
}

/**
 * An error that a method may not throw counts as `Unavailable`, and so do a result of other types and no answer within ten
 * seconds: see docs/brokers.md.
 */
export interface Broker {
  /**
   * Resolves when the broker works, or when its store is known to be away. In that case the broker keeps trying to
   * connect and calls `gap` once it succeeds.
   * @throws {WrongStore} it can never work with these settings
   */
  start(events: Events): Promise<void>;
  /**
   * Stores an entry and delivers it, in one step.
   * @throws {Conflict} nothing was stored @throws {Unavailable} it may or may not have been stored
   */
  set(key: string, value: string, options: SetOptions): Promise<Receipt>;
  /** Reads the entries newer than `since` and subscribes this node to the key, in one step. @throws {Unavailable} */
  subscribe(key: string, since: string): Backlog | Promise<Backlog>;
  /**
   * Ends this node's subscription. Never throws. Calls for one key take effect in the order in which they were made: an
   * `unsubscribe` never cancels a later `subscribe`. Also called for a key that is not subscribed, when an entry of it
   * arrives.
   */
  unsubscribe(key: string): void;
  /** How long a subscription may be trusted after `subscribe` or `verify`, ms. Infinity: until `unsubscribe`. */
  readonly lease: number;
  /**
   * Verifies subscriptions: for each key, is this node subscribed, and is `position` the newest one? Required if the
   * lease is finite. Called for all keys every two thirds of the lease.
   * @returns the keys for which this is not so: the node reads them again @throws {Unavailable}
   */
  verify?(known: readonly Known[]): Promise<string[]>;
  /** Calls `drop` on all other nodes, now or never: a hint, like `entry`. Never throws. Absent: there are no others. */
  drop?(key: string, name: string, from: string): void;
  /**
   * A page has proved, by its next poll, that it has taken an entry whose set waits for a receipt. If the entry is still
   * kept, and so no page has lost it: notes it, and calls `receipt` with `proved` on every node whose set waits. Now or
   * never. Never throws. Absent: every set is answered that its value is not known to be received.
   */
  prove?(key: string, position: string): void;
  /**
   * Reads what is stored under a key.
   * @param waiters false: the caller does not need `waiters`, which may then be empty @throws {Unavailable}
   */
  peek(key: string, waiters?: boolean): Promise<Peek>;
  /** All nodes that are alive, this one first. @throws {Unavailable} */
  nodes(): Promise<NodeInfo[]>;
  status(): StoreStatus;
  /** Disconnects from the store, within a second even if the store hangs. */
  close(): Promise<void>;
}

/** A set was refused: another value was set first, or the key has its final value. */
export class Conflict extends Error {
  override readonly name = 'Conflict';
  readonly code = 'TAGWAIT_CONFLICT';
  constructor(
    readonly reason: 'final' | 'expect',
    /** the newest cursor of the key, '' if nothing is stored */
    readonly cursor: string,
  ) {
    super(reason === 'final' ? 'the key already has its final value' : 'another value was set first');
  }
}

/** The store cannot be reached or cannot execute the command. A retry may succeed. */
export class Unavailable extends Error {
  override readonly name = 'Unavailable';
  readonly code = 'TAGWAIT_UNAVAILABLE';
}

/** The store refuses this node, because the settings are wrong. A retry cannot succeed. */
export class WrongStore extends Error {
  override readonly name = 'WrongStore';
  readonly code = 'TAGWAIT_WRONG_STORE';
}
