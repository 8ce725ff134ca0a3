/** The faults: what happens, and whether Redis itself loses acknowledged values by it. */
import slotOf from 'cluster-key-slot';
import { Redis } from 'ioredis';
import { until } from '../harness.js';
import { BY_ITSELF, type RedisServer } from '../redis.js';
import type { Front } from './proxy.js';
import type { Random } from './random.js';
import type { Kind, World } from './world.js';

export interface Fault {
  name: string;
  kinds: readonly Kind[];
  /** Redis may lose what it acknowledged before: no persistence, or a failover without WAIT */
  loses: boolean;
  run(world: World, random: Random, front: Front): Promise<void>;
}

const pause = (ms: number) => new Promise(resolve => setTimeout(resolve, ms));
const everywhere = ['server', 'aof', 'sentinel', 'cluster'] as const;

const roleOf = async (server: RedisServer) =>
  (await server.client.info('replication')).match(/role:(\w+)/)?.[1];
async function masters(world: World): Promise<RedisServer[]> {
  const roles = await Promise.all(world.servers.map(server => roleOf(server)));
  return world.servers.filter((_, index) => roles[index] === 'master');
}

/**
 * Waits until no Sentinel names the dead master any more. One that came back before would be a second master for some
 * seconds, and Redis would acknowledge values on both: docs/redis.md says what to do against that.
 */
async function agreed({ settings }: World, dead: RedisServer): Promise<void> {
  const { TAGWAIT_REDIS_SENTINELS: sentinels, TAGWAIT_REDIS_MASTER: name } = settings;
  for (const address of sentinels?.split(',') ?? []) {
    const sentinel = new Redis({ port: Number(address.split(':')[1]) });
    const names = () =>
      sentinel.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', name as string) as Promise<string[]>;
    await until(async () => (await names())[1] !== String(dead.port), BY_ITSELF);
    sentinel.disconnect();
  }
}

/** Kills a master, waits until a replica took its place, and starts it again as the replica that it now is. */
async function failover(world: World, random: Random): Promise<void> {
  const before = await masters(world);
  const dying = random.pick(before);
  await dying.kill();
  const others = world.servers.filter(server => server !== dying);
  await until(async () => {
    const roles = await Promise.all(others.map(server => roleOf(server)));
    return roles.filter(role => role === 'master').length === before.length;
  }, BY_ITSELF);
  await agreed(world, dying);
  await dying.start();
  await until(
    async () => (await dying.client.info('replication')).includes('master_link_status:up'),
    BY_ITSELF,
  );
}

export const FAULTS: Fault[] = [
  {
    name: 'node SIGKILL and restart',
    kinds: everywhere,
    loses: false,
    async run({ nodes }, random) {
      const node = random.pick(nodes);
      await node.kill();
      await pause(random.between(200, 2000));
      await node.start();
    },
  },
  {
    name: 'node SIGSTOP for 10 s',
    kinds: everywhere,
    loses: false,
    async run({ nodes }, random) {
      const { process } = random.pick(nodes).now;
      process.kill('SIGSTOP');
      await pause(10_000);
      process.kill('SIGCONT');
    },
  },
  {
    name: 'CLIENT KILL TYPE pubsub',
    kinds: everywhere,
    loses: false,
    async run({ servers }) {
      for (const server of servers) await server.client.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    },
  },
  {
    name: 'proxy repeats and cuts polls',
    kinds: everywhere,
    loses: false,
    async run(_, random, { bad }) {
      Object.assign(bad, { repeat: 0.3, cut: 0.3 });
      await pause(random.between(2000, 4000));
      Object.assign(bad, { repeat: 0, cut: 0 });
    },
  },
  {
    name: 'FLUSHALL',
    kinds: everywhere,
    loses: true,
    async run(world) {
      for (const server of await masters(world)) await server.client.flushall();
    },
  },
  {
    name: 'Redis SIGKILL and restart, AOF',
    kinds: ['aof'],
    loses: false,
    async run({ servers: [server] }, random) {
      await server?.kill();
      await pause(random.between(200, 3000));
      await server?.start();
    },
  },
  {
    name: 'Redis SIGKILL and restart, no persistence',
    kinds: ['server'],
    loses: true,
    async run({ servers: [server] }, random) {
      await server?.kill();
      await pause(random.between(200, 3000));
      await server?.start();
    },
  },
  { name: 'Sentinel failover', kinds: ['sentinel'], loses: true, run: failover },
  { name: 'Cluster failover', kinds: ['cluster'], loses: true, run: failover },
  {
    name: 'Cluster slot move',
    kinds: ['cluster'],
    loses: false,
    async run(world, random) {
      const [from, to] = (await masters(world)).sort(() => random.next() - 0.5) as [RedisServer, RedisServer];
      const slots = (await from.client.cluster('SLOTS')) as unknown as [number, number, [string, number]][];
      const owned = slots.find(([, , [, port]]) => port === from.port);
      const key = Array.from({ length: 500 }, (_, number) => `k${number}`).find(name =>
        owned ? slotOf(name) >= owned[0] && slotOf(name) <= owned[1] : false,
      );
      if (!owned || !key) return;
      const slot = slotOf(key);
      const id = async (server: RedisServer) => (await server.client.cluster('MYID')) as string;
      await to.client.cluster('SETSLOT', slot, 'IMPORTING', await id(from));
      await from.client.cluster('SETSLOT', slot, 'MIGRATING', await id(to));
      for (;;) {
        const keys = (await from.client.cluster('GETKEYSINSLOT', slot, 100)) as string[];
        if (keys.length === 0) break;
        await from.client.call('MIGRATE', '127.0.0.1', String(to.port), '', '0', '5000', 'KEYS', ...keys);
      }
      const owner = await id(to);
      for (const server of [to, from, ...(await masters(world))])
        await server.client.cluster('SETSLOT', slot, 'NODE', owner);
    },
  },
];
