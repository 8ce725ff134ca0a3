/** The store that the settings name. The only file that chooses a broker. */
import type { Broker } from './brokers/broker.js';
import { MemoryBroker } from './brokers/memory.js';
import { RedisBroker } from './brokers/redis/redis.js';
import type { Store } from './brokers/redis/store.js';
import { type Logger, nodeOf } from './log.js';
import type { Config } from './settings.js';

/** The name of the store, for the log and the live page. */
export const storeName = ({ redisUrl, redisCluster, redisSentinels }: Config) =>
  redisUrl ? 'Redis' : redisCluster ? 'Redis Cluster' : redisSentinels ? 'Redis with Sentinel' : 'embedded';

/** The addresses of a Redis; undefined for the embedded store. */
function redisOf(config: Config): Store | undefined {
  const { redisUrl, redisCluster, redisNat: nat, redisSentinels, redisMaster } = config;
  if (redisUrl) return { kind: 'server', url: redisUrl };
  if (redisCluster) return { kind: 'cluster', nodes: redisCluster, nat };
  if (redisSentinels && redisMaster)
    return {
      kind: 'sentinel',
      sentinels: redisSentinels,
      master: redisMaster,
      sentinelPassword: config.redisSentinelPassword,
      nat,
    };
  return undefined;
}

/** The broker for the store, not started. */
export function brokerOf(config: Config, log: Logger): Broker {
  const { history, maxKeys, redisPrefix: prefix, redisWait: wait } = config;
  const store = redisOf(config);
  if (!store) return new MemoryBroker({ history, maxKeys });
  return new RedisBroker({ store, prefix, history, wait, node: nodeOf(log), log });
}
