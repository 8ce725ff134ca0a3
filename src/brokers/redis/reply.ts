/** Decodes the replies of subscribe.lua and peek.lua. */
import { fitting } from '../../protocol/answers.js';
import type { Backlog, Entry } from '../broker.js';
import type { Read } from './subscriptions.js';

type Fields = [
  last: number,
  epochs: string,
  final: number,
  seen: number,
  wanted: string,
  first: number,
  ...values: (string | null)[],
];

/** Number of the fields before the values. */
const HEAD = 6;

/** @param reply of one key; empty: nothing is stored */
export function readBacklog(reply: readonly (string | number | null)[]): Backlog {
  if (reply.length === 0) return { entries: [], lost: 0, cursor: '', final: false };
  const [last, epochs, final, seen, proofs, first, ...values] = reply as Fields;
  const starts = epochs.split(' ').map(epoch => {
    const [id, offset] = epoch.split('@');
    return { id, offset: Number(offset) };
  });
  const positionOf = (offset: number) =>
    offset < 1 ? '' : `${(starts.findLast(start => start.offset <= offset) ?? starts[0])?.id}-${offset}`;
  // of set.lua: what is proved has no nodes
  const wanted = proofs
    .split(' ')
    .filter(item => item.includes('@'))
    .map(item => item.slice(0, item.indexOf('@')));
  const entries: Entry[] = [];
  let lost = Math.max(0, first - 1 - seen);
  for (const [index, value] of values.entries()) {
    const offset = first + index;
    // no script deletes an entry between the first and the last, so someone else did
    if (value === null) lost++;
    else {
      const cursor = positionOf(offset);
      const entry: Entry = {
        value,
        cursor,
        prev: positionOf(offset - 1),
        final: final === 1 && offset === last,
      };
      if (wanted.includes(cursor)) entry.receipt = true;
      entries.push(entry);
    }
  }
  const backlog: Backlog = { entries, lost, cursor: positionOf(last), final: final === 1 };
  if (wanted.length > 0) backlog.wanted = wanted;
  return backlog;
}

/** The offset to go on from, if the reply was full and has not all entries; otherwise undefined. */
export function restOf(reply: readonly (string | number | null)[]): number | undefined {
  const [last, , , , , first] = reply as Fields;
  const next = first + reply.length - HEAD;
  return next <= last ? next : undefined;
}

/**
 * Adds the reply of a command to a read, and resolves its requests when nothing is left to read, or an answer is full.
 * @returns false: the reply was full, the read goes on after its last entry
 */
export function addReply(read: Read, reply: readonly (string | number | null)[]): boolean {
  const backlog = readBacklog(reply);
  read.entries.push(...backlog.entries);
  read.lost += backlog.lost;
  if (restOf(reply) !== undefined && fitting(read.entries).length === read.entries.length) {
    // the value that filled the reply; without it the script has not sent this
    read.from = (backlog.entries.at(-1) as Entry).cursor;
    return false;
  }
  const { entries, lost } = read;
  for (const { resolve } of read.requests) resolve({ ...backlog, entries, lost });
  return true;
}
