import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type Entry, Unavailable } from '../../src/brokers/broker.js';
import { brokerContract, HISTORY } from '../../src/brokers/contract/contract.js';
import { type Connections, connections, serverOf } from '../../src/brokers/redis/connections.js';
import { RedisBroker } from '../../src/brokers/redis/redis.js';
import type { Store } from '../../src/brokers/redis/store.js';
import { until } from '../harness.js';
import type { Owner } from '../owner.js';
import { redisCluster, redisSentinels, redisServer } from '../redis.js';

const log = { info() {}, warn() {} };

describe.each<[string, (own: Owner) => Promise<Store>]>([
  ['one server', async own => ({ kind: 'server', url: (await redisServer([], own)).url })],
  [
    'Sentinel',
    async own => {
      const { setting, name } = await redisSentinels(1, [], own);
      return { kind: 'sentinel', sentinels: setting.split(','), master: name };
    },
  ],
  ['Cluster', async own => ({ kind: 'cluster', nodes: (await redisCluster(0, own)).setting.split(',') })],
])('Redis, %s, keeps the promises of a broker', (_, open) => {
  const ends: (() => Promise<void> | void)[] = [];
  let store: Store;
  beforeAll(async () => {
    store = await open(end => ends.push(end));
  });
  afterAll(async () => {
    for (const end of ends.reverse()) await end();
  });
  test.each(brokerContract(2))('$name', ({ run }) =>
    run(node => new RedisBroker({ store, prefix: 'tagwait', history: HISTORY, wait: 0, node, log })),
  );
});

test('one of the sets of a tick fails in Redis: those before it are stored and delivered, the others are not', async () => {
  const redis = await redisServer();
  const broker = new RedisBroker({
    store: { kind: 'server', url: redis.url },
    prefix: 'tagwait',
    history: 4,
    wait: 0,
    node: 'n',
    log,
  });
  const delivered: [string, Entry][] = [];
  await broker.start({
    entry: (key, entry) => delivered.push([key, entry]),
    gap: () => {},
    held: () => 1,
    drop() {},
    describe: () => ({ id: 'n', held: 0, version: '0', uptime: 0 }),
  });
  onTestFinished(() => broker.close());
  for (const key of ['a', 'b']) await broker.subscribe(key, '');
  await redis.client.set('tagwait:1:{foreign}', 'not a hash');
  const sets = ['a', 'foreign', 'b'].map(key => broker.set(key, '1', { ttl: 60_000 }));
  for (const { status, ...more } of await Promise.allSettled(sets)) {
    expect(status).toBe('rejected');
    expect((more as { reason?: Error }).reason).toBeInstanceOf(Unavailable);
    expect((more as { reason?: Error }).reason?.message).toMatch(/WRONGTYPE/);
  }
  await until(() => delivered.length > 0);
  expect((await broker.peek('a')).entries.map(({ value }) => value)).toEqual(['1']);
  expect((await broker.peek('b')).entries).toEqual([]);
  expect(delivered.map(([key, { value }]) => [key, value])).toEqual([['a', '1']]);
});

test.each(['server', 'cluster'] as const)(
  'a reply that no script gives, of a %s: the connection is dropped, and the next subscribe goes through',
  async kind => {
    const store: Store =
      kind === 'server'
        ? { kind, url: (await redisServer()).url }
        : { kind, nodes: (await redisCluster()).setting.split(',') };
    let odd = true;
    let client!: Connections['client'];
    const broker = new RedisBroker(
      { store, prefix: 'tagwait', history: 4, wait: 0, node: 'n', log },
      (store, wait) => {
        const made = connections(store, wait);
        client = made.client;
        const subscribe = client.tagwaitSubscribe.bind(client);
        client.tagwaitSubscribe = (...args: Parameters<typeof subscribe>) =>
          odd ? (Promise.resolve([42]) as never) : subscribe(...args);
        return made;
      },
    );
    const events = { entry() {}, gap() {}, held: () => 1, drop() {} };
    await broker.start({ ...events, describe: () => ({ id: 'n', held: 0, version: '0', uptime: 0 }) });
    onTestFinished(() => broker.close());
    const dropped = once(serverOf(client, 'tagwait:1:{a}'), 'close');
    const refused = broker.subscribe('a', '');
    await expect(refused).rejects.toBeInstanceOf(Unavailable);
    await expect(refused).rejects.toThrow(/unexpected reply/);
    odd = false;
    await dropped;
    expect(await until(() => broker.subscribe('a', '').catch(() => undefined))).toMatchObject({
      entries: [],
    });
    await until(() => broker.status().up);
  },
);
