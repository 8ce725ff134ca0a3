/**
 * A cursor says what a page has seen of a key: a position in the key's chain, "epoch-offset", opaque to clients. A page's
 * cursor may also contain older positions, after dots. `e2-7.e1-12`: offset 7 of epoch e2; before that, offset 12 of e1. If
 * the store falls back to e1 (a master that restarted with old data), 12 still counts and nothing is delivered twice.
 * `e1-10.e1-12`: the store has fallen back within e1, to 10.
 */
import { randomBytes } from 'node:crypto';

/** The form of a cursor; '': nothing seen yet. */
export const CURSOR = /^[A-Za-z0-9._-]{0,64}$/;
const MAX_LENGTH = 64;
/** One position of a cursor: the epoch, and the offset from 1. */
export const POSITION = /^[a-z0-9]{1,20}-\d{1,15}$/;

/** The positions of a cursor, newest first, without those that are malformed. */
function positionsOf(cursor: string): string[] {
  return cursor.split('.').filter(position => POSITION.test(position));
}

const epochOf = (position: string) => position.slice(0, position.lastIndexOf('-'));
const offsetOf = (position: string) => Number(position.slice(position.lastIndexOf('-') + 1));

/** The offset of a cursor in an epoch: its newest; 0 if none of its positions is of that epoch. */
export function offsetIn(epoch: string, cursor: string): number {
  const position = positionsOf(cursor).find(one => epochOf(one) === epoch);
  return position ? offsetOf(position) : 0;
}

/** The name of a new epoch, random: a cursor of an earlier one must count as none. */
export const newEpoch = () => randomBytes(6).readUIntLE(0, 6).toString(36);

/** Whether a page at `since` has seen the entry at `position`, as far as this is known without the store. */
export const hasSeen = (since: string, position: string) =>
  positionsOf(since).some(
    seen => epochOf(seen) === epochOf(position) && offsetOf(seen) >= offsetOf(position),
  );

/**
 * The cursor of a page that was at `since` and has now seen everything up to `position` ('' if nothing is stored).
 * `advance('e1-12', 'e2-7')` is `e2-7.e1-12`, `advance('e1-12', 'e1-13')` is `e1-13`.
 */
export function advance(since: string, position: string): string {
  // most polls
  if (since === '' || since === position) return position;
  let cursor = position;
  for (const older of positionsOf(since))
    if (!hasSeen(cursor, older) && cursor.length + older.length < MAX_LENGTH) cursor += `.${older}`;
  return cursor;
}

/** Whether a page at `since` has seen everything up to `position`. */
export const isAt = (since: string, position: string) =>
  since === position || since.startsWith(`${position}.`);
