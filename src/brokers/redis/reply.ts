/** Decodes the replies of subscribe.lua and peek.lua. */
import type { Backlog, Entry } from '../broker.js';

type Fields = [
  last: number,
  epochs: string,
  final: number,
  seen: number,
  first: number,
  ...values: (string | null)[],
];

/** @param reply of one key; empty: nothing is stored */
export function readBacklog(reply: readonly (string | number | null)[]): Backlog {
  if (reply.length === 0) return { entries: [], lost: 0, cursor: '', final: false };
  const [last, epochs, final, seen, first, ...values] = reply as Fields;
  const starts = epochs.split(' ').map(epoch => {
    const [id, offset] = epoch.split('@');
    return { id, offset: Number(offset) };
  });
  const positionOf = (offset: number) =>
    offset < 1 ? '' : `${(starts.findLast(start => start.offset <= offset) ?? starts[0])?.id}-${offset}`;
  const entries: Entry[] = [];
  let lost = Math.max(0, first - 1 - seen);
  for (const [index, value] of values.entries()) {
    const offset = first + index;
    // another node with a shorter history has deleted it
    if (value === null) lost++;
    else
      entries.push({
        value,
        cursor: positionOf(offset),
        prev: positionOf(offset - 1),
        final: final === 1 && offset === last,
      });
  }
  return { entries, lost, cursor: positionOf(last), final: final === 1 };
}
