/** Nothing secret leaves by a side door: logs, metrics, errors, the list of processes. */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { RedisBroker } from '../src/brokers/redis/redis.js';
import type { Store } from '../src/brokers/redis/store.js';
import { configOf, redacted } from '../src/config.js';
import { createLog, shortHash } from '../src/log.js';
import { proofOf } from '../src/protocol/ticket.js';
import type { Config } from '../src/settings.js';
import { held, poll, run, set, until } from './harness.js';
import { speaker } from './resp.js';

const SECRET = 'shhh-the-secret-that-signs-tickets';
const OLD = 'shhh-the-secret-before-that-one-was';
const TOKEN = 'shhh-the-token-of-the-login-backend';
const KEY = 'shhh-the-key-of-a-login';
const VALUE = 'shhh-the-one-time-code';

test('the log, at its most talkative, the metrics and refusals hold no secret, token, proof, value or key', async () => {
  const args = ['--public-port', '0', '--internal-port', '0', '--secret', `${SECRET},${OLD}`];
  const child = run(
    [...args, '--set-tokens', `${TOKEN},another-${TOKEN}`, '--log-level', 'trace', '--drain', '0'],
    {},
  );
  const [publicUrl, internalUrl] = (await until(
    () => child.output.stdout.includes('internal') && child.output.stdout.match(/http:\S+/g),
  )) as [string, string];
  if (existsSync('/proc/self/cmdline'))
    expect(readFileSync(`/proc/${child.process.pid}/cmdline`, 'latin1')).not.toContain('shhh');

  const bearer = { Authorization: `Bearer ${TOKEN}` };
  const heard: string[] = [];
  const ask = async (url: string, init?: RequestInit) => {
    const response = await fetch(url, init);
    heard.push(JSON.stringify(Object.fromEntries(response.headers)), await response.clone().text());
    return response;
  };
  const { proof } = (await (
    await fetch(`${internalUrl}/status/new`, { method: 'POST', headers: bearer })
  ).json()) as { proof: string };
  await set(internalUrl, { key: KEY, value: VALUE }, bearer);
  await ask(`${publicUrl}/status/get?key=${KEY}&proof=${proof}`);
  const good = proofOf(OLD, KEY, Math.floor(Date.now() / 1000) + 60);
  expect(await poll(publicUrl, { key: KEY, proof: good })).toMatchObject({ code: 0 });
  await ask(`${publicUrl}/status/get?key=${KEY}&proof=${SECRET}`);
  await ask(`${publicUrl}/status/get?key=${KEY}&proof=${proof}&callback=1${VALUE}`);
  await ask(`${publicUrl}/status/get?key=${KEY}!&callback=cb&since=${VALUE}!`);
  await ask(`${publicUrl}/${VALUE}`);
  await ask(`${internalUrl}/status/set`, { method: 'POST', headers: { Authorization: `Bearer ${TOKEN}x` } });
  const type = { 'Content-Type': 'application/json' };
  const body = `{"key":"${KEY}","value":"${VALUE}","x${VALUE}":1`;
  await ask(`${internalUrl}/status/set`, { method: 'POST', headers: { ...bearer, ...type }, body });
  await ask(`${internalUrl}/status/set`, {
    method: 'POST',
    headers: { ...bearer, ...type },
    body: `${body}}`,
  });
  await ask(`${internalUrl}/status/peek?key=${KEY}`);
  await ask(`${internalUrl}/metrics`);
  child.process.kill('SIGTERM');
  await child.ended;
  expect([...heard, child.output.stdout, child.output.stderr].join('\n')).not.toMatch(
    /shhh|\d{10}\.[\w-]{43}/,
  );
  for (const event of ['set', 'asked'])
    expect(child.output.stderr).toMatch(new RegExp(`"key":"${shortHash(KEY)}".*"msg":"${event}"`));
});

test('an error is logged by what it says, without the fields that hold keys and values', async () => {
  const { Writable } = await import('node:stream');
  let text = '';
  const into = new Writable({
    write(chunk, _, done) {
      text += chunk;
      done();
    },
  });
  const log = createLog('info', 'n', into);
  const error = Object.assign(new Error('READONLY'), { command: { name: 'evalsha', args: [KEY, VALUE] } });
  log.error({ err: error }, 'a request failed');
  expect(text).toContain('READONLY');
  expect(text).not.toContain('shhh');
});

test('each password of Redis in turn: neither the log nor what ends the start has it, even where Redis repeats it', async () => {
  const redis = await speaker(([name = '', ...args]) => {
    const repeated = args.map(arg => `'${arg}'`).join(' ');
    if (name === 'AUTH')
      return new Error(`ERR unknown command 'AUTH', with args beginning with: ${repeated}`);
    return name === 'SELECT' ? 'OK' : new Error('NOAUTH Authentication required.');
  });
  const at = `127.0.0.1:${redis.port}`;
  const nodes = [`redis://user:sh%68h%2F@${at}`];
  const ways: [Partial<Config>, Store][] = [
    [{ redisUrl: `${nodes[0]}/1` }, { kind: 'server', url: `${nodes[0]}/1` }],
    [{ redisUrl: 'unix:user:shhh@/no.sock' }, { kind: 'server', url: 'unix:user:shhh@/no.sock' }],
    [{ redisCluster: nodes }, { kind: 'cluster', nodes }],
    [
      { redisSentinels: nodes, redisMaster: 'tag' },
      { kind: 'sentinel', sentinels: nodes, master: 'tag' },
    ],
    [
      { redisSentinels: [at], redisMaster: 'tag', redisSentinelPassword: 'a://shhh' },
      { kind: 'sentinel', sentinels: [at], master: 'tag', sentinelPassword: 'a://shhh' },
    ],
  ];
  for (const [settings, store] of ways) {
    const logged: unknown[] = [redacted(configOf(settings))];
    const log = {
      info: (...args: unknown[]) => logged.push(args),
      warn: (...args: unknown[]) => logged.push(args),
    };
    const broker = new RedisBroker({ store, prefix: 'tagwait', history: 1, wait: 0, node: 'n', log });
    onTestFinished(() => broker.close());
    await broker.start(DEAF).catch((error: Error) => logged.push(error.message));
    expect(JSON.stringify(logged)).toMatch(/unknown command 'AUTH'|ENOENT/);
    expect(JSON.stringify(logged)).not.toMatch(/shhh|sh%68h/);
  }
});
const DEAF = {
  entry() {},
  gap() {},
  held: () => 0,
  drop() {},
  describe: () => ({ id: 'n', held: 0, version: '0', uptime: 0 }),
};

describe('a faulty setting is named, and its value is not shown when it may be a secret', () => {
  test.each([
    [['--secret', 'shhh with a space']],
    [['--set-tokens', 'shhh,,shhh']],
    [['--redis-url', 'http://user:shhh@host']],
    [['--redis-sentinels', 'a:1,redis://:shhh@b:1', '--redis-master', 'tag']],
    [['--secrt', 'shhh']],
    [['--secrt=shhh']],
    [['shhh']],
  ])('%j', async args => {
    const child = run(args);
    expect(await child.ended).toBe(2);
    expect(child.output.stderr).toMatch(/^tagwait: \S/);
    expect(child.output.stdout + child.output.stderr).not.toContain('shhh');
  });

  test('short secrets and tokens are warned of', async () => {
    const child = run([
      '--public-port',
      '0',
      '--internal-port',
      '0',
      '--secret',
      'shhh',
      '--set-tokens',
      'shhh2',
    ]);
    await until(() => child.output.stdout);
    expect(child.output.stderr).toMatch(
      /TAGWAIT_SECRET: give 32 random.+TAGWAIT_SET_TOKENS: give 32 random/s,
    );
    expect(child.output.stderr).not.toContain('shhh');
  });
});

test('a key whose answer waits is not shown to the list of nodes either', async () => {
  const { service } = await import('./harness.js');
  const { publicUrl, internalUrl } = await service();
  const leave = new AbortController();
  poll(publicUrl, { key: KEY }, leave.signal).catch(() => {});
  await held(internalUrl, KEY, 1);
  for (const path of ['/nodes', '/metrics', '/readyz', '/healthz'])
    expect(await (await fetch(internalUrl + path)).text()).not.toContain('shhh');
  leave.abort();
});
