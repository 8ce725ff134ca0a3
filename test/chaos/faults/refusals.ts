/** Redis answers, and refuses for a moment. */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../../harness.js';
import type { RedisServer } from '../../redis.js';
import { pause } from '../call.js';
import type { Random } from '../random.js';
import { PASSWORD, USER, userRule, type World } from '../world.js';
import { alone, everywhere, type Fault, masters } from './fault.js';

/** Every master refuses for a moment: some commands, or all of them. */
const refuse =
  (begin: (server: RedisServer) => Promise<unknown>, end: (server: RedisServer) => Promise<unknown>) =>
  async (world: World, random: Random): Promise<void> => {
    const servers = await masters(world);
    await world.cutOff(world.nodes, async () => {
      await Promise.all(servers.map(begin));
      await pause(random.between(1000, 3500));
      await Promise.all(servers.map(end));
    });
  };

const config = (server: RedisServer, name: string, value: string) => server.client.config('SET', name, value);

export const REFUSALS: Fault[] = [
  {
    name: 'password changed and changed back (CONFIG SET requirepass)',
    group: 'redis',
    kinds: ['aof'],
    run: refuse(
      async server => {
        await config(server, 'requirepass', 'another');
        for (const type of ['normal', 'pubsub']) await server.client.call('CLIENT', 'KILL', 'TYPE', type);
      },
      server => config(server, 'requirepass', PASSWORD),
    ),
  },
  {
    name: 'user deleted and made again (ACL)',
    group: 'redis',
    kinds: ['server', 'cluster'],
    run: refuse(
      server => server.client.call('ACL', 'DELUSER', USER),
      server => server.client.call('ACL', 'SETUSER', USER, ...userRule()),
    ),
  },
  {
    name: "user's password changed and changed back (ACL)",
    group: 'redis',
    kinds: ['server', 'cluster'],
    run: refuse(
      async server => {
        await server.client.call('ACL', 'SETUSER', USER, 'resetpass', '>another');
        await server.client.call('CLIENT', 'KILL', 'USER', USER);
      },
      server => server.client.call('ACL', 'SETUSER', USER, 'resetpass', `>${PASSWORD}`),
    ),
  },
  {
    name: 'READONLY (REPLICAOF and back)',
    group: 'redis',
    kinds: alone,
    run: refuse(
      // a master that is not there: the data stay
      server => server.client.replicaof('127.0.0.1', 1),
      server => server.client.replicaof('NO', 'ONE'),
    ),
  },
  {
    name: 'LOADING (DEBUG RELOAD)',
    group: 'redis',
    kinds: alone,
    async run(world, random) {
      const [server] = world.servers as [RedisServer];
      const keys = Math.max(1, await server.client.dbsize());
      await config(server, 'loading-process-events-interval-bytes', '1024');
      // microseconds for each key
      await config(server, 'key-load-delay', String(Math.round((random.between(1, 3) * 1e6) / keys)));
      await world.cutOff(world.nodes, async () => {
        await server.client.call('DEBUG', 'RELOAD');
      });
      await config(server, 'key-load-delay', '0');
      // a server without persistence does not find it when it is started again
      rmSync(join(await folderOf(server), 'dump.rdb'), { force: true });
    },
  },
  {
    name: 'OOM (maxmemory 1)',
    group: 'redis',
    kinds: everywhere,
    run: refuse(
      server => config(server, 'maxmemory', '1'),
      server => config(server, 'maxmemory', '0'),
    ),
  },
  {
    name: 'MISCONF (a BGSAVE that fails)',
    group: 'redis',
    kinds: alone,
    run: refuse(
      async server => {
        // the file cannot be renamed to the name of a directory
        mkdirSync(join(await folderOf(server), 'dump.rdb'), { recursive: true });
        await config(server, 'save', '3600 1000000');
        await server.client.bgsave();
        await until(async () => (await server.client.info('persistence')).includes('last_bgsave_status:err'));
      },
      async server => {
        await config(server, 'save', '');
        rmSync(join(await folderOf(server), 'dump.rdb'), { recursive: true });
      },
    ),
  },
  {
    name: 'BUSY (a script that does not end)',
    group: 'redis',
    kinds: alone,
    async run(world, random) {
      const [server] = world.servers as [RedisServer];
      await config(server, 'lua-time-limit', '100');
      const other = server.client.duplicate();
      await world.cutOff(world.nodes, async () => {
        const script = other.eval('while true do end', 0).catch(() => {});
        await pause(random.between(1000, 3500));
        await server.client.script('KILL');
        await script;
      });
      other.disconnect();
    },
  },
];

const folderOf = async (server: RedisServer) =>
  ((await server.client.config('GET', 'dir')) as [string, string])[1];
