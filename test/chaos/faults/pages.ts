/** What happens between pages and nodes. */
import { pause } from '../call.js';
import { everywhere, type Fault, namesOf, oneOrAll } from './fault.js';

export const PAGES: Fault[] = [
  {
    name: 'a proxy repeats and cuts polls',
    group: 'page',
    kinds: everywhere,
    async run({ network }, random) {
      Object.assign(network, { repeat: 0.3, cut: 0.3 });
      await pause(random.between(2000, 4000));
      Object.assign(network, { repeat: 0, cut: 0 });
    },
  },
  {
    name: 'pages leave and come back in every phase',
    group: 'page',
    kinds: everywhere,
    async run({ network }, random) {
      const { leave } = network;
      network.leave = 0.7;
      await pause(random.between(3000, 6000));
      network.leave = leave;
    },
  },
  {
    name: 'all pages of a node are cut and come back within 2 s',
    group: 'page',
    kinds: everywhere,
    async run(world, random) {
      const nodes = oneOrAll(world, random);
      world.note(namesOf(nodes));
      for (const node of nodes) node.cutPages();
    },
  },
  {
    name: 'connections of pages half-open',
    group: 'page',
    kinds: everywhere,
    async run(world, random) {
      const nodes = oneOrAll(world, random);
      world.note(namesOf(nodes));
      for (const { front } of nodes) front.halfOpen();
    },
  },
  {
    name: 'pages on a slow line: 200 ms each way',
    group: 'page',
    kinds: everywhere,
    async run(world, random) {
      const nodes = oneOrAll(world, random);
      world.note(namesOf(nodes));
      for (const { front } of nodes) front.delay(200);
      await pause(random.between(2000, 5000));
      for (const { front } of nodes) front.heal();
    },
  },
];
