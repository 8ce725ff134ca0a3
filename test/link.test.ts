/**
 * The link to Redis when Redis, or the way to it, stalls, refuses, forgets or goes silent without a word. A node runs in
 * this process, without HTTP; Redis is real, and so is what goes wrong with it.
 */
import { expect, onTestFinished, type TestContext, test } from 'vitest';
import { RedisBroker } from '../src/brokers/redis/redis.js';
import { LongPoll } from '../src/hold/longpoll.js';
import { textOf } from '../src/protocol/answers.js';
import { PATIENCE, spawned, until } from './harness.js';
import { type Line, line } from './line.js';
import type { Owner } from './owner.js';
import { type RedisServer, redisCluster, redisServer } from './redis.js';

/** What a page was answered. */
interface Answer {
  code: number;
  data?: unknown;
  cursor?: string;
}

interface Node {
  longpoll: LongPoll;
  /** every line that was logged: its fields, then its text */
  logged: string[];
  /** A request that is held; it answers into `answers`. @returns leaves */
  ask(key: string, hold?: number, since?: string): { answers: Answer[]; leave(): void };
}

const server = (port: number, database = 0) =>
  ({ kind: 'server', url: `redis://127.0.0.1:${port}/${database}` }) as const;

async function node(
  own: Owner,
  store: ConstructorParameters<typeof RedisBroker>[0]['store'],
  { id = 'n1', wait = 0, lease }: { id?: string; wait?: number; lease?: number } = {},
): Promise<Node> {
  const logged: string[] = [];
  const write = (fields: unknown, text?: string) =>
    logged.push(text === undefined ? String(fields) : `${JSON.stringify(fields)} ${text}`);
  const log = { info: write, warn: write } as unknown as ConstructorParameters<typeof RedisBroker>[0]['log'];
  const broker = new RedisBroker({ store, prefix: 'tagwait', history: 16, wait, node: id, lease, log });
  const longpoll = new LongPoll(broker, { id, version: '0' });
  own(() => longpoll.close());
  await longpoll.start();
  const ask: Node['ask'] = (key, hold = 60_000, since = '') => {
    const answers: Answer[] = [];
    const waiter = longpoll.get(
      { key, since, hold },
      { answer: answer => answers.push(JSON.parse(textOf(answer))) },
    );
    return { answers, leave: () => waiter && longpoll.leave(waiter) };
  };
  return { longpoll, logged, ask };
}

const set = ({ longpoll }: Node, key: string, value: unknown) => longpoll.set(key, value, { ttl: 60_000 });
/** Without its mend each of these pages waits for its hold of a minute, or for a lease of an hour. */
const SOON = { within: 30_000 };
const caughtUp = ({ longpoll }: Node, keys: number) => until(() => longpoll.counts().leases === keys);
const pause = (redis: RedisServer, ms: number) => redis.client.call('CLIENT', 'PAUSE', String(ms), 'ALL');
const away = ({ longpoll }: Node) => until(() => !longpoll.ready());
/** Waits until the node is ready again. @returns how long it took, s */
async function back({ longpoll }: Node, within = PATIENCE): Promise<number> {
  const start = performance.now();
  await until(() => longpoll.ready(), { within });
  return (performance.now() - start) / 1000;
}
const ownerOf =
  ({ onTestFinished }: TestContext): Owner =>
  end =>
    onTestFinished(() => end());

const tests: Record<string, (own: Owner) => Promise<void>> = {
  'a page leaves while Redis is paused, and is back before it answers: it hears': async own => {
    const redis = await redisServer([], own);
    const one = await node(own, server(redis.port));
    const first = one.ask('a');
    await caughtUp(one, 1);
    await pause(redis, 3600);
    const paused = performance.now();
    first.leave();
    // the key has no page now, and its unsubscribe is under way
    await until(() => one.longpoll.counts().watched === 0 && performance.now() - paused > 900);
    const again = one.ask('a');
    await redis.client.ping();
    await caughtUp(one, 1);
    const other = await node(own, server(redis.port), { id: 'n2' });
    expect((await set(other, 'a', 'news')).watched).toBe(true);
    await until(() => again.answers[0]?.code === 0, SOON);
  },

  'the second page of a key asks while Redis is paused: it hears what is there as soon as Redis answers':
    async own => {
      const redis = await redisServer([], own);
      const one = await node(own, server(redis.port));
      const other = await node(own, server(redis.port), { id: 'n2' });
      const first = one.ask('a');
      await caughtUp(one, 1);
      const { cursor } = await set(other, 'a', 1);
      await until(() => first.answers.length === 1);
      await pause(redis, 3600);
      const second = one.ask('a');
      const third = one.ask('b', 60_000, cursor);
      await redis.client.ping();
      await until(() => second.answers[0]?.data === 1, SOON);
      await set(other, 'b', 2);
      await until(() => third.answers[0]?.data === 2, SOON);
    },

  'the watchers are evicted and nothing else: every page hears within a lease': async own => {
    const redis = await redisServer([], own);
    const one = await node(own, server(redis.port), { lease: 3000 });
    const other = await node(own, server(redis.port), { id: 'n2' });
    const pages = Array.from({ length: 40 }, (_, number) => one.ask(`k${number}`));
    await caughtUp(one, pages.length);
    const names = pages.map((_, number) => `tagwait:1:w:{k${number}}`);
    expect(await redis.client.del(names)).toBe(pages.length);
    const receipts = await Promise.all(pages.map((_, number) => set(other, `k${number}`, number)));
    expect(
      receipts.some(({ watched }) => !watched),
      'a node is no longer written down',
    ).toBe(true);
    await until(() => pages.every(({ answers }, number) => answers[0]?.data === number), SOON);
  },

  'the password is changed and changed back: the cause is logged, and the node is ready again': async own => {
    const redis = await redisServer([], own);
    const one = await node(own, server(redis.port));
    const page = one.ask('a');
    await caughtUp(one, 1);
    await redis.client.config('SET', 'requirepass', 'new');
    await redis.client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await redis.client.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await away(one);
    await until(() => one.logged.some(text => /NOAUTH/.test(text)));
    const cause = one.longpoll.store().cause as string;
    expect(cause).toContain(`127.0.0.1:${redis.port}`);
    await redis.client.config('SET', 'requirepass', '');
    await back(one);
    await set(one, 'a', 1);
    await until(() => page.answers[0]?.data === 1, SOON);
  },

  'the user is gone after a restart of Redis, and made again: the node is ready again': async own => {
    const redis = await redisServer([], own);
    const make = () => redis.client.call('ACL', 'SETUSER', 'tag', 'on', '>secret', '~*', '&*', '+@all');
    await make();
    const url = `redis://tag:secret@127.0.0.1:${redis.port}`;
    const one = await node(own, { kind: 'server', url });
    await redis.kill();
    await redis.start();
    await until(() => one.logged.some(text => /WRONGPASS/.test(text)));
    expect(one.logged.join('\n')).not.toContain('secret');
    await make();
    await back(one);
  },

  'the way to Redis goes silent: given up within 6 s, and ready again when it is healed': async own => {
    const redis = await redisServer([], own);
    const way = await line(redis.port, own);
    const one = await node(own, server(way.port));
    const page = one.ask('a');
    await caughtUp(one, 1);
    way.swallow('both');
    const start = performance.now();
    await away(one);
    // 6 s, and what a busy machine adds
    expect(performance.now() - start).toBeLessThan(15_000);
    expect(one.longpoll.store().cause).toContain(`127.0.0.1:${way.port}`);
    const direct = await node(own, server(redis.port), { id: 'n2' });
    await set(direct, 'a', 1);
    way.heal();
    expect(await back(one)).toBeLessThan(30);
    await until(() => page.answers[0]?.data === 1, SOON);
  },

  'the subscription breaks and SUBSCRIBE takes longer than every time-out: subscribed again': async own => {
    const redis = await redisServer([], own);
    const one = await node(own, server(redis.port));
    const page = one.ask('a');
    await caughtUp(one, 1);
    await redis.client
      .pipeline()
      .call('CLIENT', 'KILL', 'TYPE', 'pubsub')
      .call('CLIENT', 'PAUSE', '4500', 'ALL')
      .exec();
    await redis.client.ping();
    await back(one);
    await caughtUp(one, 1);
    await set(one, 'a', 1);
    await until(() => page.answers[0]?.data === 1, SOON);
  },

  'SUBSCRIBE is refused for a moment: the cause is logged, and it is tried again': async own => {
    const redis = await redisServer([], own);
    await redis.client.call('ACL', 'SETUSER', 'tag', 'on', '>secret', '~*', '&*', '+@all');
    const one = await node(own, { kind: 'server', url: `redis://tag:secret@127.0.0.1:${redis.port}` });
    await redis.client.call('ACL', 'SETUSER', 'tag', '-subscribe');
    await redis.client.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await until(() => one.logged.some(text => /NOPERM.*subscribe/i.test(text)));
    await redis.client.call('ACL', 'SETUSER', 'tag', '+subscribe');
    await back(one);
    const page = one.ask('a');
    await caughtUp(one, 1);
    await set(one, 'a', 1);
    await until(() => page.answers[0]?.data === 1, SOON);
  },

  'sets wait for a replica that is gone: polls and readiness do not': async own => {
    const master = await redisServer([], own);
    const replica = await redisServer(['--replicaof', `127.0.0.1 ${master.port}`], own);
    await until(async () => /connected_slaves:1/.test(await master.client.info('replication')));
    const one = await node(own, server(master.port), { wait: 1 });
    await until(async () => (await set(one, 'a', 1).catch(() => undefined)) !== undefined);
    replica.process.kill('SIGSTOP');
    const states: string[] = [];
    const sets: Promise<unknown>[] = [];
    for (let number = 0; number < 6; number++) {
      sets.push(
        set(one, `k${number}`, number).then(
          () => 'acknowledged',
          ({ name }) => name,
        ),
      );
      const { answers } = one.ask(`q${number}`, 400);
      await until(() => answers.length === 1);
      states.push(`${answers[0]?.code}, ${one.longpoll.ready() ? 'ready' : 'not ready'}`);
    }
    // on a busy machine Redis may need longer than the hold; if polls waited as the sets do, none would be so
    expect(states.filter(state => state === '-1, ready').length, states.join('; ')).toBeGreaterThanOrEqual(2);
    replica.process.kill('SIGCONT');
    expect(new Set(await Promise.all(sets))).not.toContain('TypeError');
  },

  'a node loses power while its connections stay open at Redis: watched is false within 10 s': async own => {
    const redis = await redisServer([], own);
    const way: Line = await line(redis.port, own);
    const lost = await spawned({ TAGWAIT_REDIS_URL: `redis://127.0.0.1:${way.port}` }, own);
    const one = await node(own, server(redis.port));
    const controller = new AbortController();
    own(() => controller.abort());
    void fetch(`${lost.publicUrl}/status/get?key=a`, controller).catch(() => {});
    await until(async () => (await set(one, 'a', 1)).watched);
    const connected = way.connections;
    expect(connected).toBeGreaterThan(1);
    way.swallow('both');
    lost.process.kill('SIGKILL');
    await lost.ended;
    await until(async () => !(await set(one, 'a', 2)).watched, { within: 30_000, every: 200 });
    expect((await redis.client.call('CLIENT', 'LIST', 'TYPE', 'pubsub')) as string).toMatch(/(\n.*){2}/);
  },

  'a hold that ends while Redis is away is unavailable, also for a page that was caught up': async own => {
    const redis = await redisServer([], own);
    const one = await node(own, server(redis.port));
    const { answers } = one.ask('a', 2000);
    await caughtUp(one, 1);
    await redis.kill();
    await until(() => answers.length === 1);
    expect(answers[0]?.code).toBe(-7);
  },

  'two services with one prefix in databases 0 and 1 know nothing of each other': async own => {
    const redis = await redisServer([], own);
    const [zero, one] = [
      await node(own, server(redis.port, 0), { id: 'zero' }),
      await node(own, server(redis.port, 1), { id: 'one' }),
    ];
    const page = one.ask('a');
    const other = zero.ask('a');
    await Promise.all([caughtUp(zero, 1), caughtUp(one, 1)]);
    expect((await one.longpoll.nodes()).map(({ id }) => id)).toEqual(['one']);
    expect((await zero.longpoll.peek('a')).waiters).toEqual({ zero: 1 });
    await set(zero, 'a', 1);
    await until(() => other.answers.length === 1);
    await set(one, 'a', 2);
    await until(() => page.answers.length === 1);
    expect(page.answers[0]?.data).toBe(2);
  },

  'whatever takes Redis away, the log says the cause and the address': async own => {
    const redis = await redisServer([], own);
    const one = await node(own, server(redis.port));
    const lines = () => one.logged.filter(text => text.includes('Redis is away'));
    for (const [number, harm] of [
      () => redis.client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'),
      () => redis.kill(),
    ].entries()) {
      await harm();
      await until(() => lines().length > number);
      if (number === 1) await redis.start();
      await back(one);
    }
    for (const text of lines()) {
      expect(text).toContain(`127.0.0.1:${redis.port}`);
      expect(text).toMatch(/"cause":"[^"]{10,}"/);
    }
  },

  'an eviction policy that may drop subscriptions is warned of, with what to set': async own => {
    const redis = await redisServer(['--maxmemory-policy', 'volatile-lru'], own);
    const one = await node(own, server(redis.port));
    const warned = await until(() => one.logged.find(text => text.includes('evict')));
    expect(warned).toMatch(/volatile-lru.*set maxmemory-policy to noeviction/);
    const kept = await node(own, server((await redisServer([], own)).port));
    expect(kept.logged.join()).not.toContain('evict');
  },
};

for (const [name, run] of Object.entries(tests)) test.concurrent(name, context => run(ownerOf(context)));

test('every page of a Cluster leaves at once and is back soon, some in the same tick: all hear', async () => {
  const { setting } = await redisCluster();
  const one = await node(onTestFinished, { kind: 'cluster', nodes: setting.split(',') });
  const keys = Array.from({ length: 5000 }, (_, number) => `k${number}`);
  let pages = keys.map(key => one.ask(key));
  await caughtUp(one, keys.length);
  for (const { leave } of pages) leave();
  // a fifth in the same tick, the others over the second in which the keys are unsubscribed
  const delays = keys.map((_, number) => (number % 5) * 50 + (number % 5 && number / 5));
  pages = await Promise.all(
    keys.map(async (key, number) => {
      if (delays[number]) await new Promise(resolve => setTimeout(resolve, delays[number]));
      return one.ask(key);
    }),
  );
  await caughtUp(one, keys.length);
  // a machine that is busy with so many may lose a connection to Redis
  const stored = (key: string) => until(() => set(one, key, 'news').catch(() => undefined), { every: 200 });
  const receipts = await Promise.all(keys.map(stored));
  await until(() => pages.every(({ answers }) => answers[0]?.code === 0), SOON);
  expect(receipts.filter(({ watched }) => !watched)).toEqual([]);
});

test('a subscription is believed for 15 s at most', () => {
  const log = { info() {}, warn() {} };
  const broker = new RedisBroker({ store: server(1), prefix: 'p', history: 1, wait: 0, node: 'n', log });
  expect(broker.lease).toBeLessThanOrEqual(15_000);
});
