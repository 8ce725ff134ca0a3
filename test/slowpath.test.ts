/** Requests that are not on the fast path: each costs itself alone, and the connection is read there again. */
import diagnostics from 'node:diagnostics_channel';
import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Connections } from '../src/wire/connections.js';
import { type Exchange, HeaderBlock } from '../src/wire/exchange.js';
import { timeoutsOf } from '../src/wire/port.js';
import { held, service, set, spawned, until } from './harness.js';
import { type Raw, raw, request } from './raw.js';
import { redisServer } from './redis.js';
import { scrape } from './scrape.js';

const POLL = '/status/get?key=k&hold=0';
const post = (target: string, body: string, headers: string[] = []) =>
  request(target, ['Content-Type: application/json', `Content-Length: ${body.length}`, ...headers], 'POST') +
  body;
const SET = post('/status/set', '{"key":"k","value":"v"}');
const CHUNKED = `${request(
  '/status/set',
  ['Content-Type: application/json', 'Transfer-Encoding: chunked'],
  'POST',
)}a\r\n{"key":"k"\r\nd\r\n,"value":"v"}\r\n0\r\n\r\n`;

/** Polls and sets that Node's HTTP reads in this process from now on. */
function readByNode(): string[] {
  const seen: string[] = [];
  const look = (message: unknown) => {
    const { url = '' } = (message as { request: IncomingMessage }).request;
    if (/^\/status\/[gs]et/.test(url)) seen.push(url);
  };
  diagnostics.subscribe('http.server.request.start', look);
  onTestFinished(() => void diagnostics.unsubscribe('http.server.request.start', look));
  return seen;
}

/** Sends in packets of their own, and waits for a whole response. @returns it */
async function ask(connection: Raw, ...packets: string[]): Promise<string> {
  const from = connection.text.length;
  connection.socket.setNoDelay();
  for (const packet of packets) {
    // latin1: one byte for each character
    connection.socket.write(packet, 'latin1');
    await new Promise(setImmediate);
  }
  const bodiless = packets[0]?.startsWith('HEAD');
  return until(() => {
    const text = connection.text.slice(from).replace(/^HTTP\/1\.1 100 Continue\r\n\r\n/, '');
    const [head = '', body] = text.split(/\r\n\r\n(.*)/s);
    if (/^transfer-encoding/im.test(head)) return body?.endsWith('0\r\n\r\n') && text;
    const length = bodiless ? 0 : Number(/^content-length: (\d+)$/im.exec(head)?.[1] ?? 0);
    return body !== undefined && body.length === length && text;
  });
}

/** How many requests were not on the fast path, by reason. */
async function slow(internalUrl: string): Promise<Record<string, number>> {
  const all = [...(await scrape(internalUrl))].flatMap(([name, value]) => {
    const [, reason] = /^tagwait_slow_path_requests_total\{reason="(\w+)"\}$/.exec(name) ?? [];
    return reason && value > 0 ? [[reason, value]] : [];
  });
  return Object.fromEntries(all);
}

const split = (text: string, at: number) => [text.slice(0, at), text.slice(at)];

describe('the request after it on the same connection is read on the fast path', () => {
  test.each<[string, string, string[]]>([
    ['a byte above ASCII', 'non_ascii', [request(POLL, ['X-Name: Zo\xeb'])]],
    ['the same in two packets', 'non_ascii', split(request(POLL, ['X-Name: Zo\xeb']), 30)],
    ['HTTP/1.0 with keep-alive', 'version', [`GET ${POLL} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n`]],
    ['a header twice', 'repeated_header', [request(POLL, ['Referer: a', 'Referer: b'])]],
    ['an absolute URL', 'target', [request(`http://status.example${POLL}`)]],
    ['*', 'target', [request('*', [], 'OPTIONS')]],
    ['PUT', 'method', [request(POLL, ['Content-Length: 2'], 'PUT'), 'ab']],
    ['another Connection', 'connection', [request(POLL, ['Connection: TE'])]],
    ['an upgrade', 'upgrade', [request(POLL, ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c'])]],
    ['an expectation', 'expect', [post('/none', 'ab', ['Expect: 100-continue'])]],
    ['an expectation that is not known', 'expect', [post('/none', 'ab', ['Expect: more'])]],
    ['a POST without a length', 'body', [request('/none', [], 'POST')]],
    [
      'chunks, in packets',
      'chunked',
      [request('/none', ['Transfer-Encoding: chunked'], 'POST'), '2\r', '\nab\r\n0\r\n', '\r\n'],
    ],
  ])('%s', async (_, reason, packets) => {
    const { publicUrl, internalUrl } = await service();
    const connection = raw(publicUrl);
    await ask(connection, ...packets);
    const seen = readByNode();
    expect(await ask(connection, request(POLL))).toMatch(/^HTTP\/1\.1 200 .*"code":-1/s);
    expect(seen).toEqual([]);
    expect(await slow(internalUrl)).toEqual({ [reason]: 1 });
  });

  test('a set in chunks, and one with a large body', async () => {
    const { internalUrl } = await service({ maxValueBytes: 1_000_000 });
    const connection = raw(internalUrl);
    expect(await ask(connection, ...split(CHUNKED, 150))).toContain('"code":0');
    const large = post('/status/set', `{"key":"k","value":"${'x'.repeat(200_000)}"}`);
    expect(await ask(connection, ...split(large, 100_000))).toContain('"code":0');
    const seen = readByNode();
    expect(await ask(connection, SET)).toContain('"code":0');
    expect(seen).toEqual([]);
    expect(await slow(internalUrl)).toEqual({ chunked: 1, large_body: 1 });
  });

  test('also when both came in one packet, and a poll is held between them', async () => {
    const { publicUrl, internalUrl } = await service();
    const odd = request('/status/get?key=odd', ['X-Name: \xff']);
    const connection = raw(publicUrl, Buffer.from(odd + request('/status/get?key=even'), 'latin1'));
    await held(internalUrl, 'odd', 1);
    const seen = readByNode();
    await set(internalUrl, { key: 'odd', value: 1 });
    await held(internalUrl, 'even', 1);
    await set(internalUrl, { key: 'even', value: 2 });
    await until(() => connection.text.includes('"data":2'));
    expect(connection.text.match(/"data":\d/g)).toEqual(['"data":1', '"data":2']);
    expect(seen).toEqual([]);
  });
});

test('HEAD, OPTIONS, empty lines, and polls and sets in packets of one byte are on the fast path', async () => {
  const { publicUrl, internalUrl } = await service();
  const seen = readByNode();
  const page = raw(publicUrl);
  await ask(page, request('/healthz', [], 'HEAD'));
  await ask(page, request('/healthz', ['Access-Control-Request-Method: GET'], 'OPTIONS'));
  expect(await ask(page, '\r\n', `\r\n${request(POLL)}`)).toContain('"code":-1');
  expect(await ask(page, ...request(POLL))).toContain('"code":-1');
  const backend = raw(internalUrl);
  expect(await ask(backend, ...SET)).toContain('"code":0');
  expect(await ask(backend, ...split(SET, SET.length - 5))).toContain('"code":0');
  expect(seen).toEqual([]);
  expect(await slow(internalUrl)).toEqual({});
});

test('the debug log has one word for each', async () => {
  const { publicUrl, output } = await spawned({ TAGWAIT_LOG_LEVEL: 'debug' });
  await ask(raw(publicUrl), request(POLL, ['X-Name: Zo\xeb']));
  await until(() => output.stderr.includes('not on the fast path'));
  const line = output.stderr.split('\n').find(text => text.includes('not on the fast path'));
  expect(JSON.parse(line as string)).toMatchObject({ level: 20, reason: 'non_ascii' });
});

describe('a backend that ends its side of the connection is answered', () => {
  test.each([
    ['a set', SET, 1],
    ['a set in chunks', CHUNKED, 1],
    ['sets one behind the other', SET + CHUNKED + SET, 3],
    ['a peek', request('/status/peek?key=k'), 1],
  ])('%s, over Redis', async (_, bytes, count) => {
    const { url } = await redisServer();
    const { internalUrl } = await service({ redisUrl: url });
    const connection = raw(internalUrl, bytes);
    connection.socket.end();
    await connection.ended;
    expect(connection.text.match(/HTTP\/1\.1 200 OK\r\n/g)).toHaveLength(count);
    expect(connection.text.match(/"code":0/g)).toHaveLength(count);
  });

  test('and half a request is not waited for', async () => {
    const { internalUrl } = await service();
    for (const bytes of [SET.slice(0, -1), SET.slice(0, 20), CHUNKED.slice(0, -2)]) {
      const connection = raw(internalUrl, bytes);
      connection.socket.end();
      // a body has 15 s
      expect(await connection.ended).toBeLessThan(10_000);
    }
  });

  test('but a page that does so while it is held has gone, on either path', async () => {
    const { publicUrl, internalUrl } = await service();
    const page = raw(publicUrl, Buffer.from(request('/status/get?key=k', ['X-Name: \xff']), 'latin1'));
    await held(internalUrl, 'k', 1);
    page.socket.end();
    await held(internalUrl, 'k', 0);
    await page.ended;
  });
});

test('clients that reset leave no line above debug in the log', async () => {
  const { publicUrl, internalUrl, output } = await spawned({ TAGWAIT_SECRET: 's'.repeat(32) });
  const odd = ['X-Name: \xff', 'Content-Type: application/json', 'Content-Length: 50'];
  const resets: [string, string][] = [
    [internalUrl, `${request('/status/new', odd, 'POST')}{`],
    [internalUrl, `${request('/status/set', odd, 'POST')}{`],
    [internalUrl, post('/status/new', '{}').slice(0, -1)],
    [internalUrl, request('/metrics').repeat(20)],
    [publicUrl, request('/status/get?key=k')],
    [publicUrl, request('/status/get?key=k', ['X-Name: \xff'])],
    [publicUrl, request('/client.js').repeat(20)],
  ];
  const before = output.stderr.length;
  for (const [url, bytes] of [...resets, ...resets]) {
    const { socket } = raw(url, Buffer.from(bytes, 'latin1'));
    await once(socket, 'connect');
    // so that it was read
    await ask(raw(url), request('/healthz'));
    socket.resetAndDestroy();
  }
  await held(internalUrl, 'k', 0);
  expect(output.stderr.slice(before)).toBe('');
});

test.each([0, 25, 60, 120, 3600])(
  'kept alive for a second or more beyond what is promised, holding %i s',
  hold => {
    const { keepAliveHint, silenceTimeout } = timeoutsOf(hold);
    expect(silenceTimeout).toBeGreaterThan(keepAliveHint);
    expect(silenceTimeout).toBeGreaterThan(hold + 5);
    // where holds are no longer than that
    if (hold < keepAliveHint - 10) expect(silenceTimeout).toBeLessThanOrEqual(keepAliveHint + 2);
  },
);

test('both readers promise the same keep-alive', async () => {
  const { publicUrl } = await service();
  const connection = raw(publicUrl);
  const { keepAliveHint } = timeoutsOf(25);
  for (const bytes of [request(POLL), request(POLL, ['X-Name: \xff']), request('/healthz')])
    expect(await ask(connection, bytes)).toMatch(new RegExp(`^Keep-Alive: timeout=${keepAliveHint}\r$`, 'm'));
});

describe('deadlines', () => {
  async function serving(times: { headersTimeout: number; requestTimeout: number }) {
    const server = createServer();
    const handle = (exchange: Exchange) => exchange.send(200, new HeaderBlock({}), 'here');
    const connections = new Connections(server, {
      route: { method: 'POST', path: '/a', handle },
      firstRequestTimeout: 60,
      silenceTimeout: 60,
      keepAliveHint: 60,
      drainTimeout: 60,
      failed: () => {},
      onSlowPath: () => {},
      onPipelining: undefined,
      ...times,
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    onTestFinished(() => {
      connections.closeAll();
      server.close();
    });
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  test.each([
    ['a head', post('/a', 'ab').slice(0, 30), { headersTimeout: 0.2, requestTimeout: 60 }],
    ['a body', post('/a', 'x'.repeat(100)).slice(0, -99), { headersTimeout: 60, requestTimeout: 0.2 }],
  ])(
    '%s that is not whole in time is answered 408, and no byte after it puts that off',
    async (_, part, times) => {
      const url = await serving(times);
      const connection = raw(url);
      await ask(connection, post('/a', 'ab'));
      const from = connection.text.length;
      connection.socket.write(part);
      const drip = setInterval(() => connection.socket.write('x'), 150);
      await connection.ended.finally(() => clearInterval(drip));
      expect(connection.text.slice(from)).toMatch(/^HTTP\/1\.1 408 Request Timeout\r\n/);
    },
  );

  test('an empty line after a POST begins no request: the next may take its time', async () => {
    const url = await serving({ headersTimeout: 0.2, requestTimeout: 60 });
    const connection = raw(url);
    await ask(connection, post('/a', 'ab'));
    await new Promise(resolve => connection.socket.write('\r', resolve));
    await new Promise(resolve => connection.socket.write('\n', resolve));
    // another that did begin one is over
    await raw(url, 'POST').ended;
    expect(await ask(connection, post('/a', 'ab'))).toContain('here');
  });
});
