/** examples/: each broker keeps every promise of the contract, over the real store, with the package as its users have it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { brokerContract } from '../src/brokers/contract/contract.js';
import { hasPostgres, hasZookeeper, postgresServer, zookeeperServer } from './databases.js';
import type { Owner } from './owner.js';

const folder = fileURLToPath(new URL('../examples', import.meta.url));
/** ZooKeeper's answer to a request to connect: length, version, session timeout in ms, id, password, read-only. */
const CONNECTED = Buffer.from(
  `00000025 00000000 00001770 0000000000000001 00000010 ${'00'.repeat(16)} 00`.replaceAll(' ', ''),
  'hex',
);
const stores = [
  { name: 'PostgreSQL', installed: hasPostgres, start: postgresServer, variable: 'POSTGRES_URL', more: 1 },
  { name: 'ZooKeeper', installed: hasZookeeper, start: zookeeperServer, variable: 'ZOOKEEPER', more: 0 },
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

// the two at once: most of the time they wait for their servers
describe.concurrent('brokers of other stores', () => {
  for (const { name, installed, start, variable, more } of stores)
    test.skipIf(!installed)(
      `${name} keeps the promises of a broker`,
      { timeout: 240_000 },
      async ({ expect, onTestFinished }) => {
        const { passed, failed } = await contract(
          { [variable]: await start(onTestFinished) },
          onTestFinished,
        );
        expect(failed).toEqual([]);
        expect(passed).toBe(brokerContract(2).length + more);
      },
    );
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
