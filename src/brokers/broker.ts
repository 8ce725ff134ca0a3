/**
 * The seam between who waits here (the hub) and who stores (a broker). A value travels as the text that `script.ts`
 * made of it: rendered once when it is set, never parsed again.
 */

/** One set value. `cursor` is its own place in the key's chain, `prev` the place before it ('' for the first). */
export interface Entry {
  /** JSON text, ASCII, safe inside a script */
  value: string;
  cursor: string;
  prev: string;
  /** the key ends with this entry */
  final: boolean;
  /** when a node was asked to set it, unix ms by that node's clock; known of entries told of, not of those read */
  at?: number | undefined;
}

/** What a key holds that is newer than a cursor. */
export interface Backlog {
  /** oldest first; empty: nothing newer */
  entries: Entry[];
  /** entries newer than the cursor that are no longer kept */
  lost: number;
  /** the newest cursor of the key, '' when nothing is kept */
  cursor: string;
  /** the key has had its final entry */
  final: boolean;
  /** milliseconds for which this node is sure to be told of the key's new entries; 0 when it is not */
  lease: number;
}

export interface SetOptions {
  /** milliseconds to keep the key, from this set */
  ttl: number;
  /** the key ends here */
  final?: boolean | undefined;
  /** store only if this is the newest cursor; '' for "nothing set yet" */
  expect?: string | undefined;
  /** the caller's name for this set: a repeat stores nothing and gets the first one's receipt */
  id?: string | undefined;
}

export interface Receipt {
  cursor: string;
  /** some node holds the key now, or answered it within the grace */
  watched: boolean;
}

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

/** What a broker asks and tells the node it works for. */
export interface Events {
  /** A new entry of a key that this node watches. May come twice, late or not at all: a hint, the store is the truth. */
  entry(key: string, entry: Entry): void;
  /** Entries may have been missed: ask again for all that is held. */
  gap(): void;
  /** Requests held now for a key, of those that are sure to hear its next entry. */
  held(key: string): number;
  /** This node, as others see it. */
  describe(): NodeInfo;
}

export interface Broker {
  /**
   * Resolves when the broker works, or when its store is away: it goes on trying, and says `gap` when it got through.
   * @throws {WrongStore} it will never work with these settings
   */
  start(events: Events): Promise<void>;
  /** Stores and hands over in one step. @throws {Conflict} nothing stored @throws {Unavailable} not known to be stored */
  set(key: string, value: string, options: SetOptions): Promise<Receipt>;
  /** Entries newer than `since`, or, in the same step, this node is told from now on. @throws {Unavailable} */
  subscribe(key: string, since: string): Backlog | Promise<Backlog>;
  /** This node holds the key no longer. Never throws: what it cannot take back runs out by itself. */
  unsubscribe(key: string): void;
  /** @throws {Unavailable} */
  peek(key: string): Promise<Peek>;
  /** All nodes of the deployment, this one first. @throws {Unavailable} */
  nodes(): Promise<NodeInfo[]>;
  /** Whether the store can be reached now. */
  ready(): boolean;
  /** How often it could be reached again after it was away. */
  readonly returns: number;
  close(): Promise<void>;
}

/** Another set came first, or the key has ended. */
export class Conflict extends Error {
  constructor(
    readonly reason: 'final' | 'expect',
    /** the present cursor, '' when nothing is kept */
    readonly cursor: string,
  ) {
    super(reason === 'final' ? 'the key has had its final value' : 'another value was set first');
  }
}

/** The store cannot be reached, or refuses to work. */
export class Unavailable extends Error {}

/** The store can be reached and refuses this node: its settings are wrong. */
export class WrongStore extends Error {}

/**
 * A cursor: a place in a key's chain, "life-number", opaque to everyone outside. A page's own may go on with older
 * places after dots: where it was in the lives before. A store can fall back to one of them (a restarted master with old
 * data, until the real one is found), and without it the page would hear again what it has heard.
 */
export const CURSOR = /^[A-Za-z0-9._-]{0,64}$/;
const LONGEST = 64;

/** The places of a cursor, newest first; those that no broker gave out are left out. */
export function placesOf(cursor: string): string[] {
  return cursor.split('.').filter(place => /^[a-z0-9]{1,20}-\d{1,15}$/.test(place));
}

const lifeOf = (place: string) => place.slice(0, place.lastIndexOf('-'));

/** The cursor of a page that was at `since` and now has seen all up to `place` ('' when nothing is kept). */
export function advance(since: string, place: string): string {
  if (since === '' || since === place) return place;
  const life = lifeOf(place);
  if (lifeOf(since) === life) return place;
  let cursor = place;
  for (const older of placesOf(since))
    if (lifeOf(older) !== life && cursor.length + older.length < LONGEST) cursor += `.${older}`;
  return cursor;
}

/** Whether a page at `since` has seen all up to `place`. */
export const isAt = (since: string, place: string) => since === place || since.startsWith(`${place}.`);
