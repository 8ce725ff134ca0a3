/** A page that comes back hears at once what was set while it was away, in Chromium with real tabs. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { kinds, startAbsences } from './absence.js';

let absences: Awaited<ReturnType<typeof startAbsences>>;
beforeAll(async () => {
  absences = await startAbsences();
});
afterAll(() => absences.close());

/** ms: an idle machine takes a tenth of it; without asking at once it would be the end of a hold, 10 s and more. */
const SOON = 5000;
test.each(kinds)('%s', async kind => {
  expect(await absences.measure(kind)).toBeLessThan(SOON);
});
