/** The log on stderr: one line for each event that matters, and no secrets. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { expect, onTestFinished, test } from 'vitest';
import { createLog, readable, throttleLog } from '../src/log.js';
import { CLI, held, poll, spawned, until } from './harness.js';
import { redisServer } from './redis.js';

type Line = Record<string, unknown> & { msg: string };
const linesOf = (text: string) =>
  text
    .trim()
    .split('\n')
    .map(line => JSON.parse(line) as Line);
const events = (text: string) => linesOf(text).map(line => line.msg);

test('a life in lines: settings, ready, Redis away and back, a limit, the drain', async () => {
  const redis = await redisServer();
  const secret = 's'.repeat(32);
  const token = 't'.repeat(32);
  const { publicUrl, internalUrl, output, process, ended } = await spawned({
    TAGWAIT_REDIS_URL: `${redis.url}/0`,
    TAGWAIT_SECRET: secret,
    TAGWAIT_SET_TOKENS: `${token},${token}2`,
    TAGWAIT_MAX_POLLS_PER_IP: '1',
  });
  const [first] = linesOf(output.stderr);
  expect(first).toMatchObject({
    msg: 'starting',
    settings: {
      hold: 25,
      maxPollsPerIp: 1,
      redisUrl: `${redis.url}/0`,
      secret: '1 given',
      setTokens: '2 given',
    },
  });
  expect(linesOf(output.stderr)[1]).toMatchObject({ msg: 'ready', publicUrl, internalUrl });

  await redis.kill();
  await until(() => events(output.stderr).some(said => said.startsWith('Redis is away')));
  await redis.start();
  await until(() => events(output.stderr).includes('Redis is back'));

  const codes = await Promise.all(Array.from({ length: 20 }, () => poll(publicUrl, { key: 'a' })));
  expect(codes.filter(({ code }) => code === -3).length, 'polls over the limit').toBeGreaterThan(15);
  process.kill('SIGTERM');
  expect(await ended).toBe(0);
  const said = events(output.stderr);
  expect(
    said.filter(line => line.startsWith('limit reached')),
    'said once, not twenty times',
  ).toHaveLength(1);
  expect(said.slice(-2)).toEqual(['draining', 'stopped']);
  for (const hidden of [secret, token]) expect(output.stderr).not.toContain(hidden);
});

test("a library's warning is a line of the log: a password that Redis does not ask for", async () => {
  const redis = await redisServer();
  const { output } = await spawned({ TAGWAIT_REDIS_URL: redis.url.replace('//', '//:wrong@') });
  await until(() => events(output.stderr).includes('a warning of a library'));
  const line = linesOf(output.stderr).find(({ msg }) => msg === 'a warning of a library');
  expect(line?.warning).toMatch(/password/);
  expect(output.stderr).not.toContain('wrong@');
});

test('no line per poll unless asked', async () => {
  const quiet = await spawned({ TAGWAIT_HOLD: '0.05' });
  const before = quiet.output.stderr;
  for (let count = 0; count < 5; count++) await poll(quiet.publicUrl, { key: 'secret-key' });
  expect(quiet.output.stderr).toBe(before);
  const chatty = await spawned({ TAGWAIT_LOG_LEVEL: 'debug' });
  void poll(chatty.publicUrl, { key: 'secret-key' }).catch(() => {});
  await held(chatty.internalUrl, 'secret-key', 1);
  await until(() => events(chatty.output.stderr).includes('asked'));
  expect(chatty.output.stderr).not.toContain('secret-key');
});

test.each([
  ['redis://user:pa/ss@w@host:6379/1', 'redis://***@host:6379/1'],
  ['unix://:secret@/run/redis.sock?db=2', 'unix://***@/run/redis.sock?db=2'],
])('%s is shown as %s', async (given, masked) => {
  const { configOf, redacted } = await import('../src/config.js');
  expect(redacted(configOf({ redisUrl: given })).redisUrl).toBe(masked);
});

test('for a person: time, level, words', () => {
  const lines: string[] = [];
  const log = createLog(
    'info',
    'here',
    readable(text => lines.push(text)),
  );
  log.info({ held: 3, settings: { hold: 25 } }, 'draining');
  log.error({ err: new Error('broken') }, 'a request failed');
  expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d info {2}draining held=3 settings=\{"hold":25\}\n$/);
  expect(lines[1]).toMatch(/^\d\d:\d\d:\d\d error a request failed\nError: broken\n {4}at /);
});

const terminal = spawnSync('script', ['--version']).status === 0;
test.skipIf(!terminal)('on a terminal the command writes for a person', async () => {
  const child = spawn(
    'script',
    ['-qefc', `${process.execPath} ${CLI} --public-port 0 --internal-port 0`, '/dev/null'],
    { stdio: ['ignore', 'pipe', 'ignore'] },
  );
  onTestFinished(async () => {
    child.kill('SIGTERM');
    if (child.exitCode === null) await once(child, 'exit');
  });
  let text = '';
  child.stdout.on('data', chunk => {
    text += chunk;
  });
  await until(() => /^tagwait .* public /m.test(text));
  expect(text).toMatch(/\d\d:\d\d:\d\d info {2}ready publicUrl=http/);
});

test('what happens often is said at first, then once per time with how often it was', async () => {
  const said: [string, number][] = [];
  const tell = throttleLog((...words) => said.push(words), 50);
  for (let count = 0; count < 10; count++) tell('a');
  tell('b');
  expect(said).toEqual([
    ['a', 1],
    ['b', 1],
  ]);
  await until(() => {
    tell('a');
    return said.length > 2;
  });
  expect(said[2]?.[1]).toBeGreaterThanOrEqual(10);
});
