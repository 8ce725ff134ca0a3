/** The ways Redis is run: users and TLS, Sentinel, Cluster, replicas that must have it. */
import { execFileSync } from 'node:child_process';
import slotOf from 'cluster-key-slot';
import { expect, test } from 'vitest';
import { held, poll, service, set, spawned, until } from './harness.js';
import { line } from './line.js';
import { sideBySide } from './owner.js';
import { page } from './page.js';
import {
  BY_ITSELF,
  certificate,
  type RedisServer,
  redisCluster,
  redisSentinels,
  redisServer,
  refused,
  userOfDocs,
} from './redis.js';

sideBySide();

/** As backends do: again with the same id until it is acknowledged. */
async function setUntilStored(internalUrl: string, body: Record<string, unknown>, within?: number) {
  const id = Math.random().toString(36).slice(2);
  const stored = async () => {
    const reply = await set(internalUrl, { ...body, id });
    return reply.status === 200 && reply;
  };
  return until(stored, { every: 100, ...(within && { within }) });
}

/** A page of one node hears what is set on the other, and `lost` is counted: all scripts have run. */
async function speaks(one: Reached, two: Reached, key = 'a'): Promise<void> {
  const hearing = page(one.publicUrl, key);
  await held(two.internalUrl, key, 1);
  const first = await setUntilStored(two.internalUrl, { key, value: 1, expect: '' });
  expect(first.body.watched).toBe(true);
  await hearing.hears(1);
  for (let value = 2; value < 20; value++) await set(two.internalUrl, { key, value });
  expect((await poll(two.publicUrl, { key })).lost).toBeGreaterThan(0);
  hearing.stop();
}
type Reached = { publicUrl: string; internalUrl: string };
const ready = ({ internalUrl }: Reached) =>
  until(async () => (await fetch(`${internalUrl}/readyz`)).status === 200);

test.concurrent('one server, database 1, Unix socket: the user in the docs may do what it must, and nothing else', async () => {
  const redis = await redisServer([...userOfDocs('s3:c/r@t'), '--unixsocket', 'redis.sock']);
  const [, folder = ''] = (await redis.client.config('GET', 'dir')) as string[];
  const over = {
    tcp: `redis://tagwait:s3%3Ac%2Fr%40t@127.0.0.1:${redis.port}/1`,
    socket: `unix://tagwait:s3%3Ac%2Fr%40t@${folder}/redis.sock?db=1`,
  };
  const one = await service({ redisUrl: over.tcp });
  const two = await service({ redisUrl: over.socket });
  await speaks(one, two);
  expect(await redis.client.dbsize()).toBe(0);
  await until(async () => !(await set(one.internalUrl, { key: 'a', value: 3 })).body.watched, {
    within: 40_000,
  });
  expect(await refused([redis])).toEqual([]);
  for (const command of [
    ['GET', 'other'],
    ['FLUSHALL'],
    ['KEYS', '*'],
    ['CONFIG', 'GET', '*'],
    ['PUBLISH', 'other', 'x'],
  ])
    expect(
      () => execFileSync('redis-cli', ['-e', '-u', over.tcp, ...command], { stdio: 'pipe' }),
      command.join(' '),
    ).toThrow(/NOPERM/);
});

test.concurrent('a user that may not select the database any more is refused, and nothing is written into database 0', async () => {
  const redis = await redisServer(userOfDocs('s3cret'));
  const node = await service({ redisUrl: `redis://tagwait:s3cret@127.0.0.1:${redis.port}/1` });
  await ready(node);
  await redis.client.call('ACL', 'SETUSER', 'tagwait', '-select');
  await redis.client.call('CLIENT', 'KILL', 'USER', 'tagwait');
  await until(async () => (await fetch(`${node.internalUrl}/readyz`)).status === 503);
  await until(async () => (await refused([redis])).filter(command => command === 'select').length > 0);
  expect((await set(node.internalUrl, { key: 'a', value: 1 })).status).toBe(503);
  await redis.client.call('ACL', 'SETUSER', 'tagwait', '+select');
  await ready(node);
  expect((await set(node.internalUrl, { key: 'a', value: 1 })).status).toBe(200);
  expect(await redis.client.dbsize()).toBe(0);
});

test.concurrent('Sentinel, TLS, certificates of host names, a password of its own, a database, WAIT: the user in the docs', async () => {
  const secure = certificate();
  const auth = [...userOfDocs('s3cret'), '--requirepass', 'admin', '--masterauth', 'admin'];
  const { master, replicas, setting, name } = await redisSentinels(1, auth, undefined, {
    password: 'of the Sentinels',
    secure,
  });
  const way = await line(master.tlsPort);
  const settings = {
    TAGWAIT_REDIS_SENTINELS: `rediss://tagwait:s3cret@${setting}/3`,
    TAGWAIT_REDIS_MASTER: name,
    TAGWAIT_REDIS_SENTINEL_PASSWORD: 'of the Sentinels',
    TAGWAIT_REDIS_WAIT: '1',
    NODE_EXTRA_CA_CERTS: secure.file,
  };
  const one = await spawned(settings);
  const two = await spawned({
    ...settings,
    TAGWAIT_REDIS_NAT: `localhost:${master.tlsPort}=localhost:${way.port}`,
  });
  await Promise.all([ready(one), ready(two)]);
  expect(way.connections, 'the NAT map is used').toBe(3);
  await speaks(one, two);
  expect(await master.client.info('keyspace')).toMatch(/^db3:/m);
  expect(await master.client.info('keyspace')).not.toMatch(/^db0:/m);
  expect(await refused([master, ...replicas])).toEqual([]);
  for (const { output } of [one, two]) for (const text of output.stderr.trim().split('\n')) JSON.parse(text);
});

const version = Number(
  /v=(\d+)/.exec(execFileSync('redis-server', ['--version'], { encoding: 'utf8' }))?.[1],
);

// a Redis before 7 knows no names of its nodes: there is no such Cluster
const namesNodes = version >= 7;
if (namesNodes)
  test.concurrent('Cluster, TLS, certificates of host names, a NAT map: the user in the docs', async () => {
    const secure = certificate();
    const { nodes, setting } = await redisCluster(0, undefined, userOfDocs('s3cret'), secure);
    const settings = {
      TAGWAIT_REDIS_CLUSTER: `rediss://tagwait:s3cret@${setting}`,
      NODE_EXTRA_CA_CERTS: secure.file,
    };
    const ways = await Promise.all(nodes.map(({ tlsPort }) => line(tlsPort)));
    const nat = nodes.map(({ tlsPort }, index) => `localhost:${tlsPort}=localhost:${ways[index]?.port}`);
    const one = await spawned(settings);
    const two = await spawned({ ...settings, TAGWAIT_REDIS_NAT: nat.join(',') });
    await Promise.all([ready(one), ready(two)]);
    for (const key of ['a', 'b', 'c']) await speaks(one, two, key);
    for (const way of ways) expect(way.connections, 'the NAT map is used').toBeGreaterThan(0);

    // a slot that moves: Redis answers ASK for a key that it does not have
    const slot = slotOf('fresh');
    const owns = await Promise.all(nodes.map(({ client }) => client.exists('{fresh}').catch(() => 1)));
    const from = nodes[owns.indexOf(0)] as RedisServer;
    const to = nodes[(owns.indexOf(0) + 1) % 3] as RedisServer;
    const id = async ({ client }: RedisServer) => (await client.cluster('MYID')) as string;
    await to.client.cluster('SETSLOT', slot, 'IMPORTING', await id(from));
    await from.client.cluster('SETSLOT', slot, 'MIGRATING', await id(to));
    const peek = async () => (await fetch(`${two.internalUrl}/status/peek?key=fresh`)).status;
    expect(await peek()).toBe(200);
    expect(await refused(nodes)).toEqual([]);
    for (const { client } of nodes) await client.call('ACL', 'SETUSER', 'tagwait', '-asking');
    await peek();
    expect((await fetch(`${two.internalUrl}/healthz`)).status, 'a refused ASKING ends nothing').toBe(200);
  });

test.concurrent('Cluster: while a slot moves, and after, sets beside other sets and peeks are answered', async () => {
  const { nodes, setting } = await redisCluster(0);
  const { publicUrl, internalUrl } = await service({ redisCluster: setting.split(',') });
  await ready({ publicUrl, internalUrl });
  const has = (key: string) => (node: RedisServer) =>
    node.client.exists(`{${key}}`).then(
      () => true,
      () => false,
    );
  const owner = async (key: string) =>
    nodes[(await Promise.all(nodes.map(has(key)))).indexOf(true)] as RedisServer;
  const from = await owner('moves');
  const to = nodes.find(node => node !== from) as RedisServer;
  const stay: string[] = [];
  for (let i = 0; stay.length < 6; i++) if ((await owner(`k${i}`)) === from) stay.push(`k${i}`);
  const keys = [...stay, 'moves'];
  const sets = async () => {
    for (let value = 0; value < 5; value++)
      for (const { status, body } of await Promise.all(keys.map(key => set(internalUrl, { key, value }))))
        expect([status, body.detail]).toEqual([200, undefined]);
    expect((await fetch(`${internalUrl}/status/peek?key=moves`)).status).toBe(200);
  };
  // a watched key is two names of its slot: where one of two has moved, Redis has every client wait
  page(publicUrl, 'moves');
  await held(internalUrl, 'moves', 1);
  await sets();
  const slot = slotOf('moves');
  const id = async ({ client }: RedisServer) => (await client.cluster('MYID')) as string;
  await to.client.cluster('SETSLOT', slot, 'IMPORTING', await id(from));
  await from.client.cluster('SETSLOT', slot, 'MIGRATING', await id(to));
  for (const name of await from.client.cluster('GETKEYSINSLOT', slot, 100))
    await from.client.migrate('127.0.0.1', to.port, name, 0, 5000);
  await sets();
  for (const node of [to, from, ...nodes]) await node.client.cluster('SETSLOT', slot, 'NODE', await id(to));
  await sets();
});

/** A master and a replica, and a page on one of two nodes that has heard 1. */
async function overSentinels() {
  const { master, replicas, setting, name } = await redisSentinels(1);
  const settings = { redisSentinels: setting.split(','), redisMaster: name };
  const holder = await service(settings);
  const setter = await service(settings);
  const one = page(holder.publicUrl, 'a');
  await held(setter.internalUrl, 'a', 1);
  await setUntilStored(setter.internalUrl, { key: 'a', value: 1 });
  await one.hears(1);
  return { master, replicas, setter, one };
}

test.concurrent('Sentinel: the master dies, its replica takes over, pages hear what is set after', async () => {
  const { master, replicas, setter, one } = await overSentinels();
  await until(async () => (await replicas[0]?.client.exists('tagwait:1:{a}')) === 1);
  await master.kill();
  await setUntilStored(setter.internalUrl, { key: 'a', value: 2 }, BY_ITSELF.within);
  await one.hears(2);
  await setUntilStored(setter.internalUrl, { key: 'a', value: 3 });
  await one.hears(3);
  expect(one.heard).toEqual([1, 2, 3]);
});

test.concurrent('Sentinel: a master that was cut off and replaced is left for the new one', async () => {
  const { master, replicas, setter, one } = await overSentinels();
  master.process.kill('SIGSTOP');
  await until(
    async () => (await replicas[0]?.client.info('replication'))?.includes('role:master'),
    BY_ITSELF,
  );
  master.process.kill('SIGCONT');
  await setUntilStored(setter.internalUrl, { key: 'a', value: 2 });
  await one.hears(2);
  expect(one.heard).toEqual([1, 2]);
});

test.concurrent('redisWait: a set that the replica does not have is not acknowledged, and its retry stores it once', async () => {
  const master = await redisServer(['--repl-diskless-sync-delay', '0']);
  const replica = await redisServer(['--replicaof', `127.0.0.1 ${master.port}`]);
  const linked = async () => (await master.client.info('replication')).includes('state=online');
  await until(linked);
  const { publicUrl, internalUrl } = await service({ redisUrl: master.url, redisWait: 1 });
  await setUntilStored(internalUrl, { key: 'a', value: 1 });
  replica.process.kill('SIGSTOP');
  const refused = await set(internalUrl, { key: 'a', value: 2, id: 'x' });
  expect(refused).toMatchObject({
    status: 503,
    body: { detail: expect.stringContaining('0 of 1 replicas') },
  });
  const late = await set(internalUrl, { key: 'a', value: 3, expect: '' });
  expect(late.status, 'a conflict is one whatever the replica has').toBe(409);
  replica.process.kill('SIGCONT');
  await until(async () => (await set(internalUrl, { key: 'a', value: 2, id: 'x' })).status === 200);
  expect(await poll(publicUrl, { key: 'a' })).toMatchObject({ data: 2, earlier: [1] });
  expect(await replica.client.hget('tagwait:1:{a}', 'n')).toBe('2');
});

test.concurrent('Cluster: keys on every shard, held here and set there; a slot moves; a master dies', async () => {
  const { nodes, setting } = await redisCluster(1);
  const settings = { redisCluster: setting.split(',') };
  const holder = await service(settings);
  const setter = await service(settings);
  const keys = Array.from({ length: 12 }, (_, number) => `key${number}`);
  const pages = keys.map(key => page(holder.publicUrl, key));
  for (const key of keys) await held(setter.internalUrl, key, 1);
  for (const key of keys)
    expect((await setUntilStored(setter.internalUrl, { key, value: 1 })).body.watched).toBe(true);
  for (const one of pages) await one.hears(1);

  const masters = nodes.slice(0, 3);
  const ids = await Promise.all(masters.map(async node => (await node.client.cluster('MYID')) as string));
  const slot = slotOf('key0');
  const owner = await until(async () => {
    for (const [index, node] of masters.entries())
      if ((await node.client.cluster('COUNTKEYSINSLOT', slot)) as number) return index + 1;
    return false;
  });
  const [from, to] = [owner - 1, owner % 3];
  const at = (index: number) => masters[index] as (typeof masters)[number];
  await at(to).client.cluster('SETSLOT', slot, 'IMPORTING', ids[from] as string);
  await at(from).client.cluster('SETSLOT', slot, 'MIGRATING', ids[to] as string);
  const moving = (await at(from).client.cluster('GETKEYSINSLOT', slot, 100)) as string[];
  expect(moving.length).toBeGreaterThan(0);
  await at(from).client.call('MIGRATE', '127.0.0.1', String(at(to).port), '', '0', '5000', 'KEYS', ...moving);
  for (const index of [to, from, 3 - from - to])
    await at(index).client.cluster('SETSLOT', slot, 'NODE', ids[to] as string);
  for (const key of keys) await setUntilStored(setter.internalUrl, { key, value: 2 });
  for (const one of pages) await one.hears(2);

  await at(to).kill();
  for (const key of keys) await setUntilStored(setter.internalUrl, { key, value: 3 }, 40_000);
  for (const one of pages) await one.hears(3, 20_000);
  for (const one of pages) expect(one.heard).toEqual([1, 2, 3]);
});

test.concurrent('Sentinel and Cluster behind a password', async () => {
  const auth = ['--requirepass', 's3cret', '--masterauth', 's3cret'];
  const at = (setting: string) => setting.replace(/^/, 'redis://default:s3cret@').split(',');
  const { setting: cluster } = await redisCluster(0, undefined, auth);
  const { setting: sentinels, name } = await redisSentinels(1, auth);
  for (const settings of [
    { redisCluster: at(cluster) },
    { redisSentinels: at(sentinels), redisMaster: name },
  ]) {
    const { publicUrl, internalUrl } = await service(settings);
    const one = page(publicUrl, 'a');
    await held(internalUrl, 'a', 1);
    await set(internalUrl, { key: 'a', value: 1 });
    await one.hears(1);
  }
});
