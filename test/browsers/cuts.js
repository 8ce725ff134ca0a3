// How long a page is without a poll behind a proxy that cuts every hold after 5, 10 or 15 s: ten minutes in each browser,
// by the clock of the wall. watch.test.ts tries each phase in virtual time.
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../../bench/until.js';
import { startFirefox, startWebKit } from './drivers.js';
import { engines } from './engines.js';
import { startStand } from './stand.js';
import { startTabs } from './tabs.js';

const LIMITS = [5000, 10_000, 15_000];
const MINUTE = 60_000;
const BROWSERS = { Chromium: startTabs, 'Firefox ESR': startFirefox, WebKitGTK: startWebKit };
const installed = Object.keys(BROWSERS).filter(browser =>
  engines.find(({ name }) => name === browser).found(),
);

/** The share of the time from `from` to `to` that no poll covers. @param polls `{ at, over }`, ms; `over` is absent in flight */
function uncovered(polls, from, to) {
  let end = from;
  let gap = 0;
  for (const { at, over = to } of polls.toSorted((one, other) => one.at - other.at)) {
    if (at >= to) break;
    gap += Math.max(0, at - end);
    end = Math.max(end, Math.min(over, to));
  }
  return (gap + Math.max(0, to - end)) / (to - from);
}

/** A page for some time. @param limit ms → { learned, cuts, share }: how many cuts it took to learn, how many came, and the share of the time without a poll from that cut on */
async function measure(open, limit, time) {
  const stand = await startStand();
  try {
    stand.cut(limit);
    const tab = await open(stand.page({ key: 'cut' }));
    const cuts = () => stand.of('cut').filter(({ at, over }) => over - at >= limit - 50);
    const shorter = () =>
      cuts().length > 0 && +stand.of('cut').at(-1).hold > 1 && +stand.of('cut').at(-1).hold < limit / 1000;
    await until(shorter, 'a hold that the proxy lets pass', { within: 5 * MINUTE, every: 50 });
    const learned = cuts().length;
    const from = cuts().at(-1).over;
    await sleep(time);
    const to = Date.now();
    await tab.close();
    return { learned, cuts: cuts().length, share: uncovered(stand.of('cut'), from, to) };
  } finally {
    await stand.close();
  }
}

/** Measures all at once, and prints a table. → whether each has learned by the third cut, and is at most 1 % of the time without a poll */
export async function printCuts(time = 10 * MINUTE) {
  console.log(
    `\nBehind a proxy that cuts every hold: without a poll over ${time / MINUTE} minutes, from the cut on by which it has learned\n`,
  );
  console.log(
    '| browser | cut after | learned by cut | cuts in all | without a poll |\n| --- | --- | --- | --- | --- |',
  );
  // each ends its browser before one that failed ends the program
  const settled = await Promise.allSettled(
    installed.flatMap(browser =>
      // a browser each: the tabs of one would take turns
      LIMITS.map(async limit => {
        const tabs = await BROWSERS[browser]();
        try {
          return { browser, limit, ...(await measure(tabs.open, limit, time)) };
        } finally {
          await tabs.close();
        }
      }),
    ),
  );
  for (const { reason } of settled) if (reason) throw reason;
  const rows = settled.map(({ value }) => value);
  for (const { browser, limit, learned, cuts, share } of rows)
    console.log(`| ${browser} | ${limit / 1000} s | ${learned} | ${cuts} | ${(100 * share).toFixed(2)} % |`);
  return rows.every(({ learned, share }) => learned <= 3 && share <= 0.01);
}

if (process.argv[1] === import.meta.filename)
  process.exitCode = (await printCuts(process.argv[2] * MINUTE || undefined)) ? 0 : 1;
