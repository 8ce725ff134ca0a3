/** Memory: the heap does not grow over an hour's worth of polls. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { sideBySide } from './owner.js';
import { stores } from './stores.js';

sideBySide();

/** Bytes that the heap may differ by: sixteen a poll, where a waiter that is kept takes over a hundred. */
const MARGIN = 2_000_000;

// most of it is work of the processor: on a busy machine it takes minutes
const options = { concurrent: true, timeout: 400_000 };
test.each(stores)('over $name: no growth over an hour of a thousand pages', options, async store => {
  const { redisUrl = '' } = await store.settings();
  const hour = fileURLToPath(new URL('growth.js', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', hour, redisUrl]);
  const { before, after, polls, watched, held } = JSON.parse(stdout);
  expect(polls).toBeGreaterThan(120_000);
  expect([watched, held]).toEqual([0, 0]);
  expect(after - before, `from ${before} to ${after} bytes in ${polls} polls`).toBeLessThan(MARGIN);
});
