/** What a page heard in a whole run, against what its backend knows to be stored. */

import type { Stored } from './backend.js';
import type { Heard } from './page.js';

export interface Verdict {
  doubles: number;
  outOfOrder: number;
  /** acknowledged, not heard, not reported in `lost`, and not lost by Redis */
  lostUnreported: number;
  /** lost by Redis in faults that lose; pages heard the next value all the same */
  lostByRedis: number;
}

/** @param losses when Redis lost values */
export function judge(
  heard: readonly Heard[],
  stored: readonly Stored[],
  losses: readonly { from: number; to: number }[],
): Verdict {
  const verdict: Verdict = { doubles: 0, outOfOrder: 0, lostUnreported: 0, lostByRedis: 0 };
  const seen = new Set<number>();
  let before = 0;
  let reported = 0;
  for (const { number, lost, at } of heard) {
    const set = stored.find(one => one.number === number);
    // a retry whose first try was stored, and then lost with its id, is stored twice
    const twice = set && set.tries > 1 && losses.some(loss => loss.to > set.tried && loss.from < at);
    if (seen.has(number)) verdict.doubles += twice ? 0 : 1;
    else if (number < before) verdict.outOfOrder++;
    reported += lost;
    for (let missed = before + 1; missed < number; missed++) {
      if (seen.has(missed)) continue;
      const sent = stored.find(one => one.number === missed)?.sent;
      if (sent === undefined) continue;
      if (reported > 0) reported--;
      else if (losses.some(loss => sent <= loss.to && at >= loss.from)) verdict.lostByRedis++;
      else verdict.lostUnreported++;
    }
    seen.add(number);
    before = Math.max(before, number);
  }
  return verdict;
}
