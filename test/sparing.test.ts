/** A crowd that asks for the same costly answer shares it, and takes a tenth of the time at most. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { sparing } from '../src/routes/sparing.js';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'setImmediate', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** Work of so many ms, which says when it began. */
function work(ms: number) {
  const began: number[] = [];
  const ask = sparing(async () => {
    const at = performance.now();
    began.push(at);
    await new Promise(resolve => setTimeout(resolve, ms));
    return at;
  });
  return { began, ask };
}

test('one that asks now and then is answered at once', async () => {
  const { ask } = work(5);
  for (let times = 0; times < 3; times++) {
    const asked = performance.now();
    const answer = ask();
    await vi.advanceTimersByTimeAsync(5);
    expect(await answer).toBe(asked);
    await vi.advanceTimersByTimeAsync(1000);
  }
});

test('a crowd that asks all the time: no answer is older than its request, and a tenth of the time is work', async () => {
  const { began, ask } = work(5);
  const asked: Promise<[number, number]>[] = [];
  for (let ms = 0; ms < 500; ms++) {
    for (let times = 0; times < 10; times++) {
      const at = performance.now();
      asked.push(ask().then(answer => [at, answer]));
    }
    await vi.advanceTimersByTimeAsync(1);
  }
  await vi.advanceTimersByTimeAsync(2000);
  for (const [at, answer] of await Promise.all(asked)) {
    expect(answer).toBeGreaterThanOrEqual(at);
    expect(answer - at).toBeLessThanOrEqual(50);
  }
  expect(began.length).toBeLessThanOrEqual(500 / 50 + 1);
  expect(began.length).toBeGreaterThan(500 / 50 - 3);
});

test('work that waits for others delays the next by a second at most', async () => {
  const { began, ask } = work(10_000);
  const answers = Promise.all([ask(), vi.advanceTimersByTimeAsync(10_000)]);
  await answers;
  void ask();
  await vi.advanceTimersByTimeAsync(1001);
  expect(began).toHaveLength(2);
});

test('a failure is for the requests that shared it; the next one starts again', async () => {
  let fails = true;
  const ask = sparing(async () => {
    if (fails) throw new Error('no');
    return 'yes';
  });
  const first = Promise.allSettled([ask(), ask()]);
  await vi.advanceTimersByTimeAsync(1);
  expect((await first).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  fails = false;
  const second = ask();
  await vi.advanceTimersByTimeAsync(1);
  expect(await second).toBe('yes');
});
