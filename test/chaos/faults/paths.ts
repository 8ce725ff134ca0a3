/** Faults of the network between nodes and Redis: nothing arrives, or late, or every connection breaks. */
import type { Line } from '../../line.js';
import { pause } from '../call.js';
import type { Random } from '../random.js';
import type { Node, World } from '../world.js';
import { broken, everywhere, type Fault, namesOf, oneOrAll } from './fault.js';

/** All paths of these nodes; of a Cluster now and then the paths to one of its servers. */
function pathsOf(nodes: readonly Node[], world: World, random: Random): Line[] {
  const one = world.kind === 'cluster' && random.next() < 0.5;
  const server = Math.floor(random.next() * world.servers.length);
  if (one) world.note(`only the paths to server ${server + 1} of ${world.servers.length}`);
  return nodes.flatMap(({ paths }) => (one ? [paths[server] as Line] : [...paths]));
}

function silence(seconds: number): Fault {
  return {
    name: `path to Redis silent for ${seconds} s`,
    group: 'path',
    kinds: everywhere,
    ...(seconds > 3 ? { long: true } : {}),
    async run(world, random) {
      const nodes = oneOrAll(world, random);
      const direction = random.pick(['up', 'down', 'both'] as const);
      world.note(`silent: ${direction}, ${namesOf(nodes)}`);
      const paths = pathsOf(nodes, world, random);
      await world.cutOff(nodes, async () => {
        for (const path of paths) path.swallow(direction);
        await pause(seconds * 1000);
        for (const path of paths) path.heal();
      });
    },
  };
}

function stall(least: number, most: number): Fault {
  return {
    name: `path to Redis stalls for ${least} to ${most} s, and delivers then`,
    group: 'path',
    kinds: everywhere,
    ...(most > 5 ? { long: true } : {}),
    async run(world, random) {
      const nodes = oneOrAll(world, random);
      const direction = random.pick(['up', 'down', 'both'] as const);
      world.note(`stalls: ${direction}, ${namesOf(nodes)}`);
      const paths = pathsOf(nodes, world, random);
      await world.cutOff(nodes, async () => {
        for (const path of paths) path.stall(direction);
        await pause(random.between(least, most) * 1000);
        for (const path of paths) path.heal();
      });
    },
  };
}

export const PATHS: Fault[] = [
  silence(3),
  silence(10),
  silence(60),
  stall(2, 4),
  stall(6, 10),
  {
    name: 'path to Redis slow: 200 ms each way',
    group: 'path',
    kinds: everywhere,
    async run(world, random) {
      const nodes = oneOrAll(world, random);
      world.note(`slow: ${namesOf(nodes)}`);
      for (const { paths } of nodes) for (const path of paths) path.delay(200);
      await pause(random.between(2000, 5000));
      for (const { paths } of nodes) for (const path of paths) path.heal();
    },
  },
  {
    name: 'connections to Redis reset',
    group: 'path',
    kinds: everywhere,
    async run(world, random) {
      const nodes = oneOrAll(world, random);
      world.note(`reset: ${namesOf(nodes)}`);
      const paths = pathsOf(nodes, world, random);
      await broken(world, nodes, () => {
        for (const path of paths) path.cut();
      });
    },
  },
  {
    name: 'connections to Redis half-open',
    group: 'path',
    kinds: everywhere,
    async run(world, random) {
      const nodes = oneOrAll(world, random);
      world.note(`half-open: ${namesOf(nodes)}`);
      const paths = pathsOf(nodes, world, random);
      await broken(world, nodes, () => {
        for (const path of paths) path.halfOpen();
      });
    },
  },
];
