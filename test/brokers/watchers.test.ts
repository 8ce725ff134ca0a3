/** The watchers of a key in Redis. The test's own client plays the other nodes, so that each can be half dead. */
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { RECEIPTS } from '../../src/brokers/broker.js';
import { Keys } from '../../src/brokers/redis/keys.js';
import { RedisBroker } from '../../src/brokers/redis/redis.js';
import { until } from '../harness.js';
import { type RedisServer, redisServer } from '../redis.js';

const log = { info() {}, warn() {} };
const TTL = 60_000;
const keys = new Keys('tagwait', 0, false);
const ends: (() => Promise<void> | void)[] = [];
let redis: RedisServer;
beforeAll(async () => {
  redis = await redisServer([], end => ends.push(end));
});
afterAll(async () => {
  for (const end of ends.reverse()) await end();
});

let nodes = 0;
async function broker(lease?: number): Promise<RedisBroker> {
  const node = `n${++nodes}`;
  const store = { kind: 'server', url: redis.url } as const;
  const made = new RedisBroker({ store, prefix: 'tagwait', history: 4, wait: 0, node, log, lease });
  await made.start({
    entry: () => {},
    gap: () => {},
    held: () => 0,
    drop() {},
    describe: () => ({ id: node, held: 0, version: '0', uptime: 0 }),
  });
  onTestFinished(() => made.close());
  return made;
}

/** Puts a node down as a watcher of a key. @param alive what of it is left: it listens, it has its marker */
async function watcher(key: string, node: string, alive: { listens: boolean; marked: boolean }) {
  await redis.client.set(keys.watchers(key), `|${node}`, 'PX', TTL);
  if (alive.marked) await redis.client.set(`${keys.markers('0')}${node}`, '1', 'PX', TTL);
  if (!alive.listens) return;
  const subscriber = new Redis({ port: redis.port });
  onTestFinished(() => subscriber.disconnect());
  await subscriber.subscribe(`${keys.channels}n:${node}`);
}

test.each([
  ['listens and has its marker', { listens: true, marked: true }, true],
  ['has its marker and does not listen any more', { listens: false, marked: true }, false],
  ['seems to listen and has no marker any more', { listens: true, marked: false }, false],
  ['has neither', { listens: false, marked: false }, false],
])('a node that %s: a set says watched %o', async (name, alive, expected) => {
  const setter = await broker();
  const key = name.replaceAll(' ', '-');
  await watcher(key, `other-${nodes}`, alive);
  expect((await setter.set(key, '1', { ttl: TTL })).watched).toBe(expected);
});

test('a name whose time has passed is dropped when another node subscribes, one whose time lasts is kept', async () => {
  const one = await broker();
  const now = Math.floor(Date.now() / 1000);
  await redis.client.set(keys.watchers('names'), `|last dead@${now - 1} other@${now + 60}`, 'PX', TTL);
  await one.subscribe('names', '');
  const [, names = ''] = ((await redis.client.get(keys.watchers('names'))) ?? '').split('|');
  expect(names.split(' ').map(name => name.split('@')[0])).toEqual([`n${nodes}`, 'last', 'other']);
});

test('sets and unsubscribes leave the time of what is watched as it is', async () => {
  const [one, two] = [await broker(5000), await broker(5000)];
  const left = () => redis.client.pttl(keys.watchers('time'));
  await one.subscribe('time', '');
  await two.subscribe('time', '');
  expect(await left()).toBeGreaterThan(0);
  await redis.client.pexpire(keys.watchers('time'), 20_000);
  await one.set('time', '1', { ttl: TTL });
  expect(await left()).toBeGreaterThan(0);
  expect(await left()).toBeLessThanOrEqual(20_000);
  two.unsubscribe('time');
  await until(async () => (await redis.client.get(keys.watchers('time')))?.split(' ').length === 1);
  expect(await left()).toBeGreaterThan(0);
  expect(await left()).toBeLessThanOrEqual(20_000);
});

test('a key keeps the receipts of its newest sets, and forgets those before', async () => {
  const one = await broker();
  const more = 200;
  for (let first = 0; first < RECEIPTS + more; first += 100)
    await Promise.all(
      Array.from({ length: 100 }, (_, number) =>
        one.set('receipts', '1', { ttl: TTL, id: `set-${first + number}` }),
      ),
    );
  const fields = await redis.client.hkeys(keys.entries('receipts'));
  expect(fields.filter(field => field.startsWith('i:'))).toHaveLength(RECEIPTS);
  expect(fields.filter(field => field.startsWith('j:'))).toHaveLength(RECEIPTS);
  const again = (id: string) => one.set('receipts', '2', { ttl: TTL, id });
  expect((await again(`set-${more}`)).repeated).toBe(true);
  expect((await again('set-0')).repeated).toBe(undefined);
});
