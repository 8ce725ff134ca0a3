/** The ways Redis is run: users and TLS, Sentinel, Cluster, replicas that must have it. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import slotOf from 'cluster-key-slot';
import { expect, onTestFinished, test } from 'vitest';
import { held, poll, service, set, spawned, until } from './harness.js';
import { page } from './page.js';
import { BY_ITSELF, freePort, redisCluster, redisSentinels, redisServer } from './redis.js';

/** As backends do: again with the same id until it is acknowledged. */
async function setUntilStored(internalUrl: string, body: Record<string, unknown>, within = 20_000) {
  const id = Math.random().toString(36).slice(2);
  return until(async () => (await set(internalUrl, { ...body, id })).status === 200, { within, every: 100 });
}

test('the ACL in the docs is enough, and lets nothing else be touched', { timeout: 30_000 }, async () => {
  const docs = readFileSync(new URL('../docs/redis.md', import.meta.url), 'utf8');
  const rule = /ACL SETUSER tagwait .*/.exec(docs)?.[0] as string;
  expect(rule).toContain('>PASSWORD');
  const redis = await redisServer();
  await redis.client.call('ACL', ...rule.replace('>PASSWORD', '>s3cret').split(' ').slice(1));
  const url = `redis://tagwait:s3cret@127.0.0.1:${redis.port}`;
  const one = await service({ redisUrl: url });
  const two = await service({ redisUrl: url });
  const hearing = page(one.publicUrl, 'a');
  await held(two.internalUrl, 'a', 1);
  expect((await set(two.internalUrl, { key: 'a', value: 1, id: 'x', expect: '' })).body.watched).toBe(true);
  await hearing.hears(1);
  for (let value = 2; value < 40; value++) await set(two.internalUrl, { key: 'a', value });
  expect((await poll(two.publicUrl, { key: 'a' })).lost).toBeGreaterThan(0);
  hearing.stop();
  await until(async () => !(await set(one.internalUrl, { key: 'a', value: 3 })).body.watched, {
    within: 15_000,
  });
  for (const command of [
    ['GET', 'other'],
    ['FLUSHALL'],
    ['KEYS', '*'],
    ['CONFIG', 'GET', '*'],
    ['PUBLISH', 'other', 'x'],
  ])
    expect(
      () => execFileSync('redis-cli', ['-e', '-u', url, ...command], { stdio: 'pipe' }),
      command.join(' '),
    ).toThrow(/NOPERM/);
  const denied = (await redis.client.call('ACL', 'LOG')) as string[][];
  expect(
    denied.filter(
      entry =>
        !['other', 'flushall', 'keys', 'config|get', 'config'].includes(
          entry[entry.indexOf('object') + 1] as string,
        ),
    ),
  ).toEqual([]);
});

test('rediss:// with a certificate', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tagwait-tls-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
  execFileSync(
    'openssl',
    [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-days',
      '1',
      '-keyout',
      key,
      '-out',
      cert,
      '-subj',
      '/CN=localhost',
      '-addext',
      'subjectAltName=DNS:localhost,IP:127.0.0.1',
    ],
    { stdio: 'ignore' },
  );
  const port = await freePort();
  await redisServer([
    '--tls-port',
    String(port),
    '--tls-cert-file',
    cert,
    '--tls-key-file',
    key,
    '--tls-auth-clients',
    'no',
  ]);
  const node = await spawned({ TAGWAIT_REDIS_URL: `rediss://localhost:${port}`, NODE_EXTRA_CA_CERTS: cert });
  await until(async () => (await fetch(`${node.internalUrl}/readyz`)).status === 200);
  await set(node.internalUrl, { key: 'a', value: 1 });
  expect(await poll(node.publicUrl, { key: 'a' })).toMatchObject({ data: 1 });
});

test('Sentinel: the master dies, its replica takes over, pages hear what is set after', async () => {
  const { master, replicas, setting, name } = await redisSentinels(1);
  const settings = { redisSentinels: setting.split(','), redisMaster: name };
  const holder = await service(settings);
  const setter = await service(settings);
  const one = page(holder.publicUrl, 'a');
  await held(setter.internalUrl, 'a', 1);
  await setUntilStored(setter.internalUrl, { key: 'a', value: 1 });
  await one.hears(1);
  await until(async () => (await replicas[0]?.client.exists('tagwait:1:{a}')) === 1);
  await master.kill();
  await setUntilStored(setter.internalUrl, { key: 'a', value: 2 }, BY_ITSELF.within);
  await one.hears(2);
  await setUntilStored(setter.internalUrl, { key: 'a', value: 3 });
  await one.hears(3);
  expect(one.heard).toEqual([1, 2, 3]);
}, 120_000);

test('Sentinel: a master that was cut off and replaced is left for the new one', async () => {
  const { master, replicas, setting, name } = await redisSentinels(1);
  const settings = { redisSentinels: setting.split(','), redisMaster: name };
  const holder = await service(settings);
  const setter = await service(settings);
  const one = page(holder.publicUrl, 'a');
  await held(setter.internalUrl, 'a', 1);
  await setUntilStored(setter.internalUrl, { key: 'a', value: 1 });
  await one.hears(1);
  master.process.kill('SIGSTOP');
  await until(
    async () => (await replicas[0]?.client.info('replication'))?.includes('role:master'),
    BY_ITSELF,
  );
  master.process.kill('SIGCONT');
  await setUntilStored(setter.internalUrl, { key: 'a', value: 2 });
  await one.hears(2);
  expect(one.heard).toEqual([1, 2]);
}, 120_000);

test('redisWait: a set that the replica does not have is not acknowledged, and its retry stores it once', async () => {
  const master = await redisServer(['--repl-diskless-sync-delay', '0']);
  const replica = await redisServer(['--replicaof', `127.0.0.1 ${master.port}`]);
  const linked = async () => (await master.client.info('replication')).includes('state=online');
  await until(linked);
  const { publicUrl, internalUrl } = await service({ redisUrl: master.url, redisWait: 1 });
  expect((await set(internalUrl, { key: 'a', value: 1 })).status).toBe(200);
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

test('Cluster: keys on every shard, held here and set there; a slot moves; a master dies', async () => {
  const { nodes, setting } = await redisCluster(1);
  const settings = { redisCluster: setting.split(',') };
  const holder = await service(settings);
  const setter = await service(settings);
  const keys = Array.from({ length: 12 }, (_, number) => `key${number}`);
  const pages = keys.map(key => page(holder.publicUrl, key));
  for (const key of keys) await held(setter.internalUrl, key, 1);
  for (const key of keys) expect((await set(setter.internalUrl, { key, value: 1 })).body.watched).toBe(true);
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
}, 120_000);

test('Sentinel and Cluster behind a password', async () => {
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
}, 60_000);
