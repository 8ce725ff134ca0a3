/** examples/: each broker keeps every promise of the contract, over the real store, with the package as its users have it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { brokerContract } from '../src/brokers/contract/contract.js';
import { hasPostgres, hasZookeeper, postgresServer, zookeeperServer } from './databases.js';
import type { Owner } from './owner.js';

const folder = fileURLToPath(new URL('../examples', import.meta.url));
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
  await once(child, 'close');
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

test('each file of a broker has at most 200 lines, and the README names it', () => {
  const readme = readFileSync(join(folder, 'README.md'), 'utf8');
  for (const name of readdirSync(join(folder, 'brokers'))) {
    const lines = readFileSync(join(folder, 'brokers', name), 'utf8').split('\n').length - 1;
    expect(lines, name).toBeLessThanOrEqual(200);
    expect(readme).toContain(name);
  }
});
