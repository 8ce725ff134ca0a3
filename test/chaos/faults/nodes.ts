/** Nodes and their workers are killed, or stopped for a while. */
import { pause } from '../call.js';
import type { Random } from '../random.js';
import type { Node, World } from '../world.js';
import { everywhere, type Fault } from './fault.js';

/** A node with more than one process. */
const withWorkers = ({ nodes }: World): Node | undefined => nodes.find(({ workers }) => workers > 1);

/** One worker is stopped for a while: its connections hang, and every second new one. */
const stopWorker = (least: number, most: number) => async (world: World, random: Random) => {
  const node = withWorkers(world);
  if (!node) return;
  const pid = random.pick(node.workerPids());
  await world.cutOff([node], async () => {
    process.kill(pid, 'SIGSTOP');
    await pause(random.between(least, most) * 1000);
    // it may have been killed and replaced meanwhile
    if (node.workerPids().includes(pid)) process.kill(pid, 'SIGCONT');
  });
};

export const NODES: Fault[] = [
  {
    name: 'node SIGKILL and restart',
    group: 'node',
    kinds: everywhere,
    async run(world, random, monitor) {
      const node = random.pick(world.nodes);
      world.note(node.name);
      const died = await monitor.witness(world, node, random);
      await node.kill();
      died();
      await pause(random.between(200, 2000));
      await node.start();
    },
  },
  {
    name: 'node SIGSTOP for 2 to 4 s',
    group: 'node',
    kinds: everywhere,
    async run(world, random) {
      const node = random.pick(world.nodes);
      world.note(node.name);
      await world.cutOff([node], async () => {
        node.signal('SIGSTOP');
        await pause(random.between(2000, 4000));
        node.signal('SIGCONT');
      });
    },
  },
  {
    name: 'node SIGSTOP for 13 s, its connections half-open',
    group: 'node',
    kinds: everywhere,
    long: true,
    async run(world, random, monitor) {
      const node = random.pick(world.nodes);
      world.note(node.name);
      const died = await monitor.witness(world, node, random);
      await world.cutOff([node], async () => {
        node.signal('SIGSTOP');
        died();
        // as of a machine that lost its power: neither pages nor Redis hear of it
        await pause(13_000);
        for (const path of node.paths) path.cut();
        node.signal('SIGCONT');
      });
    },
  },
  {
    name: 'worker SIGKILL',
    group: 'node',
    kinds: everywhere,
    long: true,
    async run(world, random) {
      const node = withWorkers(world);
      if (!node) return;
      await world.cutOff([node], async () => {
        process.kill(random.pick(node.workerPids()), 'SIGKILL');
      });
    },
  },
  {
    name: 'worker SIGSTOP for 2 to 4 s',
    group: 'node',
    kinds: everywhere,
    long: true,
    run: stopWorker(2, 4),
  },
  {
    name: 'worker SIGSTOP for 12 s',
    group: 'node',
    kinds: everywhere,
    long: true,
    run: stopWorker(12, 12),
  },
];
