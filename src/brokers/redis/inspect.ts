/** What is looked at once when a server's process is met: it may have other settings than the last one. */
import { Cluster, type Redis } from 'ioredis';
import type { Logger } from '../../log.js';
import { addressFor, serverOf } from './connections.js';

/** @param names two that a Cluster keeps in different slots @throws {Error} CROSSSLOT: it is a node of a Cluster */
export async function assertNoCluster(commands: Redis | Cluster, names: readonly string[]): Promise<void> {
  if (!(commands instanceof Cluster)) await commands.exists(...names);
}

/**
 * Redis may be allowed to drop keys of its own accord. Then values vanish, and a page hears the next one late.
 * @param key of the server; one that says nothing of its policy, or refuses INFO, is passed over
 */
export async function warnOfEviction(
  commands: Redis | Cluster,
  key: string,
  log: Pick<Logger, 'warn'>,
): Promise<void> {
  const info = await (async () => serverOf(commands, key).info('memory'))().catch(() => '');
  const policy = /maxmemory_policy:(\S+)/.exec(info)?.[1];
  if (policy !== undefined && policy !== 'noeviction')
    log.warn(
      { address: addressFor(commands, key), policy },
      'Redis may evict values and subscriptions: set maxmemory-policy to noeviction',
    );
}
