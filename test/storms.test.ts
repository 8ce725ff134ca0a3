/** Crowds: pages that came at once do not come back at once. */
import { expect, onTestFinished, test, vi } from 'vitest';
import { Unavailable } from '../src/brokers/broker.js';
import { MemoryBroker } from '../src/brokers/memory.js';
import { backoff } from '../src/brokers/redis/connections.js';
import type { Waiter } from '../src/hold/hub.js';
import { LongPoll } from '../src/hold/longpoll.js';
import { HoldTimers } from '../src/hold/timers.js';
import { Limits } from '../src/limits.js';
import type { ANSWERS } from '../src/protocol/answers.js';
import { textOf } from '../src/protocol/answers.js';
import { until } from './harness.js';

const CROWD = 10_000;
const HOLD = 25_000;

/** How many fall into each second, the most of all. */
const most = (times: number[]) => {
  const seconds = new Map<number, number>();
  for (const time of times)
    seconds.set(Math.floor(time / 1000), (seconds.get(Math.floor(time / 1000)) ?? 0) + 1);
  return Math.max(...seconds.values());
};

/** When the holds of a crowd end that asked at these times. */
const endsOf = (timers: HoldTimers<Waiter>, asked: number[]) =>
  asked.map((time, page) => time + timers.lengthOf(HOLD, Math.min(page, CROWD), time));

test('a crowd that asked at one moment is let go over seconds, and further apart with every round', () => {
  const ends = new HoldTimers<Waiter>(() => {});
  let asked: number[] = Array(CROWD).fill(1000);
  const worst: number[] = [];
  for (let round = 0; round < 8; round++) {
    const next = endsOf(ends, asked);
    const holds = next.map((end, page) => end - (asked[page] as number));
    expect(Math.max(...holds)).toBeLessThan(HOLD + 1);
    expect(Math.min(...holds)).toBeGreaterThan(HOLD * 0.8 - 1);
    asked = next.sort((one, other) => one - other);
    worst.push(most(asked));
  }
  // an even spread would be 400 a second
  expect(worst[0]).toBeLessThan(CROWD / 3);
  expect(worst.at(-1)).toBeLessThan(CROWD / 8);
});

test('pages that are spread already, and few pages, are held for as long as they asked', () => {
  const even = new HoldTimers<Waiter>(() => {});
  const lengths = Array.from({ length: 3 * CROWD }, (_, page) =>
    even.lengthOf(HOLD, CROWD, (page * HOLD) / CROWD),
  );
  expect(new Set(lengths)).toEqual(new Set([HOLD]));
  const few = new HoldTimers<Waiter>(() => {});
  for (let page = 0; page < 100; page++) expect(few.lengthOf(HOLD, page, 1000)).toBe(HOLD);
});

async function held(
  count: number,
  hold: number,
  hear: (kind: string, retry: number) => void,
  broker = new MemoryBroker({ history: 1 }),
) {
  const longpoll = new LongPoll(broker, { id: 'n', version: '0' });
  await longpoll.start();
  onTestFinished(() => longpoll.close());
  for (let page = 0; page < count; page++)
    longpoll.get(
      { key: `k${page}`, since: '', hold },
      { answer: answer => hear(answer.kind, JSON.parse(textOf(answer)).retry) },
    );
  expect(longpoll.held).toBe(count);
  return longpoll;
}

test('the time-outs of one moment are spread over the last fifth of the hold', async () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const began = performance.now();
  const times: number[] = [];
  await held(5000, 2500, kind => kind === 'timeout' && times.push(performance.now() - began));
  await vi.advanceTimersByTimeAsync(2600);
  expect(times).toHaveLength(5000);
  expect((times[0] as number) / 2500).toBeLessThan(0.95);
  expect((times[0] as number) / 2500).toBeGreaterThan(0.79);
  expect((times.at(-1) as number) - (times[0] as number)).toBeGreaterThan(300);
});

test('the drain: retries spread evenly over its time, none later', async () => {
  const retries: number[] = [];
  const longpoll = await held(CROWD, HOLD, (kind, retry) => {
    expect(kind).toBe('moved' satisfies keyof typeof ANSWERS);
    retries.push(retry);
  });
  longpoll.drain(10_000);
  expect(retries).toHaveLength(CROWD);
  expect(Math.max(...retries)).toBeLessThanOrEqual(10_000);
  expect(most(retries)).toBeLessThan(CROWD / 8);
});

/** All of them between these two, and in every quarter of that some. */
function expectSpread(times: number[], min: number, max: number): void {
  expect(Math.min(...times)).toBeGreaterThanOrEqual(min);
  expect(Math.max(...times)).toBeLessThanOrEqual(max);
  for (const quarter of [0, 1, 2, 3]) {
    const [from, to] = [min + (quarter * (max - min)) / 4, min + ((quarter + 1) * (max - min)) / 4];
    expect(times.filter(time => time >= from && time <= to).length, `${from} to ${to}`).toBeGreaterThan(5);
  }
}

test('pages that come during the drain are sent away over its time too', async () => {
  const retries: number[] = [];
  const longpoll = await held(0, HOLD, () => {});
  longpoll.drain(8000);
  for (let page = 0; page < 100; page++)
    longpoll.get(
      { key: 'k', since: '', hold: HOLD },
      { answer: answer => retries.push(JSON.parse(textOf(answer)).retry) },
    );
  expect(retries).toHaveLength(100);
  expectSpread(retries, 0, 8000);
});

test('pages that meet a store that is away come back over some seconds', async () => {
  const away = new MemoryBroker({ history: 1 });
  away.subscribe = () => {
    throw new Unavailable('away');
  };
  const retries: number[] = [];
  const longpoll = await held(0, 0, () => {}, away);
  for (let page = 0; page < 100; page++)
    longpoll.get(
      { key: `k${page}`, since: '', hold: 0 },
      { answer: answer => retries.push(JSON.parse(textOf(answer)).retry) },
    );
  await until(() => retries.length === 100);
  expectSpread(retries, 1000, 4000);
});

test('polls beyond the limit of a second come back over the seconds that it takes to serve them', () => {
  const refused: string[] = [];
  const options = { maxHeldPerKey: 0, maxHeldPerIp: 0, maxPollsPerIp: 100, trustProxy: 0 };
  const limits = new Limits(options, undefined, limit => refused.push(limit));
  const retries = Array.from({ length: 1000 }, () => limits.request('192.0.2.1'));
  expect(retries.slice(0, 100).every(retry => retry === 0)).toBe(true);
  // up to as many seconds as those before it take, after the second that has begun
  const last = retries.slice(-200);
  expect(Math.max(...last)).toBeLessThanOrEqual(1000 + 10_000);
  expectSpread(last, 0, 11_000);
  expect(new Set(refused)).toEqual(new Set(['polls_per_ip']));
  expect(refused).toHaveLength(900);
});

test('nodes that lost Redis connect again at once, then soon, and not together', () => {
  const waits = (attempt: number) => Array.from({ length: 200 }, () => backoff(attempt));
  expectSpread(waits(1), 25, 50);
  expectSpread(waits(4), 100, 200);
  expectSpread(waits(1000), 250, 500);
});
