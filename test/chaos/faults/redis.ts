/** Redis stops, dies, forgets, fails over, or moves its keys. */
import slotOf from 'cluster-key-slot';
import { Redis } from 'ioredis';
import { until } from '../../harness.js';
import { BY_ITSELF, type RedisServer } from '../../redis.js';
import { pause } from '../call.js';
import type { Random } from '../random.js';
import type { World } from '../world.js';
import { alone, broken, everywhere, type Fault, masters } from './fault.js';

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

type Act = (server: RedisServer) => Promise<unknown>;

/** Ends a master, waits until a replica took its place, and lets it go on as the replica that it now is. */
async function failover(world: World, random: Random, end: Act, goOn: Act): Promise<void> {
  const before = await masters(world);
  const ending = random.pick(before);
  const others = { servers: world.servers.filter(server => server !== ending) };
  await world.cutOff(world.nodes, async () => {
    await end(ending);
    await until(async () => (await masters(others)).length === before.length, BY_ITSELF);
    await agreed(world, ending);
  });
  world.note('a replica is the master now');
  await goOn(ending);
  const isReplica = async () => (await ending.client.info('replication')).includes('master_link_status:up');
  await until(isReplica, BY_ITSELF);
}
const crash = (world: World, random: Random) =>
  failover(
    world,
    random,
    server => server.kill(),
    server => server.start(),
  );

/** Stops the one server for a while: nothing is closed, nothing is answered. */
const stop = (least: number, most: number) => async (world: World, random: Random) => {
  const [server] = world.servers as [RedisServer];
  await world.cutOff(world.nodes, async () => {
    server.process.kill('SIGSTOP');
    await pause(random.between(least, most) * 1000);
    server.process.kill('SIGCONT');
  });
};

async function restart(world: World, random: Random): Promise<void> {
  const [server] = world.servers as [RedisServer];
  await world.cutOff(world.nodes, async () => {
    await server.kill();
    await pause(random.between(200, 3000));
    await server.start();
  });
}

/** Deletes a share of the keys with this in their names, as an eviction does. */
async function evict(world: World, random: Random, pattern: string, share: number): Promise<number> {
  let count = 0;
  for (const server of await masters(world)) {
    const found: string[] = [];
    for await (const keys of server.client.scanStream({ match: pattern, count: 1000 }))
      found.push(...(keys as string[]));
    for (const key of found) if (random.next() < share) count += await server.client.unlink(key);
  }
  return count;
}

/** Moves the slot of one key to another master, live. */
async function moveSlot(world: World, random: Random): Promise<void> {
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
}

export const REDIS: Fault[] = [
  {
    name: 'CLIENT KILL TYPE pubsub',
    group: 'redis',
    kinds: everywhere,
    run: world =>
      broken(world, world.nodes, async () => {
        for (const { client } of world.servers) await client.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
      }),
  },
  {
    // a Sentinel would take such a master for dead
    name: 'CLIENT PAUSE for 2 to 4 s',
    group: 'redis',
    kinds: ['server', 'aof', 'cluster'],
    async run(world, random) {
      const ms = Math.round(random.between(2000, 4000));
      const servers = await masters(world);
      await world.cutOff(world.nodes, async () => {
        for (const { client } of servers) await client.call('CLIENT', 'PAUSE', String(ms), 'ALL');
        await pause(ms);
      });
    },
  },
  { name: 'Redis SIGSTOP for 2 to 4 s', group: 'redis', kinds: alone, run: stop(2, 4) },
  { name: 'Redis SIGSTOP for 10 to 15 s', group: 'redis', kinds: alone, long: true, run: stop(10, 15) },
  {
    name: 'eviction of watchers',
    group: 'redis',
    kinds: everywhere,
    run: (world, random) =>
      world.missing(world.nodes, async () => {
        world.note(`${await evict(world, random, '*:w:*', 0.5)} evicted`);
      }),
  },
  {
    name: 'eviction of node markers',
    group: 'redis',
    kinds: everywhere,
    run: (world, random) =>
      world.missing(world.nodes, async () => {
        world.note(`${await evict(world, random, '*:m:*', 0.7)} evicted`);
      }),
  },
  {
    name: 'FLUSHALL',
    group: 'redis',
    kinds: everywhere,
    loses: true,
    run: world =>
      world.missing(world.nodes, async () => {
        for (const { client } of await masters(world)) await client.flushall();
      }),
  },
  { name: 'Redis SIGKILL and restart, AOF', group: 'redis', kinds: ['aof'], run: restart },
  {
    name: 'Redis SIGKILL and restart, no persistence',
    group: 'redis',
    kinds: ['server'],
    loses: true,
    run: restart,
  },
  { name: 'Sentinel failover', group: 'redis', kinds: ['sentinel'], loses: true, run: crash },
  { name: 'Cluster failover', group: 'redis', kinds: ['cluster'], loses: true, run: crash },
  {
    name: 'Cluster master SIGSTOP until it is replaced',
    group: 'redis',
    kinds: ['cluster'],
    loses: true,
    run: (world, random) =>
      failover(
        world,
        random,
        async server => server.process.kill('SIGSTOP'),
        async server => server.process.kill('SIGCONT'),
      ),
  },
  {
    name: 'Cluster slot move',
    group: 'redis',
    kinds: ['cluster'],
    run: (world, random) => world.missing(world.nodes, () => moveSlot(world, random)),
  },
];
