/**
 * What a store keeps under one key, as one JSON value, and what a set does to it. The store's part is to read, change and
 * write the value in one step: PostgreSQL with a lock, ZooKeeper with the version of a znode.
 */
import { randomBytes } from 'node:crypto';
import { Conflict } from 'tagwait';

/** Receipts kept for each key. */
const RECEIPTS = 1000;

/** A key under which nothing is stored, or whose time to live has passed. */
const nothing = () => ({ epoch: '', last: 0, final: false, expires: 0, values: [], receipts: [] });

/** @param text JSON of a state, or undefined @returns the state, by this machine's clock */
export function stateOf(text) {
  const state = text ? JSON.parse(text) : nothing();
  return state.expires > Date.now() ? state : nothing();
}

/** The position of the entry with this offset: `epoch-offset`, '' for the offset 0. */
const positionAt = ({ epoch }, offset) => (offset > 0 ? `${epoch}-${offset}` : '');
export const newest = state => positionAt(state, state.last);

/** The kept entries of a state, oldest first. */
export function entriesOf(state) {
  const first = state.last - state.values.length + 1;
  return state.values.map((value, index) => ({
    value,
    cursor: positionAt(state, first + index),
    prev: positionAt(state, first + index - 1),
    final: state.final && first + index === state.last,
  }));
}

/**
 * Stores an entry in a state. @param watched for the receipt @param history entries to keep
 * @returns the receipt, and the new entry unless the id is repeated @throws {Conflict} the state is unchanged
 */
export function store(state, value, { ttl, final = false, expect, id }, watched, history) {
  const prev = newest(state);
  const first = id !== undefined && state.receipts.find(([known]) => known === id);
  if (first) return { receipt: { cursor: first[1], watched: first[2], repeated: true } };
  if (state.final) throw new Conflict('final', prev);
  if (expect !== undefined && expect !== prev) throw new Conflict('expect', prev);
  if (state.last === 0) state.epoch = randomBytes(6).readUIntLE(0, 6).toString(36);
  state.last++;
  state.final = final;
  state.expires = Date.now() + ttl;
  state.values = [...state.values, value].slice(-history);
  const receipt = { cursor: newest(state), watched };
  if (id !== undefined) state.receipts = [...state.receipts, [id, receipt.cursor, watched]].slice(-RECEIPTS);
  return { receipt, entry: { value, cursor: receipt.cursor, prev, final, at: Date.now() } };
}

/** The entries newer than a cursor. Only a position in this epoch counts. */
export function backlogOf(state, since) {
  const position = since.split('.').find(one => one.startsWith(`${state.epoch}-`));
  const offset = Number(position?.slice(state.epoch.length + 1)) || 0;
  const newer = state.last - Math.min(offset, state.last);
  const entries = newer > 0 ? entriesOf(state).slice(-newer) : [];
  return { entries, lost: newer - entries.length, cursor: newest(state), final: state.final };
}

/** What `peek` shows of a state. */
export const peekOf = (state, waiters) => ({
  entries: entriesOf(state).map(({ value, cursor }) => ({ value, cursor })),
  cursor: newest(state),
  final: state.final,
  ttl: state.last > 0 ? Math.max(0, state.expires - Date.now()) : 0,
  waiters,
});

/** Runs the operations of each key one after the other, in the order in which they were asked for. */
export class InOrder {
  #last = new Map();

  /** @returns what the operation returns */
  do(key, operation) {
    const done = (this.#last.get(key) ?? Promise.resolve()).then(operation);
    const settled = done.catch(() => {});
    this.#last.set(key, settled);
    settled.then(() => this.#last.get(key) === settled && this.#last.delete(key));
    return done;
  }
}
