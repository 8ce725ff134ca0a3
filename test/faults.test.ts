/** Outages of Redis: pages still get every value. The servers are real, and really killed. */
import { randomBytes } from 'node:crypto';
import { connect, createServer, type Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { RedisBroker } from '../src/brokers/redis/redis.js';
import { LongPoll } from '../src/hold/longpoll.js';
import { textOf } from '../src/protocol/answers.js';
import { held, poll, run, service, set, spawned, until } from './harness.js';
import { line } from './line.js';
import { onTestFinished, sideBySide } from './owner.js';
import { page } from './page.js';
import { certificate, freePort, redisServer, userOfDocs } from './redis.js';

sideBySide();

/** ms: before the next comparison with Redis, which comes every 10 s, and long before the end of a hold. */
const SOON = 8000;
const status = async (url: string) => (await fetch(url)).status;
const ready = (internalUrl: string) => until(async () => (await status(`${internalUrl}/readyz`)) === 200);

describe.concurrent('Redis away', () => {
  test.each([
    ['without persistence', []],
    ['with AOF', ['--appendonly', 'yes']],
  ] as [string, string[]][])(
    'killed and back %s: pages are held on, sets say 503, all are caught up at once',
    async (_, args) => {
      const redis = await redisServer(args);
      const node = await spawned({ TAGWAIT_REDIS_URL: redis.url });
      const pages = Array.from({ length: 30 }, (_, number) => page(node.publicUrl, `k${number}`));
      await held(node.internalUrl, 'k29', 1);
      await set(node.internalUrl, { key: 'k0', value: 'before' });
      await pages[0]?.hears('before');
      await held(node.internalUrl, 'k0', 1);

      await redis.kill();
      await until(async () => (await status(`${node.internalUrl}/readyz`)) === 503);
      expect(await status(`${node.internalUrl}/healthz`)).toBe(200);
      expect((await set(node.internalUrl, { key: 'k1', value: 'refused' })).status).toBe(503);
      const late = page(node.publicUrl, 'late');

      await redis.start();
      await ready(node.internalUrl);
      const back = performance.now();
      for (let number = 0; number < 30; number++)
        expect((await set(node.internalUrl, { key: `k${number}`, value: 'after' })).status).toBe(200);
      await set(node.internalUrl, { key: 'late', value: 'after' });
      for (const one of [...pages, late]) await one.hears('after');
      expect(performance.now() - back).toBeLessThan(SOON);
      expect(pages[0]?.heard).toEqual(['before', 'after']);
      expect(pages.flatMap(one => one.codes).filter(code => code !== 0)).toEqual([]);
      expect(node.process.exitCode).toBe(null);
    },
  );

  test('a hold that ends while Redis is away is answered unavailable, with a retry, and keeps its place', async () => {
    const redis = await redisServer(['--appendonly', 'yes', '--appendfsync', 'always']);
    const { publicUrl, internalUrl } = await service({ redisUrl: redis.url, hold: 0.5 });
    for (const value of [1, 2]) await set(internalUrl, { key: 'a', value });
    const { cursor = '' } = await poll(publicUrl, { key: 'a' });
    await redis.kill();
    await until(async () => (await status(`${internalUrl}/readyz`)) === 503);
    for (const key of ['a', 'other'])
      expect(await poll(publicUrl, { key, since: key === 'a' ? cursor : '' })).toEqual({
        code: -7,
        message: 'unavailable',
        retry: expect.any(Number),
      });
    const script = await fetch(`${publicUrl}/status/get?key=a&since=${cursor}&callback=cb`);
    expect([script.status, (await script.text()).slice(0, 60)]).toEqual([
      200,
      '/**/typeof cb=="function"&&cb({"code":-7,"message":"unavaila',
    ]);
    await redis.start();
    await until(async () => (await status(`${internalUrl}/readyz`)) === 200);
    await until(async () => (await poll(publicUrl, { key: 'a', since: cursor })).code === -1);
    await set(internalUrl, { key: 'a', value: 3 });
    const { code, data, earlier, lost } = await poll(publicUrl, { key: 'a', since: cursor });
    expect({ code, data, earlier, lost }).toEqual({ code: 0, data: 3, earlier: undefined, lost: undefined });
  });

  test('a node that starts before Redis waits for it', async () => {
    const port = await freePort();
    const node = await spawned({ TAGWAIT_REDIS_URL: `redis://127.0.0.1:${port}` });
    expect(await status(`${node.internalUrl}/readyz`)).toBe(503);
    const early = page(node.publicUrl, 'a');
    await redisServer([], onTestFinished, port);
    await ready(node.internalUrl);
    await set(node.internalUrl, { key: 'a', value: 1 });
    await early.hears(1);
  });

  test('an address that is a replica at the start is logged with the cause, and works once it is promoted', async () => {
    const master = await redisServer();
    const replica = await redisServer(['--replicaof', `127.0.0.1 ${master.port}`]);
    const node = await spawned({ TAGWAIT_REDIS_URL: replica.url });
    await until(() => /"cause":"127\.0\.0\.1:\d+: .*READONLY/.test(node.output.stderr));
    expect(await status(`${node.internalUrl}/readyz`)).toBe(503);
    const early = page(node.publicUrl, 'a');
    const before = await connectionsTo(replica);
    await replica.client.call('REPLICAOF', 'NO', 'ONE');
    const promoted = performance.now();
    await ready(node.internalUrl);
    expect(performance.now() - promoted, 'ms').toBeLessThan(30_000);
    await set(node.internalUrl, { key: 'a', value: 1 });
    await early.hears(1);
    expect(before, 'connections in all, of the test too').toBeLessThan(20);
  });

  test('a name that moves to another server at a failover is looked up again', async () => {
    const [old, next] = [await redisServer(), await redisServer()];
    let at = old.port;
    const name = await line(() => at);
    const node = await service({ redisUrl: `redis://127.0.0.1:${name.port}`, redisWait: 1 });
    await ready(node.internalUrl);
    at = next.port;
    await old.client.call('REPLICAOF', '127.0.0.1', String(next.port));
    await until(async () => (await next.client.info('replication')).includes('state=online'));
    await ready(node.internalUrl);
    await until(async () => (await set(node.internalUrl, { key: 'a', value: 1, id: 'x' })).status === 200);
    expect(await next.client.hget('tagwait:1:{a}', 'n')).toBe('1');
  });

  test('a server that loads its data is logged as that, and is used as soon as it has them', async () => {
    const redis = await redisServer();
    for (let key = 0; key < 100; key++)
      await redis.client.set(`k${key}`, randomBytes(1000).toString('base64'));
    await redis.client.save();
    await redis.kill();
    await redis.start(['--key-load-delay', '500000', '--loading-process-events-interval-bytes', '1024']);
    const node = await spawned({ TAGWAIT_REDIS_URL: redis.url });
    await until(() => /"cause":"127\.0\.0\.1:\d+: LOADING/.test(node.output.stderr));
    await redis.client.config('SET', 'key-load-delay', '0');
    await ready(node.internalUrl);
    expect((await set(node.internalUrl, { key: 'a', value: 1 })).status).toBe(200);
  });

  test('a server that is stopped and goes on: nothing is lost that was acknowledged', async () => {
    const redis = await redisServer();
    const { publicUrl, internalUrl } = await service({ redisUrl: redis.url });
    const one = page(publicUrl, 'a');
    await held(internalUrl, 'a', 1);
    redis.process.kill('SIGSTOP');
    const late = await set(internalUrl, { key: 'a', value: 'x', id: 'x' });
    expect(late.status).toBe(503);
    redis.process.kill('SIGCONT');
    await until(async () => (await set(internalUrl, { key: 'a', value: 'x', id: 'x' })).status === 200);
    await one.hears('x');
    await set(internalUrl, { key: 'a', value: 'end', final: true });
    await one.hears('end');
    expect(one.heard).toEqual(['x', 'end']);
  });
});

/** connections that a server has accepted since it was started */
const connectionsTo = async (redis: Awaited<ReturnType<typeof redisServer>>) =>
  Number(/total_connections_received:(\d+)/.exec(await redis.client.info('stats'))?.[1]);

test.concurrent('rediss://, a server that may evict keys: the log says what to set, and a policy that is right is passed over', async () => {
  const secure = certificate();
  const redis = await redisServer([
    ...['--maxmemory-policy', 'volatile-lru'],
    ...[...secure.args, ...userOfDocs('s3cret')],
  ]);
  const node = await spawned({
    TAGWAIT_REDIS_URL: `rediss://tagwait:s3cret@localhost:${redis.tlsPort}`,
    NODE_EXTRA_CA_CERTS: secure.file,
  });
  const warnings = () =>
    node.output.stderr
      .split('\n')
      .filter(text => text.includes('evict'))
      .map(text => JSON.parse(text) as Record<string, unknown>);
  await until(() => warnings().length > 0);
  expect(warnings()[0]).toMatchObject({
    level: 40,
    address: `localhost:${redis.tlsPort}`,
    policy: 'volatile-lru',
    msg: 'Redis may evict values and subscriptions: set maxmemory-policy to noeviction',
  });
  await redis.kill();
  await redis.start(['--maxmemory-policy', 'noeviction']);
  await until(() => node.output.stderr.includes('Redis is back'));
  expect((await set(node.internalUrl, { key: 'a', value: 1 })).status).toBe(200);
  expect(warnings()).toHaveLength(1);
});

describe.concurrent('delivery', () => {
  test('the channel breaks while a value is set: the page is caught up', async () => {
    const redis = await redisServer();
    const holder = await service({ redisUrl: redis.url });
    const setter = await service({ redisUrl: redis.url });
    const one = page(holder.publicUrl, 'a');
    await held(setter.internalUrl, 'a', 1);
    await redis.client.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await set(setter.internalUrl, { key: 'a', value: 1 });
    await one.hears(1, SOON);
    await redis.client.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await set(setter.internalUrl, { key: 'a', value: 2 });
    await one.hears(2, SOON);
    expect(one.heard).toEqual([1, 2]);
  });

  test('a lease that vanished unseen: the page is behind for a lease at most', async () => {
    const redis = await redisServer();
    const broker = (node: string, lease?: number) =>
      new RedisBroker({
        store: { kind: 'server', url: redis.url },
        prefix: 'tagwait',
        history: 4,
        wait: 0,
        node,
        lease,
        log: { info() {}, warn() {} },
      });
    const holder = new LongPoll(broker('holder', 6000), { id: 'holder', version: '0' });
    await holder.start();
    onTestFinished(() => holder.close());
    const { internalUrl } = await service({ redisUrl: redis.url });
    const answers: string[] = [];
    holder.get({ key: 'a', since: '', hold: 60_000 }, { answer: answer => answers.push(textOf(answer)) });
    await until(async () => (await redis.client.exists('tagwait:1:w:{a}')) === 1);
    await redis.client.del('tagwait:1:w:{a}');
    await set(internalUrl, { key: 'a', value: 'unheard' });
    expect(answers).toEqual([]);
    await until(() => answers.length === 1, { within: 30_000 });
    expect(answers[0]).toContain('"data":"unheard"');
  });

  test.each([
    [
      'FLUSHALL',
      async (redis: Awaited<ReturnType<typeof redisServer>>) => void (await redis.client.flushall()),
    ],
    [
      'every key expires at once, as when the clock jumps',
      async (redis: Awaited<ReturnType<typeof redisServer>>) => {
        for (const key of await redis.client.keys('*')) await redis.client.pexpire(key, 1);
        await until(
          async () =>
            (await redis.client.dbsize()) === 0 ||
            (await redis.client.keys('*')).every(key => key.includes(':m:')),
        );
      },
    ],
  ])('%s: a page with an old cursor hears the next value', async (_, disaster) => {
    const redis = await redisServer();
    const holder = await service({ redisUrl: redis.url });
    const setter = await service({ redisUrl: redis.url });
    const one = page(holder.publicUrl, 'a');
    await held(setter.internalUrl, 'a', 1);
    for (const value of [1, 2, 3]) await set(setter.internalUrl, { key: 'a', value });
    await one.hears(3);
    await held(setter.internalUrl, 'a', 1);
    await disaster(redis);
    await set(setter.internalUrl, { key: 'a', value: 4 });
    await one.hears(4, SOON);
    await set(setter.internalUrl, { key: 'a', value: 5 });
    await one.hears(5, SOON);
    expect(one.heard).toEqual([1, 2, 3, 4, 5]);
  });

  test('back from a file without the newest values: what comes next is heard, and nothing twice', async () => {
    const redis = await redisServer();
    const { publicUrl, internalUrl } = await service({ redisUrl: redis.url });
    const ahead = page(publicUrl, 'a');
    await held(internalUrl, 'a', 1);
    for (const value of [1, 2]) await set(internalUrl, { key: 'a', value });
    await redis.client.save();
    for (const value of ['lost 3', 'lost 4', 'lost 5']) await set(internalUrl, { key: 'a', value });
    await ahead.hears('lost 5');
    const behind = await poll(publicUrl, { key: 'a', hold: '0' });
    await redis.kill();
    await redis.start();
    await ready(internalUrl);
    for (const value of [3, 4, 5, 6]) expect((await set(internalUrl, { key: 'a', value })).status).toBe(200);
    await ahead.hears(6);
    expect(ahead.heard).toEqual([1, 2, 'lost 3', 'lost 4', 'lost 5', 3, 4, 5, 6]);
    expect(await poll(publicUrl, { key: 'a', since: behind.cursor as string })).toMatchObject({
      earlier: [3, 4, 5],
      data: 6,
    });
  });

  test('the answer of a set is lost on its way: its retry with the same id is stored once', async () => {
    const redis = await redisServer();
    let cutting = false;
    const sockets: Socket[] = [];
    const proxy = createServer(client => {
      const server = connect(redis.port, '127.0.0.1');
      sockets.push(client, server);
      for (const socket of [client, server]) socket.on('error', () => {});
      client.pipe(server);
      server.on('data', data => {
        if (cutting && data.includes('stored')) client.destroy();
        else client.write(data);
      });
      server.on('close', () => client.destroy());
      client.on('close', () => server.destroy());
    }).listen(0, '127.0.0.1');
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy();
      proxy.close();
    });
    await until(() => proxy.listening);
    const { port } = proxy.address() as { port: number };
    const { publicUrl, internalUrl } = await service({ redisUrl: `redis://127.0.0.1:${port}` });
    cutting = true;
    expect((await set(internalUrl, { key: 'a', value: 1, id: 'once' })).status).toBe(503);
    expect(await redis.client.hget('tagwait:1:{a}', 'n')).toBe('1');
    cutting = false;
    await until(async () => (await set(internalUrl, { key: 'a', value: 1, id: 'once' })).status === 200);
    const reply = await poll(publicUrl, { key: 'a' });
    expect(reply).toMatchObject({ code: 0, data: 1 });
    expect(reply).not.toHaveProperty('earlier');
  });
});

describe.concurrent('wrong settings end the start with one line', () => {
  const fails = async (env: Record<string, string>) => {
    const child = run([], {
      TAGWAIT_PUBLIC_PORT: '0',
      TAGWAIT_INTERNAL_PORT: '0',
      TAGWAIT_LOG_LEVEL: 'silent',
      ...env,
    });
    const code = await child.ended;
    return [code, child.output.stderr];
  };

  test('does not start with a wrong or missing password', async () => {
    const redis = await redisServer(['--requirepass', 'hunter2']);
    const at = `127.0.0.1:${redis.port}`;
    const [code, said] = await fails({ TAGWAIT_REDIS_URL: `redis://:wrong@${at}` });
    expect(code).toBe(2);
    expect(said).toMatch(/^tagwait: Redis refuses this node: 127\.0\.0\.1:\d+: WRONGPASS[^\n]*\n$/);
    expect(said).not.toContain('wrong@');
    expect(await fails({ TAGWAIT_REDIS_URL: `redis://${at}` })).toEqual([
      2,
      expect.stringMatching(
        /^tagwait: Redis refuses this node: 127\.0\.0\.1:\d+: SUBSCRIBE: NOAUTH[^\n]*\n$/,
      ),
    ]);
    const node = await spawned({ TAGWAIT_REDIS_URL: `redis://:hunter2@${at}` });
    expect((await set(node.internalUrl, { key: 'a', value: 1 })).status).toBe(200);
    expect(node.output.stderr).not.toContain('hunter2');
  });

  test('does not start if a Cluster is given as a single server, or the reverse', async () => {
    const node = await redisServer(['--cluster-enabled', 'yes']);
    await node.client.cluster('ADDSLOTSRANGE', 0, 16383);
    // until then it answers CLUSTERDOWN, which may pass
    await until(async () => (await node.client.cluster('INFO')).includes('cluster_state:ok'));
    const server = await redisServer();
    const [asServer, asCluster] = await Promise.all([
      fails({ TAGWAIT_REDIS_URL: node.url }),
      fails({ TAGWAIT_REDIS_CLUSTER: `127.0.0.1:${server.port}` }),
    ]);
    expect(asServer).toEqual([2, expect.stringMatching(/: CROSSSLOT .*: give TAGWAIT_REDIS_CLUSTER\n$/)]);
    expect(asCluster).toEqual([
      2,
      expect.stringMatching(
        /: ERR This instance has cluster support disabled; .*: give TAGWAIT_REDIS_URL\n$/,
      ),
    ]);
  });

  test('rejects an invalid Redis URL', async () => {
    expect(await fails({ TAGWAIT_REDIS_URL: 'localhost:6379' })).toEqual([
      2,
      expect.stringContaining('give redis[s]://'),
    ]);
  });
});
