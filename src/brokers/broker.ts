/**
 * The interface between the long poll, which holds requests on this node, and a broker, which stores values and routes
 * them between nodes. A value travels as the text that `protocol/jsonp.ts` rendered when it was set; it is never parsed again.
 *
 * `contract.ts` tests every guarantee that is written here, against any broker.
 */

/** One set value. `cursor` is its position in the key's chain, `prev` the position before it ('' for the first). */
export interface Entry {
  /** JSON text, ASCII, safe inside a script */
  value: string;
  cursor: string;
  prev: string;
  /** the key ends with this entry */
  final: boolean;
  /** when a node was asked to set it, unix ms by that node's clock; only in entries that are delivered, not read */
  at?: number | undefined;
}

/** What a key holds that is newer than a cursor. */
export interface Backlog {
  /** oldest first; empty: nothing newer */
  entries: Entry[];
  /** entries newer than the cursor that are no longer kept */
  lost: number;
  /** the newest position of the key, '' when nothing is kept */
  cursor: string;
  /** the key has had its final entry */
  final: boolean;
}

/** What a node believes of a key that it is subscribed to: its newest position. */
export interface Known {
  readonly key: string;
  readonly position: string | undefined;
}

export interface SetOptions {
  /** milliseconds to keep the key, from this set */
  ttl: number;
  /** the key ends here */
  final?: boolean | undefined;
  /** store only if this is the newest cursor; '' for "nothing set yet" */
  expect?: string | undefined;
  /** the caller's name for this set: a repeat stores nothing and gets the receipt of the first */
  id?: string | undefined;
}

export interface Receipt {
  cursor: string;
  /** a living node holds a request for the key now, or answered one within the grace */
  watched: boolean;
  /** the id was used before: nothing was stored, this is the receipt of the first set */
  repeated?: boolean;
}

/** How many receipts a key keeps for repeats of an id: a retry comes within seconds, not after a thousand other sets. */
export const RECEIPTS = 1000;

export interface Peek {
  entries: Pick<Entry, 'value' | 'cursor'>[];
  cursor: string;
  final: boolean;
  /** milliseconds left, 0 when nothing is kept */
  ttl: number;
  /** requests held now, by node */
  waiters: Record<string, number>;
}

export interface NodeInfo {
  id: string;
  held: number;
  version: string;
  /** seconds */
  uptime: number;
}

/** What a broker calls on the node it works for. */
export interface Events {
  /** A new entry of a subscribed key. May come twice, late or never: it is a hint, the store is the truth. */
  entry(key: string, entry: Entry): void;
  /** Entries may have been missed, of one key or of all: they are read again for everything that is held. */
  gap(key?: string): void;
  /** Requests held now for a key that have seen its newest entry. */
  held(key: string): number;
  /** This node, as the others list it. */
  describe(): NodeInfo;
}

export interface StoreStatus {
  /** the store answers, and new entries are delivered to this node */
  up: boolean;
  /** why not, in one line; absent while it is up */
  cause?: string | undefined;
  /** how often the store came back after it was away */
  reconnects: number;
}

export interface Broker {
  /**
   * Resolves when the broker works, or when its store is away: it goes on trying, and calls `gap` when it got through.
   * @throws {WrongStore} it can never work with these settings
   */
  start(events: Events): Promise<void>;
  /** Stores an entry and delivers it, in one step. @throws {Conflict} nothing stored @throws {Unavailable} not known to be stored */
  set(key: string, value: string, options: SetOptions): Promise<Receipt>;
  /** Reads entries newer than `since` and, in the same step, subscribes this node to the key. @throws {Unavailable} */
  subscribe(key: string, since: string): Backlog | Promise<Backlog>;
  /**
   * This node holds no request for the key any more. Never throws. Calls for one key take effect in the order in which
   * they were made: a `subscribe` after it is never undone by it. Also called for a key that was not subscribed, when an
   * entry of it arrives.
   */
  unsubscribe(key: string): void;
  /** Milliseconds for which a subscription may be believed after `subscribe` or `verify`. Infinity: until `unsubscribe`. */
  readonly lease: number;
  /**
   * Compares what this node believes with the store: is it subscribed, and is the position the newest one? Needed when
   * the lease is finite; called for all keys, every two thirds of it.
   * @returns the keys for which something was lost: they are read again @throws {Unavailable}
   */
  verify?(known: readonly Known[]): Promise<string[]>;
  /**
   * What is kept under a key. @param waiters false: the caller does not read `waiters`, which may then be empty
   * @throws {Unavailable}
   */
  peek(key: string, waiters?: boolean): Promise<Peek>;
  /** All nodes of the deployment, this one first. @throws {Unavailable} */
  nodes(): Promise<NodeInfo[]>;
  status(): StoreStatus;
  /** Lets go of the store, within a second whatever it does. */
  close(): Promise<void>;
}

/** Another set came first, or the key has ended. */
export class Conflict extends Error {
  override readonly name = 'Conflict';
  readonly code = 'TAGWAIT_CONFLICT';
  constructor(
    readonly reason: 'final' | 'expect',
    /** the present cursor, '' when nothing is kept */
    readonly cursor: string,
  ) {
    super(reason === 'final' ? 'the key has had its final value' : 'another value was set first');
  }
}

/** The store cannot be reached, or refuses to work. */
export class Unavailable extends Error {
  override readonly name = 'Unavailable';
  readonly code = 'TAGWAIT_UNAVAILABLE';
}

/** The store can be reached and refuses this node: its settings are wrong. */
export class WrongStore extends Error {
  override readonly name = 'WrongStore';
  readonly code = 'TAGWAIT_WRONG_STORE';
}

/**
 * A cursor: a position in a key's chain, "epoch-offset", opaque to every client. A page's own cursor may go on with older
 * positions after dots: `e2-7.e1-12` is offset 7 of epoch e2, and before that offset 12 of e1. When a store falls back to
 * e1 (a master restarted with old data, until the real one is found), 12 still counts and nothing is heard again.
 */
export const CURSOR = /^[A-Za-z0-9._-]{0,64}$/;
const MAX_LENGTH = 64;

/** The positions of a cursor, newest first; those that no broker gave out are left out. */
export function positionsOf(cursor: string): string[] {
  return cursor.split('.').filter(position => /^[a-z0-9]{1,20}-\d{1,15}$/.test(position));
}

const epochOf = (position: string) => position.slice(0, position.lastIndexOf('-'));

/** The cursor of a page that was at `since` and now has seen all up to `position` ('' when nothing is kept). */
export function advance(since: string, position: string): string {
  if (since === '' || since === position) return position;
  const epoch = epochOf(position);
  if (epochOf(since) === epoch) return position;
  let cursor = position;
  for (const older of positionsOf(since))
    if (epochOf(older) !== epoch && cursor.length + older.length < MAX_LENGTH) cursor += `.${older}`;
  return cursor;
}

/** Whether a page at `since` has seen all up to `position`. */
export const isAt = (since: string, position: string) =>
  since === position || since.startsWith(`${position}.`);
