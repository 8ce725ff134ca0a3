/** When garbage is collected after a peak of connections, with a fake clock: only the order of checks matters. */
import { constants, PerformanceObserver } from 'node:perf_hooks';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { collectAfterPeaks } from '../src/gc.js';
import { until } from './harness.js';

let crowd = { now: 0, peak: 0 };
let collected = 0;
let stop: () => void;
const observer = new PerformanceObserver(list => {
  for (const { detail } of list.getEntries() as unknown as { detail: { kind: number; flags: number } }[])
    if (
      detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR &&
      detail.flags & constants.NODE_PERFORMANCE_GC_FLAGS_FORCED
    )
      collected++;
});
beforeEach(() => {
  collected = 0;
  observer.observe({ entryTypes: ['gc'] });
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  stop = collectAfterPeaks(() => crowd);
});
afterEach(() => {
  stop();
  vi.useRealTimers();
  observer.disconnect();
});

function seen(now: number, peak = now): void {
  crowd = { now, peak };
  vi.advanceTimersByTime(2000);
}
/** The observer is called a tick later. */
const settled = () => new Promise(resolve => setImmediate(() => setImmediate(resolve)));

test('twice after three quarters of the connections closed, and then not again', async () => {
  for (const count of [200, 5000, 1300]) seen(count);
  await settled();
  expect(collected).toBe(0);
  for (const count of [1200, 1200, 1200, 900]) seen(count);
  await until(() => collected > 0);
  await settled();
  expect(collected).toBe(2);
  // the rest was a peak too
  for (const count of [0, 0, 0]) seen(count);
  await until(() => collected > 2);
  await settled();
  expect(collected).toBe(4);
});

test('also if the peak was between two checks', async () => {
  seen(10);
  seen(0, 1000);
  await until(() => collected > 0);
});

test('not for a small peak', async () => {
  for (const count of [900, 0, 999, 0]) seen(count);
  await settled();
  expect(collected).toBe(0);
});
