/** The internal port is for backends: it refuses requests that another site can make a browser send. */
import { once } from 'node:events';
import Koa from 'koa';
import request from 'supertest';
import { describe, expect, onTestFinished, test } from 'vitest';
import { createTagwait } from '../src/index.js';
import { launch, site } from './chromium.js';
import { poll, service, set, until } from './harness.js';
import { raw } from './raw.js';

const TOKENS = { setTokens: ['t'.repeat(32)] };
const AUTHORIZED = `Authorization: Bearer ${TOKENS.setTokens[0]}`;
const PATHS = [
  'POST /status/set',
  'POST /status/new',
  'GET /status/peek?key=k',
  'GET /status/get?key=k',
  'GET /nodes',
  'GET /metrics',
  'GET /healthz',
  'GET /readyz',
  'GET /openapi.json',
  'GET /',
  'GET /client.js',
  'GET /live',
  'GET /nothing',
  'OPTIONS /status/set',
  'DELETE /status/set',
];

/** The status of a request with these headers, written as they stand. `Host` is part of them. */
async function ask(url: string, what: string, headers: string[], more = ''): Promise<number> {
  const [, method, path] = /^(\w+) (.+)$/.exec(what) ?? [];
  const body = method === 'POST' ? '{"key":"k","value":1}' : '';
  const lines = [`${method} ${path} HTTP/1.1`, ...headers, 'Connection: close', more].filter(Boolean);
  if (body) lines.push('Content-Type: application/json', `Content-Length: ${body.length}`);
  const connection = raw(url, `${lines.join('\r\n')}\r\n\r\n${body}`);
  await connection.ended;
  return Number(/^HTTP\/1\.1 (\d+)/.exec(connection.text)?.[1]);
}

test.each(['::ffff:127.0.0.1', '[::ffff:127.0.0.1]', '::ffff:7f00:1'])(
  'a loopback address as the internal host answers at its own URL: %s',
  async internalHost => {
    const { internalUrl } = await service({ internalHost });
    // fetch sends [::ffff:7f00:1]
    expect((await fetch(`${internalUrl}/metrics`)).status).toBe(200);
    const { host, port } = new URL(internalUrl);
    const written = host.replace('7f00:1', '127.0.0.1');
    for (const name of [host, written])
      expect(await ask(`http://127.0.0.1:${port}`, 'GET /metrics', [`Host: ${name}`]), name).toBe(200);
  },
);

describe('browsers of other sites', () => {
  const here = (url: string) => new URL(url).host;
  test.each<[string, (host: string) => string[]]>([
    ['a page of another site', host => [`Host: ${host}`, 'Sec-Fetch-Site: cross-site']],
    ['a page of the same site, on another port', host => [`Host: ${host}`, 'Sec-Fetch-Site: same-site']],
    ['another Origin', host => [`Host: ${host}`, 'Origin: http://evil.example']],
    ['another port', host => [`Host: ${host}`, `Origin: http://${host.replace(/:\d+/, ':3000')}`]],
    ['a page without an origin', host => [`Host: ${host}`, 'Origin: null']],
    [
      'a name that is pointed at this machine',
      () => ['Host: evil.example', 'Origin: http://evil.example', 'Sec-Fetch-Site: same-origin'],
    ],
    ['such a name, from an old browser', () => ['Host: evil.example:11001']],
    ['a name that begins like loopback', () => ['Host: 127.0.0.1.evil.example']],
    ['IPv4 inside IPv6 that is not loopback', () => ['Host: [::ffff:c000:201]:11001']],
  ])('%s: 403 on every path', async (_, headers) => {
    const { publicUrl, internalUrl } = await service({ secret: ['s'.repeat(32)] });
    const statuses = await Promise.all(
      PATHS.map(async path => [path, await ask(internalUrl, path, headers(here(internalUrl)))]),
    );
    expect(statuses).toEqual(PATHS.map(path => [path, 403]));
    // the same in two packets, which Node's HTTP reads
    const slow = raw(internalUrl, `GET /healthz HTTP/1.1\r\n`);
    slow.socket.write(`${headers(here(internalUrl)).join('\r\n')}\r\nConnection: close\r\n\r\n`);
    await slow.ended;
    expect(slow.text).toMatch(/^HTTP\/1\.1 403 .*"message":"forbidden","detail":"/s);
    expect((await request(internalUrl).get('/status/peek?key=k')).body.entries).toEqual([]);
    expect((await fetch(`${publicUrl}/healthz`, { headers: { Origin: 'http://evil.example' } })).status).toBe(
      200,
    );
  });

  test('an absolute URL of another host is judged by that host, whatever Host says', async () => {
    const { internalUrl } = await service();
    const { host } = new URL(internalUrl);
    const absolute = (what: string, authority: string) => what.replace(' /', ` http://${authority}/`);
    const statuses = (authority: string, own: string) =>
      Promise.all(PATHS.map(path => ask(internalUrl, absolute(path, authority), [`Host: ${own}`])));
    expect(new Set(await statuses('evil.example', host))).toEqual(new Set([403]));
    expect(new Set(await statuses('evil.example:11001', 'localhost'))).toEqual(new Set([403]));
    expect(await statuses(host, 'evil.example')).not.toContain(403);
    expect((await request(internalUrl).get('/status/peek?key=k')).body.entries).toHaveLength(1);
  });

  test('with tokens a page of another site is refused as well, whatever it sends; any Host is taken', async () => {
    const { internalUrl } = await service(TOKENS);
    for (const [headers, status] of [
      [['Host: status.internal', AUTHORIZED], 200],
      [['Host: status.internal:443', 'Origin: https://Status.internal', AUTHORIZED], 200],
      [['Host: status.internal', 'Origin: https://status.internal:8443', AUTHORIZED], 403],
      [['Host: status.internal', 'Sec-Fetch-Site: cross-site', AUTHORIZED], 403],
      [['Host: status.internal', 'Sec-Fetch-Site: cross-site'], 403],
    ] as const)
      expect(await ask(internalUrl, 'POST /status/set', [...headers]), headers.join()).toBe(status);
  });
});

test.each<[string, (host: string) => string[]]>([
  ['a backend', host => [`Host: ${host}`]],
  ['localhost', host => [`Host: ${host.replace('127.0.0.1', 'LocalHost')}`]],
  ['IPv6', host => [`Host: ${host.replace('127.0.0.1', '[::1]')}`]],
  ['IPv4 inside IPv6', host => [`Host: ${host.replace('127.0.0.1', '[::ffff:127.0.0.1]')}`]],
  ['the same, as URL parsers write it', host => [`Host: ${host.replace('127.0.0.1', '[::ffff:7f00:1]')}`]],
  ['no port', () => ['Host: 127.0.0.1']],
  ['the address line of a browser', host => [`Host: ${host}`, 'Sec-Fetch-Site: none']],
  [
    'a page of the port itself',
    host => [`Host: ${host}`, 'Sec-Fetch-Site: same-origin', `Origin: http://${host}`],
  ],
])('%s is answered', async (_, headers) => {
  const { internalUrl } = await service();
  for (const what of ['POST /status/set', 'GET /healthz', 'GET /'])
    expect(await ask(internalUrl, what, headers(new URL(internalUrl).host)), what).toBe(200);
  expect(await ask(internalUrl, 'GET /nothing', headers(new URL(internalUrl).host))).toBe(404);
});

test('a browser: a form and a no-cors request of a page of another origin set nothing', async () => {
  const { publicUrl, internalUrl } = await service();
  const browser = await launch();
  onTestFinished(() => browser.close());
  const page = await browser.newPage();
  const statuses: number[] = [];
  page.on('response', response => {
    if (response.url().startsWith(internalUrl)) statuses.push(response.status());
  });
  const elsewhere = await site(
    `<form method="post" action="${internalUrl}/status/set" target="frame"><input name="key" value="k"><input name="value" value="1"></form><iframe name="frame"></iframe>`,
  );
  await page.goto(elsewhere.replace('127.0.0.1', 'localhost'));
  await page.evaluate(url => {
    document.forms[0]?.submit();
    return fetch(`${url}/status/set`, {
      method: 'POST',
      mode: 'no-cors',
      body: new URLSearchParams('key=k&value=1'),
    }).catch(() => {});
  }, internalUrl);
  await until(() => statuses.length === 2);
  expect(statuses).toEqual([403, 403]);
  expect(await poll(publicUrl, { key: 'k', hold: '0' })).toMatchObject({ code: -1 });
});

test('GET /status/get on the internal port is 404, and says where to ask', async () => {
  const { publicUrl, internalUrl } = await service();
  await set(internalUrl, { key: 'k', value: 1 });
  for (const query of ['?key=k', '?key=k&callback=f', '', '?key=a&key=b']) {
    const { status, body } = await request(internalUrl).get(`/status/get${query}`);
    expect([status, body]).toEqual([
      404,
      { code: 404, message: 'not found', detail: `GET /status/get: poll on the public port, ${publicUrl}` },
    ]);
  }
});

test('the paths of the internal port on the public one are 404, and say where backends ask', async () => {
  const { publicUrl, internalUrl } = await service({ secret: ['s'.repeat(32)] });
  const { body } = await request(internalUrl).get('/openapi.json');
  const unknown: string[] = [];
  for (const path of Object.keys((body as { paths: object }).paths)) {
    const answers = [await request(publicUrl).get(path), await request(publicUrl).post(path).send({})];
    if (answers.some(({ status }) => status !== 404) || /\{|^\/$|\.js$/.test(path)) continue;
    unknown.push(path);
    for (const { status, headers, body } of answers)
      expect([path, status, headers['cache-control'], headers['x-content-type-options'], body]).toEqual([
        path,
        404,
        'no-store',
        'nosniff',
        {
          code: 404,
          message: 'not found',
          detail: `${path}: this is the public port; backends use TAGWAIT_INTERNAL_PORT`,
        },
      ]);
  }
  expect(unknown).toHaveLength(13);
  expect((await request(publicUrl).get('/other')).text).toBe('Not Found');
});

describe('the library', () => {
  /** An app that believes that it is asked from this address. */
  async function app(address: string, options = {}) {
    const tagwait = await createTagwait({ logLevel: 'silent', ...options });
    onTestFinished(() => tagwait.close());
    const koa = new Koa();
    koa.use((ctx, next) => {
      Object.defineProperty(ctx.req.socket, 'remoteAddress', { value: address });
      return next();
    });
    koa.use(tagwait.internalRoutes).use(tagwait.publicRoutes);
    koa.use(ctx => {
      ctx.body = 'the app itself';
    });
    const server = koa.listen(0, '127.0.0.1');
    onTestFinished(() => void server.close());
    await once(server, 'listening');
    return server;
  }
  const INTERNAL = ['/status/peek?key=k', '/nodes', '/metrics', '/healthz', '/readyz', '/openapi.json'];

  test('without tokens it refuses what is not this machine, and nothing else of the app', async () => {
    const server = await app('192.0.2.1');
    for (const path of INTERNAL) expect((await request(server).get(path)).status, path).toBe(403);
    const refused = await request(server).post('/status/set').send({ key: 'k', value: 1 });
    expect([refused.status, refused.body.detail]).toEqual([
      403,
      expect.stringContaining('TAGWAIT_SET_TOKENS'),
    ]);
    expect((await request(server).get('/')).text).toBe('the app itself');
    expect((await request(server).get('/status/get?key=k&hold=0')).body.code).toBe(-1);
  });

  test.each(['127.0.0.1', '::ffff:127.0.0.1', '::1'])('without tokens it answers %s', async address => {
    const server = await app(address);
    for (const path of INTERNAL) expect((await request(server).get(path)).status, path).toBe(200);
    expect((await request(server).post('/status/set').send({ key: 'k', value: 1 })).status).toBe(200);
    expect((await request(server).get('/nodes').set('Host', 'evil.example')).status).toBe(403);
  });

  test('with tokens it answers from anywhere', async () => {
    const server = await app('192.0.2.1', TOKENS);
    const { status } = await request(server)
      .get('/nodes')
      .auth(TOKENS.setTokens[0] as string, { type: 'bearer' });
    expect(status).toBe(200);
  });
});
