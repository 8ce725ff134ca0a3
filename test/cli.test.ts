/** The command, as a process: settings, the line it prints, signals, exit codes. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { parse } from 'acorn';
import { describe, expect, test } from 'vitest';
import { SERVER_ALLOWED } from '../src/brokers/redis/address.js';
import { CLI, held, PATIENCE, poll, run, set, spawned, until } from './harness.js';
import { raw, request } from './raw.js';
import { type RedisServer, redisServer } from './redis.js';
import { scrape } from './scrape.js';

describe('the first lines', () => {
  const text = readFileSync(CLI, 'utf8');

  test('the shebang has one word after env, because the env of busybox takes no options', () => {
    expect(text.split('\n', 1)).toEqual(['#!/usr/bin/env node']);
  });

  test('an old Node can read the file, and has to load no other before the check', () => {
    const { body } = parse(text, { ecmaVersion: 2020, sourceType: 'module', allowHashBang: true });
    expect(body.map(({ type }) => type)).not.toContain('ImportDeclaration');
  });

  test.each([
    ['v18.20.8', 1, 'tagwait needs Node 20 or later; this is v18.20.8\n'],
    ['v9.11.2', 1, 'tagwait needs Node 20 or later; this is v9.11.2\n'],
    ['v20.0.0', 0, ''],
    ['v100.0.0', 0, ''],
  ])('as Node %s: exit %i', (version, code, stderr) => {
    const pretend = `Object.defineProperties(process, {
      version: { value: '${version}' }, versions: { value: { node: '${version.slice(1)}' } }, execve: { value: undefined },
    })`;
    const args = ['--import', `data:text/javascript,${encodeURIComponent(pretend)}`, CLI, '--version'];
    const child = spawnSync(process.execPath, args, { encoding: 'utf8' });
    expect({ code: child.status, stderr: child.stderr }).toEqual({ code, stderr });
  });

  test('the young generation is small without flags on the command line', async () => {
    const { publicUrl, internalUrl } = await spawned({ TAGWAIT_MAX_POLLS_PER_IP: '0' });
    for (let round = 0; round < 10; round++)
      await Promise.all(Array.from({ length: 50 }, () => poll(publicUrl, { key: 'a', hold: '0' })));
    const young = (await scrape(internalUrl)).get('nodejs_heap_space_size_total_bytes{space="new"}');
    expect(young).toBeLessThanOrEqual(4 * 1024 * 1024);
  });
});

describe('settings', () => {
  test('all faults at once, each naming what is allowed, and exit 2', async () => {
    const child = run(['--hold', 'soon', '--bogus', '--ttl'], {
      TAGWAIT_PUBLIC_PORT: '70000',
      TAGWAIT_LOG_LEVEL: 'loud',
      TAGWAIT_REDIS_URL: 'http://user:hunter2@host',
      TAGWAIT_ORIGINS: 'example.com',
    });
    expect(await child.ended).toBe(2);
    const lines = child.output.stderr.trim().split('\n');
    expect(lines.map(line => line.replace(/^tagwait: /, ''))).toEqual([
      '--bogus: not an option; tagwait --help lists them',
      'TAGWAIT_PUBLIC_PORT: "70000" is not allowed; give 0 to 65535',
      `TAGWAIT_REDIS_URL: this value is not allowed; give ${SERVER_ALLOWED}`,
      '--ttl: needs a value; give 0.001 to 31536000 seconds',
      '--hold: "soon" is not allowed; give 0.05 to 300 seconds',
      'TAGWAIT_ORIGINS: "example.com" is not allowed; give * or https://one.example,https://two.example',
      'TAGWAIT_LOG_LEVEL: "loud" is not allowed; give trace, debug, info, warn, error, fatal or silent',
    ]);
    expect(child.output.stdout).toBe('');
  });

  test.each<[string, Record<string, string>, RegExp]>([
    [
      'an open internal port without tokens',
      { TAGWAIT_INTERNAL_HOST: '0.0.0.0' },
      /TAGWAIT_INTERNAL_HOST: "0.0.0.0" is not loopback.*TAGWAIT_SET_TOKENS/,
    ],
    ['two stores', { TAGWAIT_REDIS_URL: 'redis://a', TAGWAIT_REDIS_CLUSTER: 'a:1' }, /give one of them/],
    [
      'Sentinels without a master',
      { TAGWAIT_REDIS_SENTINELS: 'a:1,b:2' },
      /TAGWAIT_REDIS_SENTINELS and TAGWAIT_REDIS_MASTER: one needs the other/,
    ],
    [
      'workers without Redis',
      { TAGWAIT_WORKERS: 'auto' },
      /TAGWAIT_WORKERS: more than one process needs Redis/,
    ],
  ])('%s: refused', async (_, env, line) => {
    const child = run([], env);
    expect(await child.ended).toBe(2);
    expect(child.output.stderr).toMatch(line);
    expect(child.output.stderr.trim().split('\n')).toHaveLength(1);
  });

  test('flags win over the environment; --help and --version answer', async () => {
    const help = run(['--help']);
    expect(await help.ended).toBe(0);
    expect(help.output.stdout).toContain('TAGWAIT_MAX_HELD_PER_KEY');
    const version = run(['--version']);
    expect(await version.ended).toBe(0);
    expect(version.output.stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
    const flagged = run(['--hold', 'x'], { TAGWAIT_HOLD: '1' });
    expect(await flagged.ended).toBe(2);
  });

  test('a taken port: one clear line, exit 1', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await until(() => other.listening);
    const { port } = other.address() as AddressInfo;
    const child = run([], {
      TAGWAIT_PUBLIC_HOST: '127.0.0.1',
      TAGWAIT_PUBLIC_PORT: String(port),
      TAGWAIT_INTERNAL_PORT: '0',
      TAGWAIT_LOG_LEVEL: 'silent',
    });
    expect(await child.ended).toBe(1);
    expect(child.output.stderr).toBe(
      `tagwait: TAGWAIT_PUBLIC_PORT: port 127.0.0.1:${port} is taken by another program; give another, or 0 for a free one\n`,
    );
    other.close();
  });

  test.each<[string, string, object, Record<string, string>, string]>([
    [
      'a port of root',
      'EACCES',
      { port: 80 },
      { TAGWAIT_PUBLIC_PORT: '1080', TAGWAIT_INTERNAL_PORT: '80' },
      'TAGWAIT_INTERNAL_PORT: not allowed to listen on 127.0.0.1:80; give a port from 1024 on, or CAP_NET_BIND_SERVICE',
    ],
    [
      'a port that a policy forbids',
      'EACCES',
      { port: 8080 },
      { TAGWAIT_PUBLIC_PORT: '8080' },
      'TAGWAIT_PUBLIC_PORT: not allowed to listen on 127.0.0.1:8080',
    ],
    [
      'an address of another machine',
      'EADDRNOTAVAIL',
      { address: '::2', port: 11001 },
      { TAGWAIT_INTERNAL_HOST: '[::2]', TAGWAIT_SET_TOKENS: 't'.repeat(32) },
      'TAGWAIT_INTERNAL_HOST: no address ::2 on this machine',
    ],
    [
      'an unknown name',
      'ENOTFOUND',
      { syscall: 'getaddrinfo', address: undefined, hostname: 'nowhere' },
      { TAGWAIT_PUBLIC_HOST: 'nowhere' },
      'TAGWAIT_PUBLIC_HOST: no address nowhere on this machine',
    ],
    [
      'any other fault',
      'EINVAL',
      { address: 'fe80::1', port: 11000 },
      { TAGWAIT_PUBLIC_HOST: 'fe80::1' },
      'TAGWAIT_PUBLIC_HOST: listen EINVAL',
    ],
  ])('%s (%s): the line names the setting, exit 1', async (_, code, more, env, line) => {
    const error = { code, syscall: 'listen', address: '127.0.0.1', ...more };
    const pretend = `import { Server } from 'node:net';
      Server.prototype.listen = function () {
        const error = Object.assign(new Error('listen ${code}'), ${JSON.stringify(error)});
        process.nextTick(() => this.emit('error', error));
        return this;
      };
      process.execve = () => {};`;
    const args = ['--import', `data:text/javascript,${encodeURIComponent(pretend)}`, CLI];
    const { status, stderr } = spawnSync(process.execPath, args, {
      env: { PATH: process.env.PATH, TAGWAIT_LOG_LEVEL: 'silent', ...env },
      encoding: 'utf8',
    });
    expect({ status, stderr }).toEqual({ status: 1, stderr: `tagwait: ${line}\n` });
  });
});

/** Process 1 gets no signal for which it has no handler. Without the permission for it: a process as any other. */
const AS_PROCESS_1 =
  spawnSync('unshare', ['-pf', 'true']).status === 0 ? ['unshare', '-pf', '--kill-child'] : [];

/** Makes the command send itself a signal. @param after ms, from when it would replace itself by one with V8's flags */
const signalled = (signal: string, after: number) =>
  `data:text/javascript,${encodeURIComponent(
    `if (!process.env.NODE_UNIQUE_ID)
      process.execve = () => void setTimeout(() => process.kill(process.pid, '${signal}'), ${after});`,
  )}`;

describe('running', () => {
  test('one line on stdout names both URLs; the log is on stderr, line by line JSON', async () => {
    const { publicUrl, internalUrl, output } = await spawned();
    expect(output.stdout).toBe(`tagwait 0.1.0 public ${publicUrl} internal ${internalUrl}\n`);
    for (const line of output.stderr.trim().split('\n')) expect(JSON.parse(line)).toHaveProperty('msg');
  });

  test.each(['SIGTERM', 'SIGHUP'] as const)(
    '%s: not ready, held pages are moved on, exit 0 within the drain',
    async signal => {
      const { publicUrl, internalUrl, process, ended } = await spawned({ TAGWAIT_DRAIN: '10' });
      const pages = Array.from({ length: 8 }, (_, page) => poll(publicUrl, { key: `k${page % 4}` }));
      for (const key of ['k0', 'k1', 'k2', 'k3']) await held(internalUrl, key, 2);
      const began = performance.now();
      process.kill(signal);
      const replies = await Promise.all(pages);
      // at once, and not spread over the drain
      expect(performance.now() - began).toBeLessThan(6000);
      for (const reply of replies)
        expect(reply).toEqual({ code: -6, message: 'moved', retry: expect.any(Number) });
      const retries = replies.map(reply => reply.retry as number);
      expect(Math.max(...retries)).toBeLessThanOrEqual(10_000);
      expect(new Set(retries).size).toBeGreaterThan(1);
      expect((await fetch(`${internalUrl}/readyz`)).status).toBe(503);
      expect((await fetch(`${internalUrl}/healthz`)).status).toBe(200);
      expect((await poll(publicUrl, { key: 'late' })).code).toBe(-6);
      expect((await set(internalUrl, { key: 'k0', value: 1 })).status).toBe(200);
      expect(await ended).toBe(0);
      // a hold is 25 s, and so would this be without a drain
      expect(performance.now() - began).toBeLessThan(20_000);
    },
  );

  test.each([
    ['is paused', (redis: RedisServer) => redis.client.call('CLIENT', 'PAUSE', '20000', 'ALL')],
    ['is stopped', async (redis: RedisServer) => redis.process.kill('SIGSTOP')],
  ])('Redis %s: SIGINT answers what is held, and exits 0 within the drain', async (_, hang) => {
    const redis = await redisServer();
    const service = await spawned({ TAGWAIT_REDIS_URL: redis.url });
    const page = poll(service.publicUrl, { key: 'a' });
    await held(service.internalUrl, 'a', 1);
    await hang(redis);
    const began = performance.now();
    service.process.kill('SIGINT');
    expect((await page).code).toBe(-6);
    expect(await service.ended).toBe(0);
    expect(performance.now() - began).toBeLessThan(10_000);
  });

  test('a client that never reads does not delay the end', async () => {
    const size = 1_000_000;
    const { publicUrl, internalUrl, process, ended } = await spawned({
      TAGWAIT_MAX_VALUE_BYTES: String(size + 2),
    });
    for (let count = 0; count < 16; count++) await set(internalUrl, { key: 'a', value: 'x'.repeat(size) });
    const client = raw(publicUrl, request('/status/get?key=a'));
    await until(() => client.text.length > 0);
    client.socket.pause();
    const began = performance.now();
    process.kill('SIGTERM');
    expect(await ended).toBe(0);
    expect(performance.now() - began).toBeLessThan(10_000);
    expect(client.text.length, 'the rest was not read').toBeLessThan(16 * size);
  });

  test('a second signal exits at once', async () => {
    const { publicUrl, internalUrl, process, ended } = await spawned({ TAGWAIT_DRAIN: '60' });
    const page = poll(publicUrl, { key: 'a' });
    await held(internalUrl, 'a', 1);
    process.kill('SIGTERM');
    expect((await page).code).toBe(-6);
    process.kill('SIGTERM');
    expect(await ended).toBe(1);
  });

  test('a signal during the start ends it at once, with exit 0', async () => {
    const env = { TAGWAIT_PUBLIC_PORT: '0', TAGWAIT_INTERNAL_PORT: '0', TAGWAIT_LOG_LEVEL: 'info' };
    const { process, ended, output } = run([], env);
    await until(() => output.stderr.includes('"starting"'), { every: 1 });
    process.kill('SIGTERM');
    expect(await ended).toBe(0);
  });

  test.each<[string, string, boolean]>([
    ['SIGTERM', 'one process', false],
    ['SIGINT', 'one process', false],
    ['SIGHUP', 'one process', false],
    ['SIGTERM', 'two workers', true],
  ])(
    '%s at any moment of the start of %s, also as process 1 of a container: exit 0',
    async (signal, _, two) => {
      const env: NodeJS.ProcessEnv = {
        PATH: process.env.PATH,
        TAGWAIT_PUBLIC_PORT: '0',
        TAGWAIT_INTERNAL_PORT: '0',
        TAGWAIT_DRAIN: '3',
        ...(two && { TAGWAIT_WORKERS: '2', TAGWAIT_REDIS_URL: (await redisServer()).url }),
      };
      for (const after of [0, 1, 5, 20, 60, 120, 250, 500]) {
        const [file = '', ...args] = [
          ...AS_PROCESS_1,
          process.execPath,
          '--import',
          signalled(signal, after),
          CLI,
        ];
        const child = spawnSync(file, args, {
          env,
          encoding: 'utf8',
          timeout: PATIENCE,
          killSignal: 'SIGKILL',
        });
        expect({ after, status: child.status, by: child.signal }, child.stderr).toEqual({
          after,
          status: 0,
          by: null,
        });
      }
    },
  );

  test('with nobody connected it stops at once', async () => {
    const { process, ended } = await spawned({ TAGWAIT_DRAIN: '60' });
    process.kill('SIGTERM');
    expect(await ended).toBe(0);
  });
});
