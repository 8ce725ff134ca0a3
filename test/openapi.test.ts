/** /openapi.json held against what both ports really answer. */
import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { beforeAll, describe, expect, test } from 'vitest';
import { httpApi } from '../docs/make/http-api.js';
import { version } from '../src/assets.js';
import { openapi } from '../src/routes/openapi/document.js';
import type { Service } from '../src/service.js';
import { held, poll, service, set, stopClock } from './harness.js';
import { redisServer } from './redis.js';
import { type Refused, socketTo } from './websocket.js';

interface Operation {
  requestBody?: { content: Record<string, { schema: object }> };
  responses: Record<string, { content?: Record<string, { schema: object }> }>;
}
interface Document {
  openapi: string;
  paths: Record<string, Partial<Record<'get' | 'post', Operation>> & { servers?: object[] }>;
  components: { securitySchemes?: object };
  security: object[];
}

let document: Document;
let ajv: Ajv2020;
const seen = new Set<string>();

const describedAt = async (url: string, headers = {}) =>
  (await (await fetch(`${url}/openapi.json`, { headers })).json()) as Document;

beforeAll(async () => {
  document = JSON.parse(JSON.stringify(openapi({ version, hold: 25, guarded: false })));
  ajv = new Ajv2020({ strict: false, allErrors: true });
  ajv.addSchema(document, 'api');
});

/** Refuses an answer that the document does not describe. */
async function heldAgainst(response: Response, method: 'get' | 'post', path: string): Promise<unknown> {
  const said = document.paths[path]?.[method]?.responses[response.status];
  expect(said, `${method} ${path} ${response.status} is described`).toBeDefined();
  seen.add(`${method} ${path} ${response.status}`);
  const type = (response.headers.get('content-type') ?? '').split(';')[0] as string;
  const body = await response.text();
  if (!said?.content) {
    expect(body).toBe('');
    return undefined;
  }
  expect(Object.keys(said.content), `${method} ${path} ${response.status}`).toContain(type);
  if (type !== 'application/json') return body;
  const at = ['paths', path, method, 'responses', String(response.status), 'content', type, 'schema'];
  const pointer = at
    .map(part => encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1')))
    .join('/');
  const valid = ajv.validate({ $ref: `api#/${pointer}` }, JSON.parse(body));
  expect(valid, `${path}: ${body} ${ajv.errorsText()}`).toBe(true);
  return JSON.parse(body);
}

describe('every answer is one that the document describes', () => {
  const get = async (url: string, path: string, described = path.replace(/\?.*/, ''), headers = {}) =>
    heldAgainst(await fetch(`${url}${path}`, { headers }), 'get', described);
  const post = async (url: string, path: string, body: unknown, headers = {}) =>
    heldAgainst(
      await fetch(`${url}${path}`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
      'post',
      path,
    );

  const phone = { key: 'a', phone: 'p' };
  const claim = { key: 'a', code: 'c', visitor: 'v' };
  const LOGIN: [step: string, fields: object][] = [
    ['new', { visitor: 'v', ttl: 60, show: { site: 'a' } }],
    ['scan', phone],
    ['approve', { ...phone, user: 1 }],
    ['deny', phone],
    ['redeem', claim],
  ];
  /** Every answer of the five calls but 503. */
  async function logins({ internalUrl: url, tagwait }: Service, allowed: Record<string, string>) {
    const call = (step: string, fields: object) => post(url, `/login/${step}`, fields, allowed);
    const begin = async (ttl: number) => ({
      ...claim,
      ...((await call('new', { visitor: 'v', ttl })) as { key: string }),
    });
    for (const [step, fields] of LOGIN) {
      await post(url, `/login/${step}`, fields);
      await post(url, `/login/${step}`, fields, { ...allowed, Origin: 'https://evil.example' });
      await call(step, {});
      await post(url, `/login/${step}`, 'x'.repeat(9000), allowed);
      await post(url, `/login/${step}`, 'x', { ...allowed, 'Content-Type': 'text/plain' });
      // 404 for all but the first
      await call(step, fields);
    }
    const [{ key }, { key: late }, { key: denied }] = [await begin(60), await begin(0.001), await begin(60)];
    await call('approve', { key, phone: 'p', user: 1 });
    await call('deny', { key, phone: 'p' });
    for (const one of [key, denied]) for (const by of ['p', 'q']) await call('scan', { key: one, phone: by });
    for (const step of ['scan', 'deny']) await call(step, { key: late, phone: 'p' });
    await call('approve', { key: late, phone: 'p', user: 1 });
    await call('deny', { key: denied, phone: 'p' });
    await call('redeem', { ...claim, key: denied });
    await call('approve', { key, phone: 'p', user: 1 });
    for (let wrong = 0; wrong < 12; wrong++) await call('redeem', { ...claim, key });
    const entry = (await tagwait.peek(key)).entries.at(-1);
    const { code } = JSON.parse(entry?.value ?? '{}') as { code: string };
    for (let twice = 0; twice < 2; twice++) await call('redeem', { ...claim, key, code });
    const off = await service();
    for (const [step, fields] of LOGIN) await post(off.internalUrl, `/login/${step}`, fields);
  }

  test('a poll', async () => {
    const { publicUrl, internalUrl, tagwait } = await service({ maxHeldPerIp: 1, history: 2 });
    for (const value of [1, { a: [] }, null]) await set(internalUrl, { key: 'a', value });
    await get(publicUrl, '/status/get?key=a');
    await get(publicUrl, '/status/get?key=a&callback=f');
    await get(publicUrl, '/status/get?key=b&hold=0');
    await set(internalUrl, { key: 'c', value: 1, final: true });
    const { cursor = '' } = await poll(publicUrl, { key: 'c' });
    await get(publicUrl, `/status/get?key=c&since=${cursor}`);
    await get(publicUrl, '/status/get?key=');
    await get(publicUrl, '/status/get?key=a&callback=if');
    const page = poll(publicUrl, { key: 'd' });
    await held(internalUrl, 'd', 1);
    await get(publicUrl, '/status/get?key=d');
    tagwait.drain(0);
    await page;
    await get(publicUrl, '/status/get?key=d');
    await get(internalUrl, '/readyz');
    const { publicUrl: guarded } = await service({ secret: ['s'.repeat(32)] });
    await get(guarded, '/status/get?key=a');
  });

  test('an event stream', async () => {
    const { publicUrl, internalUrl, tagwait } = await service({ maxHeldPerKey: 1 });
    const stream = fetch(`${publicUrl}/status/events?key=a`);
    await held(internalUrl, 'a', 1);
    await get(publicUrl, '/status/events?key=a');
    await set(internalUrl, { key: 'a', value: 1, final: true });
    await heldAgainst(await stream, 'get', '/status/events');
    const { cursor = '' } = await poll(publicUrl, { key: 'a' });
    await get(publicUrl, `/status/events?key=a&since=${cursor}`);
    await get(publicUrl, '/status/events?key=');
    tagwait.drain(0);
    await get(publicUrl, '/status/events?key=b');
    const { publicUrl: guarded } = await service({ secret: ['s'.repeat(32)] });
    await get(guarded, '/status/events?key=a');
  });

  test('a WebSocket', async () => {
    const path = '/status/socket';
    const { publicUrl, tagwait } = await service({ origins: ['https://shop.example'], maxHeldPerIp: 1 });
    const refused = async (origin: string, protocol = 'tagwait.1') => {
      const error: unknown = await socketTo(publicUrl, { origin }, [protocol]).catch(reason => reason);
      const { status, headers, text } = error as Refused;
      await heldAgainst(new Response(text, { status, headers: headers as HeadersInit }), 'get', path);
    };
    await get(publicUrl, path);
    await refused('https://evil.example');
    await refused('https://shop.example', 'chat');
    await socketTo(publicUrl);
    seen.add(`get ${path} 101`);
    await refused('https://shop.example');
    tagwait.drain(0);
    await refused('https://shop.example');
  });

  test('what else pages get', async () => {
    const { publicUrl } = await service();
    for (const path of [
      '/client.js',
      `/client/${version}.js`,
      '/client/many.js',
      `/client/many/${version}.js`,
      '/login.js',
      `/login/${version}.js`,
      '/login/phone.js',
      `/login/phone/${version}.js`,
    ]) {
      const described = path.replace(version, '{version}');
      await get(publicUrl, path, described);
      const tag = (await fetch(`${publicUrl}${path}`)).headers.get('etag') ?? '';
      await get(publicUrl, path, described, { 'If-None-Match': tag, 'Cache-Control': 'max-age=0' });
    }
    await get(publicUrl, '/healthz');
    stopClock();
    const { publicUrl: limited } = await service({ maxPollsPerIp: 1 });
    await get(limited, '/healthz');
    for (const path of ['/healthz', '/client.js']) await get(limited, path);
    await get(limited, `/client/${version}.js`, '/client/{version}.js');
    await get(limited, '/client/many.js');
    await get(limited, `/client/many/${version}.js`, '/client/many/{version}.js');
    await get(limited, '/login.js');
    await get(limited, `/login/${version}.js`, '/login/{version}.js');
    await get(limited, '/login/phone.js');
    await get(limited, `/login/phone/${version}.js`, '/login/phone/{version}.js');
  });

  test('what backends and operators get', async () => {
    const redis = await redisServer();
    const token = 't'.repeat(32);
    const node = await service({
      redisUrl: redis.url,
      setTokens: [token],
      secret: ['s'.repeat(32)],
      maxValueBytes: 100,
    });
    const { internalUrl } = node;
    const allowed = { Authorization: `Bearer ${token}` };
    for (const path of ['/status/set', '/status/new']) {
      await post(internalUrl, path, { key: 'a', value: 1 });
      await post(internalUrl, path, '{', allowed);
      await post(internalUrl, path, 'x'.repeat(9000), allowed);
      await post(internalUrl, path, 'x', { ...allowed, 'Content-Type': 'text/plain' });
    }
    await post(internalUrl, '/status/set', { key: 'a', value: 1, ttl: 60, id: 'x' }, allowed);
    await post(internalUrl, '/status/set', { key: 'a', value: 1, expect: '' }, allowed);
    await post(internalUrl, '/status/new', { ttl: 60 }, allowed);
    for (const path of ['/status/peek?key=a', '/nodes', '/live', '/openapi.json']) {
      await get(internalUrl, path);
      await get(internalUrl, path, undefined, allowed);
    }
    await logins(node, allowed);
    await get(internalUrl, '/status/peek?key=', undefined, allowed);
    for (const path of ['/', '/metrics', '/healthz', '/readyz']) await get(internalUrl, path);
    const elsewhere = { Origin: 'https://evil.example' };
    for (const path of ['/status/set', '/status/new']) await post(internalUrl, path, {}, elsewhere);
    for (const path of [
      ...['/status/peek', '/nodes', '/metrics', '/healthz'],
      ...['/readyz', '/', '/live', '/openapi.json'],
    ])
      await get(internalUrl, path, undefined, elsewhere);
    await redis.kill();
    await post(internalUrl, '/status/set', { key: 'a', value: 1 }, allowed);
    for (const [step, fields] of LOGIN) await post(internalUrl, `/login/${step}`, fields, allowed);
    await get(internalUrl, '/status/peek?key=a', undefined, allowed);
    await get(internalUrl, '/nodes', undefined, allowed);
  });

  test('and nothing is described that was not answered here', () => {
    const described = Object.entries(document.paths).flatMap(([path, { get: read, post: write }]) => [
      ...Object.keys(read?.responses ?? {}).map(status => `get ${path} ${status}`),
      ...Object.keys(write?.responses ?? {}).map(status => `post ${path} ${status}`),
    ]);
    expect(described.filter(one => !seen.has(one))).toEqual([]);
  });
});

test('the running service hands it out, and says whether it asks for tokens', async () => {
  const open = await service();
  expect(await describedAt(open.internalUrl)).toEqual(document);
  const token = 't'.repeat(32);
  const guarded = await service({ setTokens: [token] });
  expect((await fetch(`${guarded.internalUrl}/openapi.json`)).status).toBe(401);
  const said = await describedAt(guarded.internalUrl, { Authorization: `Bearer ${token}` });
  expect(said.security).toEqual([{ token: [] }]);
  expect(said.components.securitySchemes).toBeDefined();
});

test('every path of both ports is described', () => {
  const source = ['public', 'internal']
    .map(name => readFileSync(new URL(`../src/routes/${name}.ts`, import.meta.url), 'utf8'))
    .join('');
  const routed = [...source.matchAll(/router\.(?:get|post)\(\[?'([^']+)'/g)].map(match => match[1] as string);
  expect(routed.length).toBeGreaterThan(9);
  for (const path of routed) expect(Object.keys(document.paths)).toContain(path);
});

test('docs/http-api.md is made from the document; if not: npm run build && npm run docs:api', () => {
  const page = readFileSync(new URL('../docs/http-api.md', import.meta.url), 'utf8');
  expect(page).toBe(httpApi(openapi({ version, hold: 25, guarded: true })));
});
