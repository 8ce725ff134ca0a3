import { afterAll, beforeAll, describe } from 'vitest';
import { RedisBroker } from '../../src/brokers/redis.js';
import type { Store } from '../../src/brokers/redis-connections.js';
import { type Owner, redisCluster, redisSentinels, redisServer } from '../redis.js';
import { brokerContract } from './contract.js';

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
])('Redis, %s', (name, open) => {
  const ends: (() => Promise<void> | void)[] = [];
  let store: Store;
  beforeAll(async () => {
    store = await open(end => ends.push(end));
  });
  afterAll(async () => {
    for (const end of ends.reverse()) await end();
  });
  brokerContract(name, {
    create: (history, node) => new RedisBroker({ store, prefix: 'tagwait', history, wait: 0, node, log }),
    nodes: 2,
  });
});
