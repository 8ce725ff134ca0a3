/** What a fault is, and what several of them use. */
import type { RedisServer } from '../../redis.js';
import type { Monitor } from '../monitor.js';
import type { Random } from '../random.js';
import type { Kind, Node, World } from '../world.js';

export interface Fault {
  name: string;
  /** of two faults at once, each is of another group */
  group: 'redis' | 'path' | 'node' | 'page';
  kinds: readonly Kind[];
  /** Redis may lose what it acknowledged before: no persistence, or a failover without WAIT */
  loses?: true;
  /** takes 10 s or more, or needs a node with workers: left out of short runs */
  long?: true;
  run(world: World, random: Random, monitor: Monitor): Promise<void>;
}

export const everywhere = ['server', 'aof', 'sentinel', 'cluster'] as const;
/** One Redis server, which nobody replaces when it does not answer. */
export const alone = ['server', 'aof'] as const;

/** One of the nodes that run, or all of them. */
export function oneOrAll(world: World, random: Random): Node[] {
  const nodes = world.alive();
  return random.next() < 0.5 ? nodes : [random.pick(nodes)];
}
export const namesOf = (nodes: readonly Node[]) => nodes.map(({ name }) => name).join(', ');

const roleOf = async (server: RedisServer) =>
  (await server.client.info('replication')).match(/role:(\w+)/)?.[1];
export async function masters({ servers }: Pick<World, 'servers'>): Promise<RedisServer[]> {
  const roles = await Promise.all(servers.map(roleOf));
  return servers.filter((_, index) => roles[index] === 'master');
}

/** A moment in which connections break and nothing else happens: Redis can be reached right after it. */
export const broken = (world: World, nodes: readonly Node[], work: () => Promise<void> | void) =>
  world.cutOff(nodes, async () => work());
