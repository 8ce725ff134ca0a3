/** Checks the configuration of a Redis server, once for each of its replication ids: a restart may change it. */
import { Cluster, type Redis } from 'ioredis';
import type { Logger } from '../../log.js';
import { addressFor, serverOf } from './connections.js';

/** @param names two keys of different slots @throws {Error} CROSSSLOT: the server belongs to a Cluster */
export async function assertNoCluster(client: Redis | Cluster, names: readonly string[]): Promise<void> {
  if (!(client instanceof Cluster)) await client.exists(...names);
}

/**
 * Logs a warning if Redis may evict keys: values would be lost, and subscriptions, which delays the next value.
 * @param key any key of the server. A server that refuses INFO or hides its policy is skipped.
 */
export async function warnOfEviction(
  client: Redis | Cluster,
  key: string,
  log: Pick<Logger, 'warn'>,
): Promise<void> {
  const info = await (async () => serverOf(client, key).info('memory'))().catch(() => '');
  const policy = /maxmemory_policy:(\S+)/.exec(info)?.[1];
  if (policy !== undefined && policy !== 'noeviction')
    log.warn(
      { address: addressFor(client, key), policy },
      'Redis may evict values and subscriptions: set maxmemory-policy to noeviction',
    );
}
