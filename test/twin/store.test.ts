/** The store of the deterministic run and a real Redis with the real scripts: the same commands, replies and keys. */
import type { Redis } from 'ioredis';
import { expect, onTestFinished, test } from 'vitest';
import { scripts } from '../../src/brokers/redis/scripts.js';
import { Random } from '../chaos/random.js';
import { until } from '../harness.js';
import { redisServer } from '../redis.js';
import { type Reply, Store } from './store.js';

const CHANNELS = 't:n:';
const NODES = ['n1', 'n2', 'n3'];
const KEYS = ['a', 'b', 'c', 'd'];
const SEED = Number(process.env.TWIN_SEED ?? 1);
const COMMANDS = 2500;

const entries = (key: string) => `t:{${key}}`;
const watchers = (key: string) => `t:w:{${key}}`;
const marker = (node: string) => `t:m:${node}`;

/** Both stores, given the same. */
class Both {
  readonly heard: [channel: string, message: string][] = [];
  readonly heardInMemory: [channel: string, message: string][] = [];
  /** what the slowest command took on both, ms: so far apart are the ends of the lives of a key */
  slowest = 0;
  readonly #redis: Redis;
  readonly store: Store;
  constructor(redis: Redis, replid: () => string) {
    this.#redis = redis;
    this.store = new Store({
      now: () => Date.now(),
      replid,
      receivers: channel => (LISTENING.includes(channel) ? 1 : 0),
      publish: (channel, message) => {
        if (!LISTENING.includes(channel)) return 0;
        this.heardInMemory.push([channel, message]);
        return 1;
      },
    });
  }

  async script(
    name: keyof typeof scripts,
    keys: string[],
    args: string[],
    act: (store: Store) => Reply,
  ): Promise<[Reply, Reply]> {
    const fixed = 'numberOfKeys' in scripts[name];
    const command = (this.#redis as unknown as Record<string, (...args: unknown[]) => Promise<Reply>>)[name];
    const settled = (work: () => Reply | Promise<Reply>) =>
      (async () => work())().catch((error: Error) => error.message.slice(0, 30));
    return this.#timed(async () => {
      const real = await settled(
        () => command?.call(this.#redis, ...(fixed ? [] : [keys.length]), ...keys, ...args) ?? null,
      );
      return [real, await settled(() => act(this.store))];
    });
  }

  /** Writes the same text over a key of both, whatever it was. */
  async plant(key: string, text: string, life: number): Promise<void> {
    await this.#timed(async () => {
      await this.#redis.set(key, text, 'PX', life);
      this.store.put(key, text, life);
    });
  }

  async #timed<T>(work: () => Promise<T>): Promise<T> {
    const start = performance.now();
    const result = await work();
    this.slowest = Math.max(this.slowest, performance.now() - start);
    return result;
  }

  async del(key: string): Promise<void> {
    await this.#redis.del(key);
    this.store.del(key);
  }

  async hset(key: string, field: string, text: string): Promise<void> {
    if (!this.store.keys().includes(key)) return;
    await this.#redis.hset(key, field, text);
    this.store.hset(key, field, text);
  }

  /** What is under a key: contents, and whether its life ends; and how far apart the two ends are, ms. */
  async state(key: string): Promise<{ real: unknown; kept: unknown; apart: number }> {
    const type = await this.#redis.type(key);
    const real =
      type === 'hash'
        ? Object.entries(await this.#redis.hgetall(key)).sort()
        : type === 'string'
          ? await this.#redis.get(key)
          : null;
    const kept = !this.store.keys().includes(key)
      ? null
      : type === 'hash'
        ? [...(this.store.hash(key) ?? [])].sort()
        : this.store.get(key);
    const [left, keptLeft] = await this.#timed(async () => [
      await this.#redis.pttl(key),
      this.store.pttl(key),
    ]);
    const life = (ms = -2) => (ms < 0 ? ms : 'ends');
    return { real: [real, life(left)], kept: [kept, life(keptLeft)], apart: Math.abs(keptLeft - left) };
  }
}

const LISTENING = [`${CHANNELS}n1`, `${CHANNELS}n2`, 't:all'];
/** The end of a lease, unix seconds. */
const END = /@(1[5-9]\d{8})/g;
const text = (value: unknown) => JSON.stringify(value).replace(END, '@end');
/** Equal, but that one came some ms after the other, which the end of a lease gives in whole seconds. */
function same(kept: unknown, real: unknown, apart: number, said: string): void {
  expect(text(kept), said).toBe(text(real));
  const ends = (value: unknown) => [...JSON.stringify(value).matchAll(END)].map(([, end]) => Number(end));
  const realEnds = ends(real);
  for (const [index, end] of ends(kept).entries())
    expect(Math.abs(end - (realEnds[index] ?? 0)), said).toBeLessThanOrEqual(1 + apart / 1000);
}

test('the store of the deterministic run does what the scripts do in a real Redis', async () => {
  const redis = await redisServer();
  for (const [name, definition] of Object.entries(scripts)) redis.client.defineCommand(name, definition);
  const replid = /master_replid:(\w+)/.exec(await redis.client.info('replication'))?.[1] ?? '';
  const both = new Both(redis.client, () => replid);
  const subscriber = redis.client.duplicate();
  onTestFinished(() => subscriber.disconnect());
  await subscriber.subscribe(...LISTENING);
  subscriber.on('message', (channel, message) => both.heard.push([channel, message]));
  const random = new Random(SEED);
  const cursors = ['', 'x-1', 'zz-3.x-2'];
  const counts = new Map<string, number>();

  for (let count = 0; count < COMMANDS; count++) {
    const [name, act] = random.pick(ACTS);
    const said = `command ${count} of seed ${SEED}, ${name}`;
    const replies = await act(both, random, cursors, count);
    counts.set(name, (counts.get(name) ?? 0) + 1);
    if (replies) same(replies[1], replies[0], both.slowest, said);
    if (name === 'set' && Array.isArray(replies?.[0])) {
      for (const reply of replies[0]) if (Array.isArray(reply)) cursors.push(String(reply[1]));
      // of two positions, also of one epoch
      cursors.push(`${random.pick(cursors)}.${random.pick(cursors)}`.slice(0, 64));
    }
    if (cursors.length > 40) cursors.splice(3, 20);
    const key = random.pick([...KEYS.flatMap(key => [entries(key), watchers(key)]), ...NODES.map(marker)]);
    const { real, kept, apart } = await both.state(key);
    same(kept, real, both.slowest, `${key} after ${said}`);
    // the command has set both lives, and reading them takes time too
    expect(apart, `end of ${key} after ${said}`).toBeLessThanOrEqual(2 * both.slowest + 2);
  }
  await until(() => both.heard.length === both.heardInMemory.length);
  // one script publishes to several nodes in any order
  expect(both.heardInMemory.map(text).sort()).toEqual(both.heard.map(text).sort());
  expect(both.heard.length).toBeGreaterThan(300);
  expect([...counts.keys()].sort()).toEqual([...new Set(ACTS.map(([name]) => name))].sort());
});

type Act = (
  both: Both,
  random: Random,
  cursors: string[],
  count: number,
) => Promise<[Reply, Reply] | undefined>;

function some<T>(random: Random, items: readonly T[], most: number): T[] {
  return Array.from({ length: 1 + Math.floor(random.next() * most) }, () => random.pick(items));
}

const set: Act = (both, random, cursors, count) => {
  const keys = [...new Set(some(random, KEYS, 3))];
  const living = random.pick(['', '', '*', ' n1 ', ' n2 n3 ']);
  const args = [
    String(random.pick([1, 3, 4])),
    String(random.pick([2, 5])),
    `e${count.toString(36)}`,
    CHANNELS,
    living,
    't:m:',
    random.pick(NODES),
    ...keys.flatMap(key => [
      random.pick(['1', '"a b|c@d"', '{"x":[1,2]}', '"\\u003c"']),
      random.pick(['600000', '3000000']),
      random.next() < 0.03 ? '1' : '',
      random.next() < 0.2 ? random.pick(cursors) : '*',
      random.next() < 0.3 ? `id${Math.floor(random.next() * 6)}` : '',
      '1700000000000',
      key,
      random.next() < 0.3 ? 'r' : '',
    ]),
  ];
  const names = keys.flatMap(key => [entries(key), watchers(key)]);
  const script = keys.length === 1 && random.next() < 0.5 ? 'tagwaitSet' : 'tagwaitSetMany';
  return both.script(script, names, args, store => store.set(names, args));
};

function wantedOf({ store }: Both, key: string): string {
  try {
    return store.hash(entries(key))?.get('w') ?? '';
  } catch {
    return '';
  }
}

const ACTS: [string, Act][] = [
  ['set', set],
  ['set', set],
  ['set', set],
  [
    'subscribe',
    (both, random, cursors) => {
      const keys = some(random, KEYS, 3);
      const names = keys.flatMap(key => [watchers(key), entries(key)]);
      const limit = random.pick(['0', '8', '16384']);
      const args = [random.pick(NODES), '1200000', limit, ...keys.map(() => random.pick(cursors))];
      return both.script('tagwaitSubscribe', names, args, store => store.subscribe(names, args));
    },
  ],
  [
    'unsubscribe',
    (both, random) => {
      const names = some(random, KEYS, 2).map(watchers);
      const args = [random.pick(NODES)];
      return both.script('tagwaitUnsubscribe', names, args, store => store.unsubscribe(names, args));
    },
  ],
  [
    'renew',
    (both, random) => {
      const args = [
        random.pick(NODES),
        random.pick(['0', '1200000', '600000']),
        ...some(random, KEYS, 3).map(watchers),
      ];
      return both.script('tagwaitRenew', [], args, store => store.renew(args));
    },
  ],
  [
    'heartbeat',
    (both, random, _, count) => {
      const args = ['500000', 't:all', `b n ${count}`];
      const node = random.pick(NODES);
      return both.script('tagwaitHeartbeat', [marker(node)], args, store =>
        store.heartbeat(marker(node), args),
      );
    },
  ],
  [
    'peek',
    async (both, random) => {
      const key = entries(random.pick(KEYS));
      const args = [random.pick(['0', '8', '16384']), random.pick(['1', '1', '3'])];
      const replies = await both.script('tagwaitPeek', [key], args, store => store.peek(key, args));
      // the first is the milliseconds left, compared with the state
      return replies.map(reply => (Array.isArray(reply) ? reply.slice(1) : reply)) as [Reply, Reply];
    },
  ],
  [
    'prove',
    (both, random, cursors) => {
      const key = random.pick(KEYS);
      // one of the key's own, where there is one
      const wanted = /[^ @]+(?=@)/.exec(both.store.keys().includes(entries(key)) ? wantedOf(both, key) : '');
      const position =
        random.next() < 0.7 ? (wanted?.[0] ?? 'x-1') : random.pick(['x-1', ...cursors.slice(3)]);
      const args = [position, CHANNELS, `p ${key} ${position}`];
      return both.script('tagwaitProve', [entries(key)], args, store => store.prove(entries(key), args));
    },
  ],
  [
    'plant',
    async (both, random) => {
      const now = Math.floor(Date.now() / 1000);
      const till = () => random.pick(['', `@${now - 50}`, `@${now + 1000}`]);
      const names = some(random, NODES, 2).map(node => `${node}${till()}`);
      const kind = random.next();
      const key = random.pick(KEYS);
      if (kind < 0.5) await both.plant(watchers(key), `x-1|${names.join(' ')}`, 900_000);
      else if (kind < 0.6) await both.plant(entries(key), 'not a hash', 900_000);
      else if (kind < 0.8) await both.hset(entries(key), 'r', 'another id').catch(() => {});
      return undefined;
    },
  ],
  [
    'delete',
    async (both, random) => {
      const key = random.pick(KEYS);
      const kind = random.next();
      await both.del(kind < 0.3 ? entries(key) : kind < 0.6 ? watchers(key) : marker(random.pick(NODES)));
      return undefined;
    },
  ],
];
