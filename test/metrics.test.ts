/** The metrics, as Prometheus scrapes them. */
import { expect, onTestFinished, test } from 'vitest';
import { held, poll, service, set, spawned, until } from './harness.js';
import { raw, request } from './raw.js';
import { redisServer } from './redis.js';
import { scrape } from './scrape.js';

test('a set on one node and its answer on another: the time between is measured where it is answered', async () => {
  const { url } = await redisServer();
  const [here, there] = [
    await spawned({ TAGWAIT_REDIS_URL: url }),
    await spawned({ TAGWAIT_REDIS_URL: url }),
  ];
  const page = poll(here.publicUrl, { key: 'a' });
  await held(here.internalUrl, 'a', 1);
  const asked = performance.now() - 1;
  await set(there.internalUrl, { key: 'a', value: 'with spaces 1 2' });
  expect((await page).data).toBe('with spaces 1 2');
  const [answering, setting] = [await scrape(here.internalUrl), await scrape(there.internalUrl)];
  expect(answering.get('tagwait_set_to_answer_seconds_count')).toBe(1);
  // in seconds: milliseconds would be hundreds of times what the whole took
  expect(answering.get('tagwait_set_to_answer_seconds_sum')).toBeGreaterThan(0);
  expect(answering.get('tagwait_set_to_answer_seconds_sum')).toBeLessThan((performance.now() - asked) / 1000);
  expect(setting.get('tagwait_set_to_answer_seconds_count')).toBe(0);
  expect(setting.get('tagwait_sets_total{result="stored"}')).toBe(1);
  expect(answering.get('tagwait_polls_total{mode="json"}')).toBe(1);
  expect(answering.get('tagwait_answers_total{mode="json",answer="success"}')).toBe(1);
  expect(answering.get('tagwait_watched_keys')).toBe(1);
  expect(answering.get('tagwait_connections')).toBe(1);
  expect(answering.get('tagwait_leases')).toBe(1);
});

test('Redis away and back', async () => {
  const redis = await redisServer();
  const { publicUrl, internalUrl } = await service({ redisUrl: redis.url });
  const before = await scrape(internalUrl);
  expect(before.get('tagwait_store_up')).toBe(1);
  expect(before.get('tagwait_gaps_total'), 'nothing was held yet').toBe(0);
  const leave = new AbortController();
  onTestFinished(() => leave.abort());
  poll(publicUrl, { key: 'a' }, leave.signal).catch(() => {});
  await held(internalUrl, 'a', 1);
  await redis.kill();
  await until(async () => (await scrape(internalUrl)).get('tagwait_store_up') === 0);
  await redis.start();
  await until(async () => (await scrape(internalUrl)).get('tagwait_store_up') === 1);
  await until(async () => ((await scrape(internalUrl)).get('tagwait_gaps_total') ?? 0) > 0);
  expect((await scrape(internalUrl)).get('tagwait_store_returns_total')).toBe(1);
});

test('limits and lost values', async () => {
  const { publicUrl, internalUrl } = await service({ history: 1, maxHeldPerKey: 1 });
  for (const value of [1, 2, 3]) await set(internalUrl, { key: 'a', value });
  expect((await poll(publicUrl, { key: 'a' })).lost).toBe(2);
  const page = poll(publicUrl, { key: 'b' });
  await held(internalUrl, 'b', 1);
  const stranger = raw(publicUrl, request('/status/get?key=b'), '127.0.0.2');
  await until(() => stranger.text.includes('"code":-3'));
  const samples = await scrape(internalUrl);
  expect(samples.get('tagwait_lost_values_total')).toBe(2);
  expect(samples.get('tagwait_limits_reached_total{limit="held_per_key"}')).toBe(1);
  expect(samples.get('tagwait_held')).toBe(1);
  await set(internalUrl, { key: 'b', value: 1 });
  await page;
});

test('each way that a set ends is counted as that', async () => {
  const { internalUrl } = await service({ maxKeys: 1, setTokens: ['t'.repeat(32)] });
  const headers = { Authorization: `Bearer ${'t'.repeat(32)}` };
  const ways: [
    result: string,
    status: number,
    body: Record<string, unknown>,
    headers: Record<string, string>,
  ][] = [
    ['stored', 200, { key: 'a', value: 1 }, headers],
    ['conflict', 409, { key: 'a', value: 1, expect: 'x-1' }, headers],
    ['refused', 400, { key: '', value: 1 }, headers],
    ['unavailable', 503, { key: 'b', value: 1 }, headers],
    ['unauthorized', 401, { key: 'a', value: 1 }, {}],
  ];
  for (const [number, [, status, body, given]] of ways.entries())
    for (let time = 0; time <= number; time++)
      expect((await set(internalUrl, body, given)).status).toBe(status);
  const samples = await scrape(internalUrl);
  expect(ways.map(([result]) => samples.get(`tagwait_sets_total{result="${result}"}`))).toEqual([
    1, 2, 3, 4, 5,
  ]);
});
