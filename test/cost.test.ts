/** What waiting costs Redis: commands counted by Redis itself, memory by its own account. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { RedisBroker } from '../src/brokers/redis/redis.js';
import { LongPoll } from '../src/hold/longpoll.js';
import { textOf } from '../src/protocol/answers.js';
import { service, set, until } from './harness.js';
import { onTestFinished, sideBySide } from './owner.js';
import { type RedisServer, redisServer } from './redis.js';

sideBySide();

/** Commands that nodes sent since the last reset. Scripts themselves call neither of these. */
async function commands(redis: RedisServer): Promise<number> {
  const stats = await redis.client.info('commandstats');
  let sum = 0;
  for (const [, calls] of stats.matchAll(/cmdstat_(?:evalsha|eval|mget|subscribe|ping):calls=(\d+)/g))
    sum += Number(calls);
  return sum;
}

async function node(redis: RedisServer, lease?: number): Promise<LongPoll> {
  const log = { info() {}, warn() {} };
  const store = { kind: 'server', url: redis.url } as const;
  const longpoll = new LongPoll(
    new RedisBroker({ store, prefix: 'tagwait', history: 16, wait: 0, node: 'n', log, lease }),
    { id: 'n', version: '0' },
  );
  await longpoll.start();
  onTestFinished(() => longpoll.close());
  return longpoll;
}

test.concurrent('two thousand idle pages send at most 0.02 commands a poll: first polls, verification and heartbeats', async () => {
  const redis = await redisServer();
  // verified every second, not every 10: what is counted is a round
  const longpoll = await node(redis, 1500);
  await redis.client.config('RESETSTAT');
  const pages = 2000;
  for (let page = 0; page < pages; page++)
    longpoll.get({ key: `k${page}`, since: '', hold: 60_000 }, { answer() {} });
  await until(() => longpoll.counts().leases === pages);
  const first = await commands(redis);
  const rounds = async () => {
    const stats = await redis.client.info('commandstats');
    return Math.floor(Number(/cmdstat_mget:calls=(\d+)/.exec(stats)?.[1] ?? 0) / (pages / 500));
  };
  // three of four rounds read, the fourth renews
  await until(async () => (await rounds()) >= 3);
  const before = { sent: await commands(redis), at: performance.now() };
  const read = await rounds();
  await until(async () => (await rounds()) >= read + 6);
  const seconds = (performance.now() - before.at) / 1000;
  // a heartbeat of one script every 2 s, whatever the lease is
  const round = ((await commands(redis)) - before.sent - seconds / 2) / 8;
  const minutes = 10;
  const polls = (pages * minutes * 60) / 25;
  const perPoll = (first + round * minutes * 6 + (minutes * 60) / 2) / polls;
  process.stderr.write(
    `commands sent a poll of 25 s, over ${minutes} minutes: ${perPoll.toFixed(4)} (first polls ${first}, a round ${round.toFixed(1)})\n`,
  );
  expect(round).toBeGreaterThan(1);
  expect(perPoll).toBeLessThanOrEqual(0.02);
});

test.concurrent('a page that asks again costs nothing, and a set is one script', async () => {
  const redis = await redisServer();
  const longpoll = await node(redis);
  const answers: string[] = [];
  const ask = (since: string, hold = 20) =>
    longpoll.get({ key: 'a', since, hold }, { answer: answer => answers.push(textOf(answer)) });
  // a hold that ends before Redis has answered ends without a cursor
  ask('', 1000);
  await until(() => answers.length === 1);
  const scripts = async () =>
    Number(/cmdstat_evalsha:calls=(\d+)/.exec(await redis.client.info('commandstats'))?.[1] ?? 0);
  const beats = async () =>
    Number(/cmdstat_publish:calls=(\d+)/.exec(await redis.client.info('commandstats'))?.[1] ?? 0);
  const [before, beaten] = [await scripts(), await beats()];
  for (let again = 2; again < 30; again++) {
    ask(JSON.parse(answers.at(-1) as string).cursor);
    await until(() => answers.length === again, { every: 2 });
  }
  expect((await scripts()) - before).toBe((await beats()) - beaten);
  await longpoll.set('a', 0, { ttl: 1000 });
  const [quiet, said] = [await scripts(), await beats()];
  for (let value = 0; value < 10; value++) await longpoll.set('b', value, { ttl: 1000 });
  expect((await scripts()) - quiet - ((await beats()) - said)).toBe(10);
});

test.concurrent('what is set in one tick is one script, and one message to each node', async () => {
  const redis = await redisServer();
  const longpoll = await node(redis);
  const keys = Array.from({ length: 40 }, (_, number) => `k${number}`);
  const heard = new Map<string, unknown>();
  for (const key of keys)
    longpoll.get(
      { key, since: '', hold: 60_000 },
      { answer: answer => heard.set(key, JSON.parse(textOf(answer)).data) },
    );
  await until(() => longpoll.counts().leases === keys.length);
  const calls = async () => {
    const stats = await redis.client.info('commandstats');
    const of = (name: string) => Number(new RegExp(`cmdstat_${name}:calls=(\\d+)`).exec(stats)?.[1] ?? 0);
    // the first run of a script sends its text
    const scripts = of('evalsha') + of('eval');
    // every beat is one of each
    return { published: of('publish') - scripts, scripts };
  };
  await redis.client.config('RESETSTAT');
  const began = performance.now();
  const receipts = await Promise.all(keys.map((key, number) => longpoll.set(key, number, { ttl: 60_000 })));
  await until(() => heard.size === keys.length);
  expect([...heard]).toEqual(keys.map((key, number) => [key, number]));
  expect(new Set(receipts.map(({ watched }) => watched))).toEqual(new Set([true]));
  const { published, scripts } = await calls();
  expect(published).toBe(0);
  // with a beat every 2 s
  expect(scripts).toBeLessThanOrEqual(3 + (performance.now() - began) / 2000);
});

test.concurrent('memory: what the docs say of a watched key and of a set one', async () => {
  const redis = await redisServer();
  const { internalUrl } = await service({ redisUrl: redis.url });
  const longpoll = await node(redis);
  const keys = Array.from({ length: 1000 }, (_, number) => `k${String(number).padStart(21, '0')}`);
  const sizeOf = async (name: (key: string) => string) => {
    const sizes = await Promise.all(keys.map(key => redis.client.memory('USAGE', name(key))));
    return sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0) / keys.length;
  };
  for (const key of keys) longpoll.get({ key, since: '', hold: 60_000 }, { answer() {} });
  await until(async () => (await redis.client.dbsize()) >= keys.length + 2);
  const watched = await sizeOf(key => `tagwait:1:w:{${key}}`);
  for (const key of keys) await set(internalUrl, { key, value: { state: 'scanned', by: 'Ada' } });
  const entries = await sizeOf(key => `tagwait:1:{${key}}`);
  process.stderr.write(
    `bytes of a watched key: ${watched.toFixed(0)}; of its entries, once set: ${entries.toFixed(0)}\n`,
  );
  const docs = readFileSync(new URL('../docs/redis.md', import.meta.url), 'utf8');
  const said = (/(\d+) bytes for a key that is watched, (\d+) more/.exec(docs) ?? []).slice(1).map(Number);
  expect(Math.abs(watched - (said[0] ?? 0))).toBeLessThan(40);
  expect(Math.abs(entries - (said[1] ?? 0))).toBeLessThan(60);
});
