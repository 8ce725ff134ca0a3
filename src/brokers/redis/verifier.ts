/** Compares what this node believes of its keys with what Redis has, many keys a command. */
import { Cluster, type Redis } from 'ioredis';
import type { Known } from '../broker.js';
import { type Connections, serverOf } from './connections.js';
import type { Keys } from './keys.js';

/** Keys that one MGET reads: half a microsecond of Redis each. */
const READ = 500;
/** Keys that one script renews: two microseconds each. */
const RENEW = 200;
/** Commands that are under way together: on a slow line they would take longer than a lease one by one. */
const TOGETHER = 4;
/** One round in so many renews what Redis has this node down for, the others only read. */
const ROUNDS = 4;

export class Verifier {
  readonly #connections: Connections;
  readonly #keys: Keys;
  readonly #node: string;
  readonly #registration: number;
  #round = 0;
  /** what this Redis takes, see scripts.ts */
  #across: 'tagwaitRenewAcross' | 'tagwaitRenew' = 'tagwaitRenewAcross';

  /** @param registration ms for which Redis has a node down for a key: several times what passes between two renewals */
  constructor(connections: Connections, keys: Keys, node: string, registration: number) {
    this.#connections = connections;
    this.#keys = keys;
    this.#node = node;
    this.#registration = registration;
  }

  /** @returns the keys for which this node is not down, or not with the newest position */
  async verify(known: readonly Known[]): Promise<string[]> {
    const renews = this.#round++ % ROUNDS === 0;
    const max = renews || this.#connections.commands instanceof Cluster ? RENEW : READ;
    const batches: { server: Redis | Cluster; keys: Known[] }[] = [];
    for (const [server, keys] of this.#byServer(known))
      for (let first = 0; first < keys.length; first += max)
        batches.push({ server, keys: keys.slice(first, first + max) });
    const stale: string[] = [];
    for (let first = 0; first < batches.length; first += TOGETHER)
      for (const found of await Promise.all(
        batches
          .slice(first, first + TOGETHER)
          .map(({ server, keys }) => this.#verifyBatch(server, keys, renews)),
      ))
        stale.push(...found);
    return stale;
  }

  async #verifyBatch(server: Redis | Cluster, keys: readonly Known[], renews: boolean): Promise<string[]> {
    const names = keys.map(({ key }) => this.#keys.watchers(key));
    const watchers = await this.#read(server, names, renews);
    return keys
      .filter(({ position }, index) => !isCurrent(watchers[index] ?? null, position, this.#node))
      .map(({ key }) => key);
  }

  /** On a Cluster one script reads keys of many slots of one server: a script a slot would be one a key. */
  #byServer(known: readonly Known[]): Map<Redis | Cluster, Known[]> {
    const { commands } = this.#connections;
    if (!(commands instanceof Cluster)) return new Map([[commands, [...known]]]);
    const servers = new Map<Redis | Cluster, Known[]>();
    for (const one of known) {
      const server = serverOf(commands, this.#keys.watchers(one.key));
      const keys = servers.get(server);
      if (keys) keys.push(one);
      else servers.set(server, [one]);
    }
    return servers;
  }

  async #read(server: Redis | Cluster, watchers: string[], renews: boolean): Promise<(string | null)[]> {
    const lease = renews ? this.#registration : 0;
    const { commands } = this.#connections;
    if (!(commands instanceof Cluster))
      return renews ? commands.tagwaitRenew(this.#node, lease, ...watchers) : commands.mget(watchers);
    try {
      return await server[this.#across](this.#node, lease, ...watchers);
    } catch (error) {
      const { message } = error as Error;
      if (this.#across === 'tagwaitRenewAcross' && /compiling script/i.test(message)) {
        this.#across = 'tagwaitRenew';
        return this.#read(server, watchers, renews);
      }
      // a slot has moved: those keys are read again where they are now
      if (/non local key|cross.?slot|do not hash to the same slot/i.test(message))
        return watchers.map(() => null);
      throw error;
    }
  }
}

/** @param watchers "position|node node@until …", see subscribe.lua; null: none */
export function isCurrent(watchers: string | null, position: string | undefined, node: string): boolean {
  if (watchers === `${position}|${node}`) return true;
  if (watchers === null) return false;
  const bar = watchers.indexOf('|');
  if (watchers.slice(0, bar) !== position) return false;
  return watchers
    .slice(bar + 1)
    .split(' ')
    .some(name => name === node || name.startsWith(`${node}@`));
}
