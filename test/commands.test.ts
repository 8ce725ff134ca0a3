/** `tagwait set`, `watch`, `peek`, `new` and `check`, against a service in this process. */
import { createServer, type RequestListener } from 'node:http';
import { expect, onTestFinished, test } from 'vitest';
import { runCommand } from '../src/commands.js';
import { held, listen, run, service, set, until } from './harness.js';
import { redisServer } from './redis.js';

const TOKEN = 'a-token-of-32-characters-or-more';
const SECRET = 'a-secret-of-thirty-two-characters';

/** Runs a command. @param env settings of the service */
function command(args: string[], env: Record<string, string> = {}) {
  const output: { out: string[]; err: string[] } = { out: [], err: [] };
  const code = runCommand(args, {
    env,
    out: line => output.out.push(line),
    err: line => output.err.push(line),
  });
  return {
    ...output,
    code,
    answers: () => output.out.map(line => JSON.parse(line) as Record<string, unknown>),
  };
}

/** The same, to its end. */
async function ran(args: string[], env: Record<string, string> = {}) {
  const { out, err, code } = command(args, env);
  return { code: await code, out, err };
}

/** A service, and the variables by which commands find it. */
async function found(options: Parameters<typeof service>[0] = {}) {
  const node = await service(options);
  const env: Record<string, string> = {
    TAGWAIT_PUBLIC_PORT: new URL(node.publicUrl).port,
    TAGWAIT_INTERNAL_PORT: new URL(node.internalUrl).port,
  };
  if (options.setTokens) env.TAGWAIT_SET_TOKENS = options.setTokens.join(',');
  return { ...node, env };
}

test('set stores JSON or text, and prints the answer', async () => {
  const { env, tagwait, internalUrl } = await found();
  const stored = async (...args: string[]) => {
    const { code, out, err } = await ran(['set', 'a', ...args], env);
    expect([code, err, out.length]).toEqual([0, [], 1]);
    return JSON.parse(out[0] ?? '') as { cursor: string; repeated?: boolean };
  };
  const first = await stored('{"state":"scanned"}', '--expect', '', '--ttl', '60', '--id', 'x');
  expect(await stored('{"state":"scanned"}', '--id', 'x')).toMatchObject({ repeated: true });
  await stored('007', '--url', `${internalUrl}/`);
  await stored('--', '-5');
  await stored('[urgent] call me');
  const { entries } = await tagwait.peek('a');
  expect(entries.map(({ value }) => value)).toEqual([
    '{"state":"scanned"}',
    '"007"',
    '-5',
    '"[urgent] call me"',
  ]);
  expect(entries[0]?.cursor).toBe(first.cursor);
  await stored('true', '--final');
  expect((await tagwait.peek('a')).final).toBe(true);
});

test('a refusal is one line on stderr, and exit code 1', async () => {
  const { env } = await found();
  const first = JSON.parse((await ran(['set', 'a', '1'], env)).out[0] ?? '') as { cursor: string };
  const conflict = await ran(['set', 'a', '2', '--expect', ''], env);
  expect(conflict).toEqual({
    code: 1,
    out: [],
    err: [expect.stringMatching(/^tagwait: 409 conflict: .*the newest cursor is /)],
  });
  expect(conflict.err[0]).toContain(first.cursor);
  const bad = await ran(['set', 'a b', '2', '--ttl', 'long'], env);
  expect(bad.err).toEqual([expect.stringMatching(/^tagwait: 400 bad request: key: give .*; ttl: give /)]);
  expect(bad.code).toBe(1);
});

test('the first token of the settings is given', async () => {
  const { env } = await found({ setTokens: [TOKEN, `${TOKEN}2`], secret: [SECRET] });
  const { code, out } = await ran(['new', '--ttl', '60'], env);
  expect(code).toBe(0);
  expect(JSON.parse(out[0] ?? '')).toMatchObject({
    code: 0,
    key: expect.any(String),
    proof: expect.any(String),
  });
  const refused = await ran(['new'], { ...env, TAGWAIT_SET_TOKENS: 'x'.repeat(32) });
  expect(refused).toEqual({ code: 1, out: [], err: [expect.stringMatching(/^tagwait: 401 unauthorized: /)] });
});

test('a key that begins with a dash goes after --', async () => {
  const { env, internalUrl } = await found();
  await set(internalUrl, { key: '-a', value: 1, final: true });
  for (const name of ['peek', 'watch']) {
    const { code, out } = await ran([name, '--', '-a'], env);
    expect([name, code, JSON.parse(out[0] ?? '')]).toEqual([
      name,
      0,
      expect.objectContaining({ final: true }),
    ]);
  }
  expect(await ran(['set', '--ttl', '60', '--', '-b', '-5'], env)).toMatchObject({ code: 0, err: [] });
});

test('peek prints what is stored', async () => {
  const { env, internalUrl } = await found();
  await set(internalUrl, { key: 'a', value: 1 });
  const { code, out } = await ran(['peek', 'a'], env);
  expect(code).toBe(0);
  expect(JSON.parse(out[0] ?? '')).toMatchObject({ key: 'a', entries: [{ value: 1 }] });
});

test('watch prints a line for each value, until the final one; an expired ticket is an error', async () => {
  const { env, internalUrl, tagwait } = await found({ secret: [SECRET] });
  const { key, proof } = tagwait.newTicket(60);
  await set(internalUrl, { key, value: 1 });
  const watching = command(['watch', key, '--proof', proof], env);
  await until(() => watching.out.length === 1, { seen: () => watching });
  await held(internalUrl, key, 1);
  const { cursor } = (await set(internalUrl, { key, value: 'done', final: true })).body;
  expect(await watching.code).toBe(0);
  expect(watching.answers()).toEqual([
    { value: 1, cursor: expect.any(String), lost: 0, final: false },
    { value: 'done', cursor, lost: 0, final: true },
  ]);
  const since = watching.answers()[0]?.cursor as string;
  expect((await ran(['watch', key, '--proof', proof, '--since', since], env)).out).toHaveLength(1);
  const expired = await ran(['watch', key, '--proof', proof, '--since', cursor], env);
  expect(expired).toEqual({ code: 1, out: [], err: ['tagwait: expired: the key or its ticket has ended'] });
  const forbidden = await ran(['watch', key], env);
  expect([forbidden.code, forbidden.err[0]]).toEqual([1, expect.stringMatching(/^tagwait: forbidden: /)]);
});

test('check: 0 where the settings are valid and the store can be reached, 1 without the store, 2 for settings', async () => {
  expect(await ran(['check'])).toEqual({
    code: 0,
    out: ['{"settings":"ok","store":"embedded","up":true}'],
    err: [],
  });
  const { url } = await redisServer();
  expect((await ran(['check', '--redis-url', url])).out).toEqual([
    '{"settings":"ok","store":"Redis","up":true}',
  ]);
  const away = await ran(['check'], { TAGWAIT_REDIS_URL: 'redis://127.0.0.1:1' });
  expect(away).toEqual({
    code: 1,
    out: ['{"settings":"ok","store":"Redis","up":false}'],
    err: [expect.stringMatching(/^tagwait: Redis: ./)],
  });
  const faulty = await ran(['check', '--hold', 'soon'], { TAGWAIT_TTL: '-1' });
  expect([faulty.code, faulty.err.length, faulty.out]).toEqual([2, 2, []]);
});

test('check prints the warnings of the service, and exits with 0', async () => {
  const { code, err } = await ran(['check'], { TAGWAIT_IMAGE: 'hunter2', TAGWAIT_SECRET: '"short"' });
  expect([code, err]).toEqual([
    0,
    [
      'tagwait: warning: TAGWAIT_IMAGE: not a setting, and has no effect; tagwait --help lists them',
      'tagwait: warning: TAGWAIT_SECRET: give 32 random characters or more: a page can try shorter ones',
      'tagwait: warning: TAGWAIT_SECRET: the quotes around it are part of it; env files keep them',
    ],
  ]);
});

test.each([
  [['hunter2'], 2, /^tagwait: not a command; there are set, watch, peek, new, check, /],
  [['set', 'a'], 1, /^tagwait: missing required argument 'value'$/],
  [['set', 'a', '1', '--final=hunter2'], 1, /^tagwait: --final: takes no value$/],
  [['set', 'a', '1', '--bogus=hunter2'], 1, /^tagwait: unknown option '--bogus'$/],
  [['set', 'a', '1', '--ttll', '1'], 1, /^tagwait: unknown option '--ttll' \(Did you mean --ttl\?\)$/],
  [['new', '--ttl'], 1, /^tagwait: option '--ttl <seconds>' argument missing$/],
  [['peek', 'a', 'b'], 1, /^tagwait: too many arguments/],
  [['peek', 'a', '--bogus'], 1, /unknown option '--bogus'/],
  [['set', 'a', '-hunter2'], 1, /begins with a dash after --/],
  [['watch', '-hunter2'], 1, /begins with a dash after --/],
  [['peek', 'a', '--url', 'http://127.0.0.1:1'], 1, /^tagwait: no answer from http:\/\/127.0.0.1:1: \w/],
  [['watch', 'a', '--url', 'http://127.0.0.1:1'], 1, /^tagwait: no answer from http:\/\/127.0.0.1:1: \w/],
  [['watch', 'a', '--url', 'nowhere'], 1, /^tagwait: --url: give /],
  [['peek', 'a', '--url', 'nowhere'], 1, /^tagwait: --url: give /],
  [['set', 'a', '1', '--url', 'localhost:3101'], 1, /^tagwait: --url: give .* http:/],
  [['peek', 'a', '--url', 'http://admin:hunter2@127.0.0.1:1/'], 1, /^tagwait: --url: give .*without a user/],
  [['watch', 'a', '--url', 'http://hunter2@127.0.0.1:1'], 1, /^tagwait: --url: give .*without a user/],
  [['new', '--url', 'http://127.0.0.1:1/?hunter2'], 1, /^tagwait: --url: give .*and #/],
  [['new', '--url', 'http://127.0.0.1:1/#hunter2'], 1, /^tagwait: --url: give .*and #/],
])('%j: exit code %i and one line that says why', async (args, code, line) => {
  const result = await ran(args);
  expect([result.code, result.out]).toEqual([code, []]);
  expect(result.err.join('\n')).toMatch(line);
  expect(result.err.join('\n')).not.toContain('hunter2');
});

/** Another server, closed when the test ends. @returns its URL */
async function other(listener: RequestListener) {
  const server = createServer(listener);
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return listen(server);
}

test.each<[string, number, Record<string, string>, string, string]>([
  ['a page', 200, { 'Content-Type': 'text/html' }, '<h1>hello</h1>', '200 with text/html'],
  ['other JSON', 200, { 'Content-Type': 'application/json' }, '{"ok":true}', '200 with application/json'],
  [
    'JSON that is no object',
    200,
    { 'Content-Type': 'application/json' },
    'null',
    '200 with application/json',
  ],
  ['no content', 204, {}, '', '204 with no content type'],
  ['no such page', 404, { 'Content-Type': 'text/html' }, '<h1>\n</h1>', '404 with text/html'],
  [
    'an error in JSON',
    500,
    { 'Content-Type': 'application/json' },
    '{"error":1}',
    '500 with application/json',
  ],
  [
    'a redirect',
    301,
    { Location: 'https://other.example/x?hunter2' },
    '',
    '301 redirects to https://other.example',
  ],
])('another server that answers %s is named, and stores nothing', async (_, status, headers, body, why) => {
  const asked: (string | undefined)[] = [];
  const url = await other((request, response) => {
    asked.push(request.url);
    response.writeHead(status, headers).end(body);
  });
  for (const args of [['set', 'a', '1'], ['peek', 'a'], ['new']]) {
    const result = await ran([...args, '--url', url]);
    expect(result).toEqual({ code: 1, out: [], err: [`tagwait: no tagwait at ${url}: ${why}`] });
  }
  expect(asked).toHaveLength(3);
});

test('a redirect to the service is not followed: the set would become a GET', async () => {
  const { internalUrl, tagwait } = await found();
  const url = await other((request, response) => {
    response.writeHead(301, { Location: `${internalUrl}${request.url}` }).end();
  });
  expect(await ran(['set', 'a', '1', '--url', url])).toEqual({
    code: 1,
    out: [],
    err: [`tagwait: no tagwait at ${url}: 301 redirects to ${internalUrl}`],
  });
  expect((await tagwait.peek('a')).entries).toEqual([]);
});

test('watch at the internal port says where the public port is', async () => {
  const { internalUrl, publicUrl } = await found();
  expect(await ran(['watch', 'a', '--url', internalUrl])).toEqual({
    code: 1,
    out: [],
    err: [`tagwait: ${internalUrl}: GET /status/get: poll on the public port, ${publicUrl}`],
  });
});

test('a port that the settings leave open is asked for', async () => {
  const { code, err } = await ran(['watch', 'a'], { TAGWAIT_PUBLIC_PORT: '0' });
  expect([code, err]).toEqual([1, ['tagwait: the public port is 0, a free one: give --url']]);
});

test.each(['set', 'watch', 'peek', 'new', 'check'])('%s --help says what it takes', async name => {
  const { code, out } = await ran([name, '--help']);
  expect(code).toBe(0);
  expect(out.join('\n')).toMatch(new RegExp(`^Usage: tagwait ${name} [\\s\\S]*Examples:`));
});

test('as a process: its output, its exit code, and no flag of V8 that it does not need', async () => {
  const { env, internalUrl } = await found();
  const child = run(['set', 'a', 'scanned'], env);
  expect(await child.ended).toBe(0);
  expect(JSON.parse(child.output.stdout)).toMatchObject({ code: 0 });
  expect(child.output.stderr).toBe('');
  const other = run(['peek', 'a', '--url', internalUrl.replace(/\d+$/, '1')]);
  expect(await other.ended).toBe(1);
  expect(other.output.stderr).toMatch(/^tagwait: no answer from /);
});
