/** The headers of every answer about caching and content types, from one table. */
import { beforeAll, describe, expect, test } from 'vitest';
import { version } from '../src/assets.js';
import { openapi } from '../src/routes/openapi/document.js';
import { service, set } from './harness.js';

type Row = [port: 'public' | 'internal', method: string, path: string, status: number, more?: RequestInit];

const NO_STORE = { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' };
const TOKEN = 'a-token-of-32-characters-or-more';
const json = (body: object): RequestInit => ({
  body: JSON.stringify(body),
  headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${TOKEN}` },
});
const bearer: RequestInit = { headers: { Authorization: `Bearer ${TOKEN}` } };
const set1 = { key: 'h', value: 1 };

/** Answers that must not be cached or sniffed. */
const NEVER_KEPT: Row[] = [
  ['public', 'GET', '/status/get?key=k&hold=0', 403],
  ['public', 'GET', '/status/get?key=', 400],
  ['public', 'GET', '/status/get?key=k&callback=cb&hold=0', 200],
  ['public', 'GET', '/status/get?key=k&var=answer&hold=0', 200],
  ['public', 'GET', '/status/get?key=k&callback=a+b', 400],
  ['public', 'HEAD', '/status/get?key=k&callback=cb', 200],
  ['public', 'GET', '/status/events?key=', 400],
  ['public', 'GET', '/status/events?key=k', 403],
  ['public', 'HEAD', '/status/events?key=k', 403],
  ['public', 'GET', '/status/socket', 426],
  ['public', 'GET', `/healthz?${'x'.repeat(4100)}`, 414],
  ['internal', 'POST', '/status/set', 200, json(set1)],
  ['internal', 'POST', '/status/set', 400, json({ key: 'h' })],
  ['internal', 'POST', '/status/set', 401, { body: '{}' }],
  ['internal', 'POST', '/status/set', 403, { ...json(set1), headers: { 'Sec-Fetch-Site': 'cross-site' } }],
  ['internal', 'POST', '/status/set', 409, json({ ...set1, expect: 'x-1' })],
  ['internal', 'POST', '/status/set', 413, json({ ...set1, value: 'x'.repeat(200_000) })],
  ['internal', 'POST', '/status/set', 415, { ...bearer, body: 'key=h' }],
  ['internal', 'POST', '/status/new', 200, json({})],
  ['internal', 'POST', '/status/new', 401],
  ['internal', 'POST', '/login/new', 200, json({ visitor: 'v' })],
  ['internal', 'POST', '/login/new', 401, { body: '{}' }],
  ['internal', 'POST', '/login/scan', 404, json({ key: 'h', phone: 'p' })],
  ['internal', 'POST', '/login/approve', 404, json({ key: 'h', phone: 'p', user: 1 })],
  ['internal', 'POST', '/login/deny', 404, json({ key: 'h', phone: 'p' })],
  ['internal', 'POST', '/login/redeem', 404, json({ key: 'h', code: 'c', visitor: 'v' })],
  ['internal', 'GET', '/status/peek?key=h', 200, bearer],
  ['internal', 'GET', '/status/peek?key=', 400, bearer],
  ['internal', 'GET', '/status/get?key=k', 404],
  ['internal', 'GET', '/nodes', 200, bearer],
  ['internal', 'GET', '/live', 200, bearer],
  ['internal', 'GET', '/openapi.json', 200, bearer],
  ['internal', 'GET', '/metrics', 200],
  ['internal', 'GET', '/healthz', 200],
  ['internal', 'GET', '/readyz', 200],
  ['internal', 'GET', '/', 200],
  ['internal', 'GET', '/client.js', 200],
];

let urls: Record<Row[0], string>;

async function heads([port, method, path, status, more]: Row): Promise<Record<string, string>> {
  const response = await fetch(`${urls[port]}${path}`, { method, ...more });
  await response.arrayBuffer();
  expect(response.status).toBe(status);
  return Object.fromEntries(response.headers);
}

describe('the head', () => {
  const ends: (() => unknown)[] = [];
  beforeAll(async () => {
    const started = await service({ setTokens: [TOKEN], secret: ['s'.repeat(32)] }, end => ends.push(end));
    urls = { public: started.publicUrl, internal: started.internalUrl };
    return async () => {
      for (const end of ends) await end();
    };
  });

  test.each(NEVER_KEPT)('%s: %s %s %d is kept by nobody, and is what its type says', async (...row) => {
    expect(await heads(row)).toMatchObject(NO_STORE);
  });

  test.each([
    ['/client.js', 'public, max-age=0, must-revalidate'],
    [`/client/${version}.js`, 'public, max-age=31536000, immutable'],
    ['/login.js', 'public, max-age=0, must-revalidate'],
    [`/login/${version}.js`, 'public, max-age=31536000, immutable'],
    // found too, and kept no longer than the path that they mean
    ['/client.js/', 'public, max-age=0, must-revalidate'],
    ['/Client/Many.js', 'public, max-age=0, must-revalidate'],
  ])('public: GET %s is %s', async (path, kept) => {
    expect(await heads(['public', 'GET', path, 200])).toMatchObject({
      'cache-control': kept,
      'x-content-type-options': 'nosniff',
      'access-control-allow-origin': '*',
      'cross-origin-resource-policy': 'cross-origin',
    });
  });
});

test('no path that is described is left out', () => {
  const said = Object.keys(openapi({ version, hold: 25, guarded: false }).paths as object);
  const here = new Set(NEVER_KEPT.map(([, , path]) => path.replace(/\?.*/, '')));
  const kept = /^\/(client|login)\/?.*\.js$/;
  for (const path of said) expect(here.has(path) || kept.test(path), path).toBe(true);
});

test('an answer to be run is a download when it is opened, and gives no key away', async () => {
  const { publicUrl, internalUrl } = await service();
  await set(internalUrl, set1);
  for (const wrap of ['callback=cb', 'var=answer']) {
    const { headers } = await fetch(`${publicUrl}/status/get?key=h&${wrap}`);
    expect(Object.fromEntries(headers)).toMatchObject({
      'content-disposition': 'attachment; filename=f.txt',
      'content-type': 'text/javascript; charset=utf-8',
      'referrer-policy': 'no-referrer',
    });
  }
});
