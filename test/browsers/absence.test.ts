/** A page that comes back hears at once what was set while it was away, in each browser with real tabs. */
import { afterAll, expect, test } from 'vitest';
import { absences, startAbsences } from './absence.js';

/** by browser, each started when its first test needs it */
const started = new Map<string, ReturnType<typeof startAbsences>>();
afterAll(async () => {
  for (const one of started.values()) await (await one).close();
});

/** ms: an idle machine takes a tenth of it; without asking at once it would be the end of a hold, 10 s and more. */
const SOON = 5000;
test.each(absences)('%s hears at once after: %s', async (browser, kind) => {
  const one = started.get(browser) ?? startAbsences(browser);
  started.set(browser, one);
  // a network that has just come back loses the first request
  expect(await (await one).measure(kind, { fails: kind === 'offline' })).toBeLessThan(SOON);
});
