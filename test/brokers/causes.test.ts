/** Why Redis is away, as `/readyz` and the log say it: in words that help, with the address of the server that failed. */
import { createServer as createHttpServer } from 'node:http';
import { createServer, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { RedisBroker } from '../../src/brokers/redis/redis.js';
import type { Store } from '../../src/brokers/redis/store.js';
import { until } from '../harness.js';
import { listenOnFree } from '../ports.js';
import { freePort, type RedisServer, redisCluster, redisServer } from '../redis.js';
import { speaker } from '../resp.js';

/** A broker, and each cause that it has logged. */
function brokerOf(store: Store) {
  const causes: string[] = [];
  const warn = (fields: unknown) => void causes.push((fields as { cause: string }).cause);
  const log = { info() {}, warn } as ConstructorParameters<typeof RedisBroker>[0]['log'];
  const broker = new RedisBroker({ store, prefix: 'tagwait', history: 4, wait: 0, node: 'n', log });
  onTestFinished(() => broker.close());
  const events = { entry() {}, gap() {}, held: () => 0, drop() {} };
  const start = () =>
    broker.start({ ...events, describe: () => ({ id: 'n', held: 0, version: '0', uptime: 0 }) });
  return { broker, causes, start };
}
const server = (port: number, database = ''): Store => ({
  kind: 'server',
  url: `redis://127.0.0.1:${port}${database}`,
});

test.each(['first', 'second'])(
  'the database does not exist, and the %s connection is not answered',
  async which => {
    const sockets: Socket[] = [];
    const { port } = await speaker(([name], socket) => {
      if (!sockets.includes(socket)) sockets.push(socket);
      if (sockets.indexOf(socket) === (which === 'first' ? 0 : 1)) return undefined;
      return new Error(name === 'SELECT' ? 'ERR DB index is out of range' : 'ERR nope');
    });
    const { start } = brokerOf(server(port, '/99'));
    await expect(start()).rejects.toThrow(`127.0.0.1:${port}: ERR DB index is out of range`);
  },
);

test('a server that says nothing, as one with TLS does', async () => {
  const silent = createServer(socket => void socket.on('error', () => {}));
  const port = await listenOnFree(silent as never);
  onTestFinished(() => void silent.close());
  const { broker, start } = brokerOf(server(port));
  await start();
  expect(broker.status().cause).toBe(`127.0.0.1:${port}: no answer within 3000 ms; is it TLS (rediss://)?`);
});

test('a port that speaks HTTP', async () => {
  const http = createHttpServer();
  const port = await listenOnFree(http);
  onTestFinished(() => void http.close());
  const { broker, causes, start } = brokerOf(server(port));
  await start();
  expect(broker.status().cause).toBe(`127.0.0.1:${port}: this is not a Redis server`);
  expect(causes.join()).not.toContain('RESP');
});

test('a server that takes no more connections', async () => {
  const { port, client } = await redisServer();
  const { broker, causes, start } = brokerOf(server(port));
  await start();
  await until(() => broker.status().up);
  await client.config('SET', 'maxclients', '1');
  await client.call('CLIENT', 'KILL', 'SKIPME', 'yes');
  await until(() => !broker.status().up);
  const refused = `127.0.0.1:${port}: ERR max number of clients reached`;
  await until(() => causes.includes(refused));
  await until(() => broker.status().cause === refused);
  expect(causes.join()).not.toContain('Command queue');
  await client.config('SET', 'maxclients', '100');
  await until(() => broker.status().up);
});

test.each(['a server', 'a Sentinel'])('%s that refuses each connection before it is asked', async which => {
  const refusing = createServer(socket => {
    socket.on('error', () => {}).end('-ERR max number of clients reached\r\n');
  });
  const port = await listenOnFree(refusing as never);
  onTestFinished(() => void refusing.close());
  const sentinel: Store = { kind: 'sentinel', sentinels: [`127.0.0.1:${port}`], master: 'm' };
  const { causes, start } = brokerOf(which === 'a server' ? server(port) : sentinel);
  await start();
  await until(() => causes.length > 0);
  const before = which === 'a server' ? '' : 'm: no Sentinel names the master: ';
  expect(causes[0]).toBe(`${before}127.0.0.1:${port}: ERR max number of clients reached`);
});

test('a Cluster of which no server can be reached, at the start', async () => {
  const ports = [await freePort(), await freePort()];
  const { broker, causes, start } = brokerOf({
    kind: 'cluster',
    nodes: ports.map(port => `127.0.0.1:${port}`),
  });
  await start();
  await until(() => causes.length > 1 || broker.status().cause);
  const refused = ports.map(port => `127.0.0.1:${port}: connect ECONNREFUSED 127.0.0.1:${port}`);
  for (const cause of causes) expect(refused).toContain(cause);
});

test('a Cluster whose servers end, one after the other', async () => {
  const { nodes, setting } = await redisCluster();
  const { broker, causes, start } = brokerOf({ kind: 'cluster', nodes: setting.split(',') });
  await start();
  await until(() => broker.status().up);
  for (const node of nodes) await node.kill();
  await until(() => !broker.status().up);
  // until the slots were asked for again, of every server
  await until(() => causes.some(cause => cause.includes('ECONNREFUSED')));
  for (const cause of causes) expect(cause).toMatch(/^127\.0\.0\.1:\d+(,127\.0\.0\.1:\d+)*: ./);
  for (const cause of causes)
    for (const [, refused] of cause.matchAll(/ECONNREFUSED (\S+)/g))
      expect(cause.split(': ')[0]).toBe(refused);
});

/** The connections that are subscribed, by server and id. */
async function subscribersOf(servers: RedisServer[]): Promise<string[]> {
  const lists = servers.map(async ({ port, client }) => {
    const list = (await client.call('CLIENT', 'LIST', 'TYPE', 'pubsub')) as string;
    return [...list.matchAll(/^id=(\d+)/gm)].map(([, id]) => `${port} ${id}`);
  });
  return (await Promise.all(lists)).flat();
}

test('a Cluster of which one server hangs, whichever it is: it alone is named', async () => {
  const { nodes, setting } = await redisCluster(0, onTestFinished, ['--cluster-require-full-coverage', 'no']);
  const { broker, causes, start } = brokerOf({ kind: 'cluster', nodes: setting.split(',') });
  await start();
  for (const node of nodes) {
    await until(() => broker.status().up);
    causes.length = 0;
    const others = nodes.filter(other => other !== node);
    const before = await subscribersOf(others);
    node.process.kill('SIGSTOP');
    await until(() => !broker.status().up);
    const first = broker.status().cause;
    // the subscriber connects again, perhaps to the server that hangs before it tries another one
    await until(async () => (await subscribersOf(others)).some(id => !before.includes(id)));
    for (const cause of [first, broker.status().cause, ...causes.filter(Boolean)])
      expect(cause).toMatch(new RegExp(`^127\\.0\\.0\\.1:${node.port}: (?!MOVED)`));
    node.process.kill('SIGCONT');
  }
});
