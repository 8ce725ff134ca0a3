/** examples/: each broker keeps every promise of the contract, over the real store, with the package as its users have it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, type ExpectStatic, expect, onTestFinished, test } from 'vitest';
import type { Broker, Entry } from '../src/brokers/broker.js';
import { brokerContract } from '../src/brokers/contract/contract.js';
import { hasPostgres, hasZookeeper, postgresServer, zookeeperServer } from './databases.js';
import { line } from './line.js';
import type { Owner } from './owner.js';
import { until } from './wait.js';

const folder = fileURLToPath(new URL('../examples', import.meta.url));
/** ZooKeeper's answer to a request to connect: length, version, session timeout in ms, id, password, read-only. */
const CONNECTED = Buffer.from(
  `00000025 00000000 00001770 0000000000000001 00000010 ${'00'.repeat(16)} 00`.replaceAll(' ', ''),
  'hex',
);
const { Client } = createRequire(import.meta.url)('pg');
const zookeeper = createRequire(import.meta.url)('node-zookeeper-client');
const { PostgresBroker } = await import(join(folder, 'brokers/postgres.js'));
const { ZookeeperBroker } = await import(join(folder, 'brokers/zookeeper.js'));

interface Store {
  name: string;
  installed: boolean;
  start: typeof postgresServer;
  variable: string;
  /** tests of the folder beyond the contract */
  more: number;
  /** Makes a part of a running store in which the nodes of another test are not seen. @returns makes brokers there */
  aside(address: string): Promise<(node: string, port: number) => Broker>;
}
const stores: Store[] = [
  {
    name: 'PostgreSQL',
    installed: hasPostgres,
    start: postgresServer,
    variable: 'POSTGRES_URL',
    more: 1,
    async aside(address) {
      const client = new Client(address);
      await client.connect();
      await client.query('CREATE DATABASE aside');
      await client.end();
      return (node, port) => {
        const url = Object.assign(new URL(address), { port, pathname: '/aside' });
        return new PostgresBroker({ url: url.href, node, history: 4 });
      };
    },
  },
  {
    name: 'ZooKeeper',
    installed: hasZookeeper,
    start: zookeeperServer,
    variable: 'ZOOKEEPER',
    more: 0,
    async aside(address) {
      const client = zookeeper.createClient(address);
      client.connect();
      await promisify(client.mkdirp.bind(client))('/aside');
      client.close();
      return (node, port) => new ZookeeperBroker({ servers: `127.0.0.1:${port}/aside`, node, history: 4 });
    },
  },
];
for (const { name } of stores.filter(({ installed }) => !installed))
  console.log(`${name} is not on this machine: its broker is left out (test/servers.sh installs it)`);

/** Runs the command that the README gives. @returns how many tests passed, and what failed */
async function contract(
  env: Record<string, string>,
  own: Owner,
): Promise<{ passed: number; failed: string[] }> {
  const args = ['--test', '--test-reporter=tap', join(folder, 'brokers/contract.test.js')];
  const child = spawn(process.execPath, args, { env: { PATH: process.env.PATH, ...env } });
  own(() => void child.kill('SIGKILL'));
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', text => {
      output += text;
    });
  // it ends its own process then, and what it printed says more than that the time of this test has passed
  let late = '';
  const timer = setTimeout(() => {
    late = 'the contract did not end within 200 s:\n';
    child.kill('SIGTERM');
  }, 200_000);
  await once(child, 'close');
  clearTimeout(timer);
  if (late) throw new Error(late + output);
  const lines = output.split('\n');
  return {
    passed: lines.filter(line => /^\s*ok /.test(line) && !/# SKIP/.test(line)).length,
    failed: lines.filter(line => /^\s*(not ok|error:|Error)/.test(line)),
  };
}

/**
 * What a node sees of its store through a line that the test breaks, while another node has no such trouble. It waits for
 * what the store decides: when a node is dead, and when a session has expired.
 */
async function outage({ aside }: Store, address: string, expect: ExpectStatic, own: Owner): Promise<void> {
  const create = await aside(address);
  const port = Number(/:(\d+)(\/|$)/.exec(address)?.[1]);
  const way = await line(port, own);
  const heard: string[] = [];
  const events = (id: string) => ({
    entry: (_: string, { value }: Entry) => void (id === 'one' && heard.push(value)),
    gap: () => void (id === 'one' && heard.push('gap')),
    held: () => 1,
    drop() {},
    describe: () => ({ id, held: 1, version: '0', uptime: 0 }),
  });
  const [one, two] = [create('one', way.port), create('two', port)];
  await Promise.all([one.start(events('one')), two.start(events('two'))]);
  for (const node of [one, two]) own(() => node.close());
  const set = (value: string) => two.set('k', value, { ttl: 600_000 });
  const { cursor: before } = await set('0');

  await one.subscribe('k', before);
  expect((await set('1')).watched).toBe(true);
  await until(() => heard.join() === 'gap,1');
  way.cut();
  await until(() => one.status().reconnects === 1 && one.status().up);
  await until(() => heard.join() === 'gap,1,gap');

  way.swallow('both');
  await until(() => !one.status().up);
  await until(async () => !(await set('2')).watched, { every: 250 });
  await expect(one.set('k', '3', { ttl: 1000 })).rejects.toThrow(
    expect.objectContaining({ name: 'Unavailable' }),
  );
  // its connections stay silent: it has to give them up
  way.heal();
  await until(() => one.status().up);
  expect(heard.at(-1)).toBe('gap');
  expect(await one.verify?.([{ key: 'k', position: before }])).toEqual(['k']);
  expect((await one.subscribe('k', before)).entries.at(-1)?.value).toBe('2');
  expect((await set('4')).watched).toBe(true);
  await until(() => heard.at(-1) === '4');

  way.swallow('both');
  const started = performance.now();
  await one.close();
  expect(performance.now() - started).toBeLessThan(4000);
}

// all at once: most of the time they wait for their servers
describe.concurrent('brokers of other stores', () => {
  for (const store of stores) {
    const { name, installed, start, variable, more } = store;
    test.skipIf(!installed)(
      `${name} keeps the promises of a broker, and a node notices that its store hangs or breaks off`,
      { timeout: 400_000 },
      async ({ expect, onTestFinished }) => {
        const address = await start(onTestFinished);
        const [{ passed, failed }] = await Promise.all([
          contract({ [variable]: address }, onTestFinished),
          outage(store, address, expect, onTestFinished),
        ]);
        expect(failed).toEqual([]);
        expect(passed).toBe(brokerContract(2).length + more);
      },
    );
  }
});

test('a ZooKeeper session that is closed while it is being opened is not opened again', async () => {
  const connections: Socket[] = [];
  // answers the request to connect, and nothing that comes after it
  const silent = createServer(socket => {
    connections.push(socket);
    socket.on('error', () => {});
    socket.once('data', () => setTimeout(() => socket.write(CONNECTED), 100));
  }).listen(0, '127.0.0.1');
  onTestFinished(() => {
    for (const socket of connections) socket.destroy();
    silent.close();
  });
  await once(silent, 'listening');
  const script = `
    import { ZookeeperBroker } from ${JSON.stringify(join(folder, 'brokers/zookeeper.js'))};
    const servers = '127.0.0.1:${(silent.address() as AddressInfo).port}';
    const broker = new ZookeeperBroker({ servers, node: 'a', history: 1 });
    void broker.start({ describe: () => ({}), gap() {} });
    setImmediate(() => broker.close());
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    cwd: folder,
    stdio: 'ignore',
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  expect((await once(child, 'exit'))[0]).toBe(0);
  expect(connections).toHaveLength(1);
});

test('each broker is one file of at most 200 lines, over packages alone, and the README names it', () => {
  const readme = readFileSync(join(folder, 'README.md'), 'utf8');
  const names = readdirSync(join(folder, 'brokers'));
  expect(names).toHaveLength(stores.length + 1);
  for (const name of names) {
    expect(readme).toContain(`(brokers/${name})`);
    if (name.endsWith('.test.js')) continue;
    const text = readFileSync(join(folder, 'brokers', name), 'utf8');
    expect(text.split('\n').length - 1, name).toBeLessThanOrEqual(200);
    const imports = [...text.matchAll(/ from '(.+)';$/gm)].map(([, from]) => from);
    expect(imports, name).toContain('tagwait/broker-kit');
    expect(imports.filter(from => from?.startsWith('.'))).toEqual([]);
  }
});
