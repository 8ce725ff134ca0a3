/** Verifies subscriptions: compares the positions that this node knows with those in Redis, many keys per command. */
import { Cluster, type Redis } from 'ioredis';
import type { Known } from '../broker.js';
import { type Connections, serverOf } from './connections.js';
import type { Keys } from './keys.js';

/** Keys per MGET: each takes Redis about 0.5 µs. */
const READ_BATCH = 500;
/** Keys per renewal script: each takes Redis about 2 µs. */
const RENEW_BATCH = 200;
/** Commands in flight at a time. One by one they could take longer than a lease on a slow connection. */
const CONCURRENCY = 4;
/** Every fourth round renews this node's subscriptions in Redis; the others only read. */
const RENEW_EVERY = 4;

export class Verifier {
  readonly #connections: Connections;
  readonly #keys: Keys;
  readonly #node: string;
  readonly #registration: number;
  #round = 0;

  /** @param registration how long Redis keeps a subscription, ms; several times the interval of two renewals */
  constructor(connections: Connections, keys: Keys, node: string, registration: number) {
    this.#connections = connections;
    this.#keys = keys;
    this.#node = node;
    this.#registration = registration;
  }

  /**
   * @param late whether the newest entries may still be on their way to this node: another read of them would make a slow
   * line slower @returns the keys for which this node is not subscribed, or does not have the newest position
   */
  async verify(known: readonly Known[], late: () => boolean): Promise<string[]> {
    const renews = this.#round++ % RENEW_EVERY === 0;
    const max = renews || this.#connections.client instanceof Cluster ? RENEW_BATCH : READ_BATCH;
    const batches: { server: Redis | Cluster; keys: Known[] }[] = [];
    for (const [server, keys] of this.#byServer(known))
      for (let first = 0; first < keys.length; first += max)
        batches.push({ server, keys: keys.slice(first, first + max) });
    const stale: string[] = [];
    for (let first = 0; first < batches.length; first += CONCURRENCY)
      for (const found of await Promise.all(
        batches
          .slice(first, first + CONCURRENCY)
          .map(({ server, keys }) => this.#verifyBatch(server, keys, renews, late)),
      ))
        stale.push(...found);
    return stale;
  }

  async #verifyBatch(
    server: Redis | Cluster,
    keys: readonly Known[],
    renews: boolean,
    late: () => boolean,
  ): Promise<string[]> {
    const names = keys.map(({ key }) => this.#keys.watchers(key));
    const watchers = await this.#read(server, names, renews);
    return keys
      .filter(({ position }, index) => {
        const list = watchers[index] ?? '';
        return late() ? !isListed(list, this.#node) : !isCurrent(list, position, this.#node);
      })
      .map(({ key }) => key);
  }

  /**
   * On a Cluster one script reads keys of several slots of a server: otherwise it would be about one script per key.
   */
  #byServer(known: readonly Known[]): Map<Redis | Cluster, Known[]> {
    const { client } = this.#connections;
    if (!(client instanceof Cluster)) return new Map([[client, [...known]]]);
    const servers = new Map<Redis | Cluster, Known[]>();
    for (const one of known) {
      const server = serverOf(client, this.#keys.watchers(one.key));
      const keys = servers.get(server);
      if (keys) keys.push(one);
      else servers.set(server, [one]);
    }
    return servers;
  }

  async #read(server: Redis | Cluster, watchers: string[], renews: boolean): Promise<(string | null)[]> {
    const lease = renews ? this.#registration : 0;
    const { client } = this.#connections;
    if (!(client instanceof Cluster))
      return renews ? client.tagwaitRenew(this.#node, lease, ...watchers) : client.mget(watchers);
    try {
      return await server.tagwaitRenew(this.#node, lease, ...watchers);
    } catch (error) {
      const { message } = error as Error;
      // a slot has moved, or the store lets no script use several: these keys count as lost, and are read again
      if (/non local key|cross.?slot|do not hash to the same slot/i.test(message))
        return watchers.map(() => null);
      throw error;
    }
  }
}

/**
 * Whether `watchers` lists the node, with this position as the newest.
 * @param watchers "position|node node@until …", see subscribe.lua; '': none
 */
export function isCurrent(watchers: string, position: string | undefined, node: string): boolean {
  if (watchers === `${position}|${node}`) return true;
  return watchers.slice(0, watchers.indexOf('|')) === position && isListed(watchers, node);
}

/** Whether `watchers` lists the node. @param watchers as of `isCurrent` */
function isListed(watchers: string, node: string): boolean {
  return watchers
    .slice(watchers.indexOf('|') + 1)
    .split(' ')
    .some(name => name === node || name.startsWith(`${node}@`));
}
