/** Clients in other languages, and of other packages: each hears every value once, over a node that drains. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { held, service, set, until } from './harness.js';
import { program } from './program.js';
import { freePort, redisServer } from './redis.js';

const programs = join(import.meta.dirname, 'ways/programs');
const node = process.execPath;
interface Client {
  command: string[];
  /** a command that succeeds where the client can be run */
  probe?: string[];
  /** of Debian, in test/servers.sh */
  debian?: string;
}
const CLIENTS: Record<string, Client> = {
  'tagwait/subscribe in Node': { command: [node, 'watch.js'] },
  'undici, EventSource': { command: [node, '--no-warnings', 'undici-stream.js'] },
  'undici, WebSocket': { command: [node, '--no-warnings', 'undici-socket.js'] },
  'Python, websockets': {
    command: ['/usr/bin/python3', 'watch.py'],
    probe: ['/usr/bin/python3', '-c', 'import websockets'],
    debian: 'python3-websockets',
  },
  'Go, net/http': { command: ['go', 'run', 'watch.go'], probe: ['go', 'version'], debian: 'golang-go' },
  'Java, java.net.http': {
    command: ['java', 'Watch.java'],
    probe: ['java', '--version'],
    debian: 'default-jdk-headless',
  },
};
const runs = ([command = '', ...args]: string[]) => spawnSync(command, args).status === 0;
const here = Object.entries(CLIENTS).filter(([name, { probe, debian }]) => {
  if (!probe || runs(probe)) return true;
  console.log(`left out: ${name}, because this machine lacks it (Debian: ${debian})`);
  return false;
});

const VALUES = [1, { text: 'a<b' }, 'while they were away', 'last'];

test(`${here.map(([name]) => name).join('; ')}: every value once, in order, over a drain, until the last one`, async () => {
  const { url: redisUrl } = await redisServer();
  const publicPort = await freePort();
  const start = () => service({ redisUrl, publicPort, drain: 1 });
  const first = await start();
  const clients = here.map(
    (
      [
        name,
        {
          command: [command = '', ...args],
        },
      ],
      index,
    ) => ({
      name,
      key: `key-${index}`,
      run: program(command, [...args, first.publicUrl, `key-${index}`], { cwd: programs }),
    }),
  );
  const store = ({ internalUrl }: { internalUrl: string }, value: unknown) =>
    Promise.all(clients.map(({ key }) => set(internalUrl, { key, value, final: value === 'last' })));
  const linesOf = ({ run }: (typeof clients)[number]) => run.output().split('\n').slice(0, -1);
  const hear = (count: number) =>
    until(() => clients.every(client => linesOf(client).length >= count), {
      seen: () => clients.map(client => [client.name, client.run.output()]),
    });
  for (const { key } of clients) await held(first.internalUrl, key, 1);
  await store(first, VALUES[0]);
  await store(first, VALUES[1]);
  await hear(2);
  await first.stop();
  const second = await start();
  await store(second, VALUES[2]);
  await hear(3);
  await store(second, VALUES[3]);
  for (const client of clients) {
    expect(await client.run.ended, client.run.output()).toBe(0);
    expect(
      linesOf(client).map(line => JSON.parse(line)),
      client.name,
    ).toEqual(VALUES);
  }
});

test.skipIf(!runs(['curl', '--version']))('curl -N: every event at once, and its end', async () => {
  const { publicUrl, internalUrl } = await service();
  const curl = program('curl', ['-sN', `${publicUrl}/status/events?key=a`]);
  await held(internalUrl, 'a', 1);
  const { cursor } = (await set(internalUrl, { key: 'a', value: { n: 1 } })).body;
  await curl.said(/"n":1/);
  await set(internalUrl, { key: 'a', value: 'last', final: true });
  expect(await curl.ended).toBe(0);
  expect(curl.output()).toMatch(
    /^:\n\nid: \S+\nevent: value\ndata: {"n":1}\n\nid: \S+\nevent: value\nfinal: true\ndata: "last"\n\nevent: end\ndata: final\n\n$/,
  );
  expect(curl.output()).toContain(`id: ${cursor}\n`);
});
