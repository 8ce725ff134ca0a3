/** When a key begins another epoch in a real Redis, and what a cursor of the one before is worth then. */
import { expect, onTestFinished, test } from 'vitest';
import { Conflict } from '../../src/brokers/broker.js';
import { RedisBroker } from '../../src/brokers/redis/redis.js';
import { advance } from '../../src/protocol/cursor.js';
import { Random } from '../chaos/random.js';
import { until } from '../harness.js';
import { type RedisServer, redisServer } from '../redis.js';

const log = { info() {}, warn() {} };
const SEED = Number(process.env.EPOCHS_SEED ?? Date.now() % 1_000_000);
const TTL = 600_000;
const QUICK = ['--repl-diskless-sync-delay', '0'];

async function brokerOf(redis: RedisServer): Promise<RedisBroker> {
  const store = { kind: 'server', url: redis.url } as const;
  const made = new RedisBroker({ store, prefix: 'tagwait', history: 16, wait: 0, node: 'n', log });
  const events = { entry() {}, gap() {}, held: () => 0, drop() {} };
  await made.start({ ...events, describe: () => ({ id: 'n', held: 0, version: '0', uptime: 0 }) });
  onTestFinished(() => made.close());
  return made;
}

/** Sets a value as soon as Redis accepts it. @returns the cursor */
const stored = async (broker: RedisBroker, value: string, expect?: string) => {
  const options = { ttl: TTL, ...(expect === undefined ? {} : { expect }) };
  return (await until(() => broker.set('k', value, options).catch(() => undefined))).cursor;
};
const after = async (broker: RedisBroker, cursor: string) => {
  const { entries, lost } = await until(() => broker.subscribe('k', cursor).catch(() => undefined));
  return { values: entries.map(({ value }) => value), lost };
};
const epochOf = (cursor: string) => cursor.split('-')[0];

async function follow(replica: RedisServer, master: RedisServer): Promise<void> {
  await replica.client.replicaof('127.0.0.1', master.port);
  await until(async () => (await replica.client.info('replication')).includes('master_link_status:up'));
}
const promote = (server: RedisServer) => server.client.replicaof('NO', 'ONE');
async function restart(server: RedisServer): Promise<void> {
  await server.kill();
  await server.start();
}

interface Event {
  args?: string[];
  before?(server: RedisServer): Promise<unknown>;
  happens(server: RedisServer): Promise<unknown>;
  begins: boolean;
}
const replicaConnects = async (server: RedisServer) => follow(await redisServer(QUICK), server);

test.each<[string, Event]>([
  ['nothing happens', { happens: async () => {}, begins: false }],
  ['the first replica connects', { happens: replicaConnects, begins: true }],
  ['another replica connects', { before: replicaConnects, happens: replicaConnects, begins: false }],
  [
    'a restart with an append-only file',
    { args: ['--appendonly', 'yes', '--appendfsync', 'always'], happens: restart, begins: true },
  ],
  [
    'a restart with a snapshot',
    {
      async happens(server) {
        await server.client.call('SAVE');
        await restart(server);
      },
      begins: true,
    },
  ],
  [
    'the same process is demoted and promoted again',
    {
      async happens(server) {
        await server.client.replicaof('127.0.0.1', 1);
        await promote(server);
      },
      begins: true,
    },
  ],
])('%s: nothing is lost and nothing repeated', async (_, { args = [], before, happens, begins }) => {
  const redis = await redisServer([...QUICK, ...args]);
  await before?.(redis);
  const broker = await brokerOf(redis);
  const first = await stored(broker, 'v1');
  await happens(redis);
  const second = await stored(broker, 'v2', first);
  expect(epochOf(second) !== epochOf(first)).toBe(begins);
  expect(await after(broker, first)).toEqual({ values: ['v2'], lost: 0 });
  expect(await after(broker, second)).toEqual({ values: [], lost: 0 });
});

test.each([1, 2, 3])(
  'failover to a replica that is %s values behind, and back: a cursor of a lost value hears all that is stored since',
  async behind => {
    const [one, two] = [await redisServer(QUICK), await redisServer(QUICK)];
    await follow(two, one);
    const broker = await brokerOf(one);
    const kept = await stored(broker, 'kept');
    await until(async () => (await two.client.hget('tagwait:1:{k}', 'n')) === '1');
    // no master there: it keeps what it has
    await two.client.replicaof('127.0.0.1', 1);
    let lost = kept;
    for (let count = 0; count < behind; count++) lost = await stored(broker, `lost ${count}`);
    await promote(two);
    await follow(one, two);
    await promote(one);
    const since: string[] = [];
    for (let count = 0; count < behind + 1; count++) {
      const cursor = await stored(broker, `new ${count}`);
      since.push(`new ${count}`);
      expect(await after(broker, lost)).toEqual({ values: since, lost: 0 });
      expect(await after(broker, cursor)).toEqual({ values: [], lost: 0 });
      expect(cursor).not.toBe(lost);
      await expect(broker.set('k', 'expects a lost one', { ttl: TTL, expect: lost })).rejects.toThrow(
        Conflict,
      );
    }
    expect(await after(broker, kept)).toEqual({ values: since, lost: 0 });
  },
);

test('a cursor beyond the newest value hears what is stored next, wherever the page was when it was stored', async () => {
  const broker = await brokerOf(await redisServer(QUICK));
  const newest = await stored(broker, 'v1');
  let since = `${epochOf(newest)}-999`;
  for (const value of ['v2', 'v3']) {
    const { entries, cursor } = await broker.subscribe('k', since);
    expect(entries).toEqual([]);
    since = advance(since, cursor);
    await stored(broker, value);
    expect(await after(broker, since)).toEqual({ values: [value], lost: 0 });
    since = advance(since, (await broker.subscribe('k', since)).cursor);
  }
});

test('two masters at once: whichever a page asks next, it hears each value once', async () => {
  const random = new Random(SEED);
  const [one, two] = [await redisServer(QUICK), await redisServer(QUICK)];
  await follow(two, one);
  const masters = [{ broker: await brokerOf(one), values: new Map<string, string[]>() }];
  let count = 0;
  const set = async ({ broker, values }: (typeof masters)[number], key: string) => {
    const value = `v${++count}`;
    await until(() => broker.set(key, value, { ttl: TTL }).catch(() => undefined));
    values.set(key, [...(values.get(key) ?? []), value]);
  };
  const keys = Array.from({ length: 30 }, (_, number) => `k${number}`);
  for (const key of keys)
    for (let left = random.pick([0, 1, 2, 3]); left > 0; left--)
      await set(masters[0] as (typeof masters)[number], key);
  await one.client.wait(1, 5000);
  await promote(two);
  masters.push({ broker: await brokerOf(two), values: new Map(masters[0]?.values) });

  for (const key of keys) {
    const heard: string[] = [];
    const path = [`EPOCHS_SEED=${SEED}`];
    let since = '';
    for (let step = 0; step < 10; step++) {
      const at = random.pick(masters);
      for (let left = random.pick([0, 1, 2]); left > 0; left--) await set(at, key);
      const { entries, cursor } = await at.broker.subscribe(key, since);
      path.push(`${masters.indexOf(at)} since=${since} ${entries.map(({ value }) => value)}`);
      heard.push(...entries.map(({ value }) => value));
      for (const entry of entries) since = advance(since, entry.cursor);
      since = advance(since, cursor);
      expect(heard, path.join('\n')).toHaveLength(new Set(heard).size);
      expect(heard, path.join('\n')).toEqual(expect.arrayContaining(at.values.get(key) ?? []));
    }
  }
});
