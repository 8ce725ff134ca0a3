/** The two readers of requests, the fast path and Node's HTTP server: which one reads what, equal answers, mixed connections, and timeouts. */
import diagnostics from 'node:diagnostics_channel';
import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Connections } from '../src/wire/connections.js';
import { type Exchange, HeaderBlock } from '../src/wire/exchange.js';
import { readHead } from '../src/wire/fast-path.js';
import { held, poll, service, set, until } from './harness.js';
import { type Raw, raw, request } from './raw.js';
import { scrape } from './scrape.js';

const post = (target: string, body: string, headers: string[] = []) =>
  request(
    target,
    ['Content-Type: application/json', `Content-Length: ${Buffer.byteLength(body)}`, ...headers],
    'POST',
  ) + body;
const SET = post('/status/set', '{"key":"k","value":"é"}');

/** What Node's HTTP reads in this process from now on. */
function readByNode(): string[] {
  const seen: string[] = [];
  const look = (message: unknown) => {
    seen.push((message as { request: IncomingMessage }).request.url ?? '');
  };
  diagnostics.subscribe('http.server.request.start', look);
  onTestFinished(() => void diagnostics.unsubscribe('http.server.request.start', look));
  return seen;
}

/** Sends on a connection, and waits for a whole answer. @returns its head and its body */
async function ask(connection: Raw, bytes: string): Promise<{ head: string; body: string }> {
  const from = connection.text.length;
  connection.socket.write(bytes);
  return until(() => {
    const [head, body] = connection.text.slice(from).split('\r\n\r\n');
    const length = Number(/^content-length: (\d+)$/im.exec(head ?? '')?.[1]);
    return body !== undefined && body.length === length && { head: head as string, body };
  });
}

/** What a head is read as, and where its request ends. */
const read = (text: string) => {
  const { slow = 'fast', length, body } = readHead(Buffer.from(text, 'latin1')) ?? {};
  return body === undefined ? 'a part' : [slow, typeof body === 'number' ? Number(length) + body : body];
};

describe('the fast path reads', () => {
  test.each([
    ['a poll', request('/status/get?key=k&callback=cb')],
    ['of another route', request('/client.js')],
    ['names and values in any case', request('/', ['cONNECTION: Keep-Alive', 'oRIGIN:\thttps://a.example '])],
    ['with Connection: close', request('/', ['Connection: close'])],
    ['a field twice that nothing is decided by', request('/', ['Cookie: a=1', 'Cookie: b=2'])],
    ['HEAD', request('/', [], 'HEAD')],
    ['OPTIONS', request('/', ['Access-Control-Request-Method: GET'], 'OPTIONS')],
    ['a set', SET],
    ['a body of nothing', post('/', '')],
    ['a GET whose body is announced as empty', request('/', ['Content-Length: 0'])],
  ])('%s', (_, text) => {
    expect(read(text)).toEqual(['fast', Buffer.byteLength(text)]);
    expect(readHead(Buffer.from(text))?.url).toBe(text.split(' ')[1]);
  });

  test.each([
    ['a head in parts', request('/').slice(0, -1)],
    ['the first byte', 'G'],
    ['a method', 'OPTIONS '],
    ['half a line end', 'GET / HTTP/1.1\r'],
  ])('on after %s', (_, text) => {
    expect(read(text)).toBe('a part');
  });

  test('as much as a request has: what follows is not of it', () => {
    expect(read(request('/') + request('/'))).toEqual(['fast', request('/').length]);
    const { length } = Buffer.from(SET);
    expect(read(SET.slice(0, -1))).toEqual(['fast', length]);
    expect(read(`${SET} `)).toEqual(['fast', length]);
  });

  test.each([
    ['a GET with a body', request('/', ['Content-Length: 1']), 'body', 1],
    ['a POST without a length', request('/', [], 'POST'), 'body', 0],
    ['chunks', request('/', ['Transfer-Encoding: chunked'], 'POST'), 'chunked', 'chunked'],
    ['other codings', request('/', ['Transfer-Encoding: gzip, chunked'], 'POST'), 'chunked', 'unclear'],
    ['chunks and a length', post('/', '', ['Transfer-Encoding: chunked']), 'chunked', 'unclear'],
    ['two lengths', post('/', 'a', ['Content-Length: 1']), 'repeated_header', 'unclear'],
    ['a length that is none', request('/', ['Content-Length: +1'], 'POST'), 'body', 'unclear'],
    [
      'a field twice that something is decided by',
      request('/', ['Origin: a', 'Origin: b']),
      'repeated_header',
      0,
    ],
    ['another method', request('/', ['Content-Length: 2'], 'PUT'), 'method', 2],
    ['an absolute URL', request('http://status.example/'), 'target', 0],
    ['bytes above ASCII in the URL', request('/\xff'), 'target', 0],
    ['HTTP/1.0', 'GET / HTTP/1.0\r\nHost: h\r\n\r\n', 'version', 0],
    ['no host', 'GET / HTTP/1.1\r\nAccept: */*\r\n\r\n', 'host', 0],
    ['two hosts', request('/', ['Host: other']), 'repeated_header', 0],
    ['no fields', 'GET / HTTP/1.1\r\n\r\n', 'host', 0],
    ['bytes above ASCII', request('/', ['X-Name: Zo\xeb']), 'non_ascii', 0],
    ['an upgrade', request('/', ['Connection: Upgrade', 'Upgrade: websocket']), 'upgrade', 0],
    ['another Connection', request('/', ['Connection: TE']), 'connection', 0],
    ['an expectation', post('/', 'a', ['Expect: 100-continue']), 'expect', 1],
  ])('not %s, and knows where it ends', (_, text, slow, body) => {
    const [reason, end] = read(text) as [string, number | string];
    const head = text.indexOf('\r\n\r\n') + 4;
    expect([reason, typeof end === 'number' ? end - head : end]).toEqual([slow, body]);
  });

  test.each([
    ['two spaces', request('/').replace(' /', '  /')],
    ['lines ended by LF', request('/').replaceAll('\r\n', '\n')],
    ['a line ended by LF', 'GET / HTTP/1.1\n'],
    ['a folded field', request('/', ['X-Fold: a\r\n b'])],
    ['a space before the colon', request('/', ['Origin : a'])],
    ['a space in the URL', request('/a b')],
    ['a null byte', request('/', ['X-Null: a\0b'])],
    ['TLS', '\x16\x03\x01\x00\xf8'],
    ['a method that is none', 'G'.repeat(30)],
  ])('not %s, and not what follows', (_, text) => {
    expect(read(text)).toEqual(['malformed', 'unclear']);
  });

  test('no head beyond 16 KiB, whole or not', () => {
    const text = request('/', [`X-Long: ${'x'.repeat(16_384)}`]);
    expect(read(text)).toEqual(['large_head', 'unclear']);
    expect(read(text.slice(0, -1))).toEqual(['large_head', 'unclear']);
  });

  test('a URL that keeps nothing else of its head in memory', () => {
    setFlagsFromString('--expose-gc');
    const collect: () => void = runInNewContext('gc');
    const count = 500;
    const urls: string[] = [];
    const inUse = () => {
      collect();
      return process.memoryUsage().heapUsed;
    };
    const head = (key: number) =>
      readHead(Buffer.from(request(`/status/get?key=a-key-of-a-page-${key}`, [`X: ${'x'.repeat(15_000)}`])));
    const before = inUse();
    for (let key = 0; key < count; key++) urls.push(head(key)?.url ?? '');
    expect((inUse() - before) / count).toBeLessThan(3000);
    expect(urls.at(-1)).toBe(`/status/get?key=a-key-of-a-page-${count - 1}`);
  });
});

test('polls and sets that come plain never see the HTTP of Node, on one connection with what does', async () => {
  const { publicUrl, internalUrl } = await service();
  const seen = readByNode();
  const page = raw(publicUrl);
  const backend = raw(internalUrl);
  expect((await ask(page, request('/client.js'))).body).toContain('tagwait');
  const answered = ask(page, request('/status/get?key=k&callback=cb'));
  await until(async () => {
    const { body } = await ask(backend, request('/status/peek?key=k'));
    return Object.values(JSON.parse(body).waiters)[0] === 1;
  });
  expect(JSON.parse((await ask(backend, SET)).body)).toMatchObject({ code: 0, watched: true });
  expect((await answered).body).toContain('"data":"\\u00e9"');
  expect((await ask(page, request('/healthz'))).body).toContain('success');
  expect((await ask(page, request('/status/get?key=other&hold=0'))).body).toContain('"code":-1');
  expect(new Set(seen)).toEqual(new Set(['/client.js', '/status/peek?key=k', '/healthz']));
});

describe('the fast path and the slow path give the same answer', () => {
  // the same field twice: not plain any more, and nothing else
  const twice = ['X-Forwarded-For: 192.0.2.1', 'X-Forwarded-For: 192.0.2.2'];
  const lines = ({ head, body }: { head: string; body: string }) =>
    [
      ...head.split('\r\n').filter(line => !/^date:/i.test(line)),
      body.replace(/"\w+-\d+"/, '"cursor"'),
    ].sort();

  test.each([
    '/status/get?key=k&hold=0',
    '/status/get?key=k&hold=0&callback=cb',
    '/status/get?key=k&hold=0&var=a.b',
    '/status/get?key=&hold=0',
    '/status/get?key=k&callback=alert(1)',
  ])('%s', async target => {
    const { publicUrl } = await service();
    const seen = readByNode();
    const plain = await ask(raw(publicUrl), request(target));
    const other = await ask(raw(publicUrl), request(target, twice));
    expect(seen).toEqual([target]);
    expect(lines(plain)).toEqual(lines(other));
  });

  test.each([
    ['a length of 00, which is no body', ['Content-Length: 00'], 200, 'keep-alive'],
    ['a body', ['Content-Length: 1'], 400, 'close'],
  ])('a poll with %s', async (_, headers, status, connection) => {
    const { publicUrl } = await service();
    for (const more of [[], twice]) {
      const { head } = await ask(raw(publicUrl), request('/status/get?key=k&hold=0', [...headers, ...more]));
      expect(head).toMatch(new RegExp(`^HTTP/1.1 ${status} .*\r\nConnection: ${connection}(\r\n|$)`, 's'));
    }
  });

  test('a # in the target, which may be an absolute URL', async () => {
    const { publicUrl } = await service();
    const targets = ['/status/get?key=k#a', '/client.js#a', '/#', '/status/events?key=k#a'];
    for (const target of targets) {
      const plain = await ask(raw(publicUrl), request(target));
      const other = await ask(raw(publicUrl), request(`http://localhost${target}`));
      expect(plain.head).toContain('HTTP/1.1 400 ');
      expect(lines(plain)).toEqual(lines(other));
    }
  });

  test.each([
    ['stored', '{"key":"a","value":1}', [], '200'],
    ['a bad one', '{"key":"ä","value":1}', [], '400'],
    ['a conflict', '{"key":"k","value":1,"expect":"x-1"}', [], '409'],
    ['too large', `{"key":"k","value":"${'x'.repeat(20_000)}"}`, [], '413'],
    ['no JSON', '{', [], '400'],
  ])('a set: %s', async (_, body, headers, status) => {
    const { internalUrl } = await service({ maxValueBytes: 1000 });
    const seen = readByNode();
    const plain = await ask(raw(internalUrl), post('/status/set', body, headers));
    const other = await ask(raw(internalUrl), post('/status/set', body, [...headers, ...twice]));
    expect(seen).toEqual(['/status/set']);
    expect(plain.head).toContain(`HTTP/1.1 ${status} `);
    expect(lines(plain)).toEqual(lines(other));
  });

  test('a set without its token', async () => {
    const { internalUrl } = await service({ setTokens: ['t'.repeat(32)] });
    const plain = await ask(raw(internalUrl), SET);
    expect(plain.head).toMatch(/^HTTP\/1\.1 401 .*^WWW-Authenticate: Bearer$/ms);
    expect(lines(plain)).toEqual(lines(await ask(raw(internalUrl), post('/status/set', '{}', twice))));
  });
});

/** A connection with an answer of 16 MB that is not read yet. */
async function unread() {
  const { publicUrl, internalUrl } = await service({ maxValueBytes: 1_048_576, history: 16 });
  for (let count = 0; count < 16; count++)
    await set(internalUrl, { key: 'big', value: 'x'.repeat(1_000_000) });
  const connection = raw(publicUrl, request('/status/get?key=big'));
  connection.socket.pause();
  await until(
    async () => (await scrape(internalUrl)).get('tagwait_answers_total{mode="json",answer="success"}') === 1,
  );
  return { publicUrl, internalUrl, connection };
}

describe('a connection', () => {
  test('with Connection: close is closed after its answer', async () => {
    const { publicUrl } = await service();
    const connection = raw(publicUrl, request('/status/get?key=k&hold=0', ['Connection: close']));
    await connection.ended;
    expect(connection.text).toMatch(/^Connection: close$.*"code":-1/ms);
  });

  test('goes on when a request came in parts', async () => {
    const { publicUrl, internalUrl } = await service();
    const connection = raw(publicUrl);
    const bytes = request('/status/get?key=k');
    await ask(connection, request('/status/get?key=k&hold=0'));
    connection.socket.setNoDelay().write(bytes.slice(0, 20));
    const answer = ask(connection, bytes.slice(20));
    await held(internalUrl, 'k', 1);
    await set(internalUrl, { key: 'k', value: 1 });
    expect((await answer).body).toContain('"data":1');
    expect((await ask(connection, request('/status/get?key=k&hold=0'))).body).toContain('"data":1');
  });

  test('may ask before it was answered: the next question is held when its turn comes', async () => {
    const { publicUrl, internalUrl } = await service();
    const connection = raw(publicUrl, request('/status/get?key=first'));
    await held(internalUrl, 'first', 1);
    connection.socket.write(request('/status/get?key=second'));
    await set(internalUrl, { key: 'first', value: 1 });
    await held(internalUrl, 'second', 1);
    await set(internalUrl, { key: 'second', value: 2 });
    await until(() => connection.text.includes('"data":2'));
    expect(connection.text.match(/"data":\d/g)).toEqual(['"data":1', '"data":2']);
  });

  test('that sends more than a request may have while it is held is closed, and its page let go', async () => {
    const { publicUrl, internalUrl } = await service();
    const connection = raw(publicUrl, request('/status/get?key=k'));
    await held(internalUrl, 'k', 1);
    connection.socket.write(request('/status/get?key=k').repeat(400));
    await connection.ended;
    await held(internalUrl, 'k', 0);
    expect((await scrape(internalUrl)).get('tagwait_connections_cut_total{reason="pipelining"}')).toBe(1);
  });

  test('of a backend may send set after set without waiting: all are stored, in order', async () => {
    const { internalUrl } = await service({ history: 100 });
    const sets = Array.from({ length: 40 }, (_, number) =>
      post('/status/set', JSON.stringify({ key: 'k', value: `${number} ${'x'.repeat(10_000)}` })),
    );
    const connection = raw(internalUrl, sets[0]);
    for (const one of sets.slice(1)) connection.socket.write(one);
    await until(() => connection.text.match(/"code":0/g)?.length === 40);
    const { body } = await ask(raw(internalUrl), request('/status/peek?key=k'));
    const values = JSON.parse(body).entries.map(({ value }: { value: string }) => Number.parseInt(value, 10));
    expect(values).toEqual(sets.map((_, number) => number));
  });

  test('is asked no further while its answer is unread, and goes on when it was read', async () => {
    const { publicUrl, internalUrl, connection } = await unread();
    connection.socket.write(request('/status/get?key=small'));
    // it has come, and waits: a second connection's question that was asked later is held already
    raw(publicUrl, request('/status/get?key=later'));
    await held(internalUrl, 'later', 1);
    await held(internalUrl, 'small', 0);
    connection.socket.resume();
    await held(internalUrl, 'small', 1);
    await until(() => connection.text.length > 16_000_000);
  });

  describe.each([
    ['an extension of a chunk', (body: string) => `${body.length.toString(16)};a=b\r\n${body}\r\n0\r\n\r\n`],
    ['a trailer', (body: string) => `${body.length.toString(16)}\r\n${body}\r\n0\r\nX: y\r\n\r\n`],
  ])('whose body has %s is answered with `Connection: close`, and closed', (_, framed) => {
    const body = framed('{"key":"k","value":1}');
    const headers = ['Content-Type: application/json', 'Transfer-Encoding: chunked'];
    const head = request('/status/set', headers, 'POST');
    test.each([
      ['alone', [head + body]],
      ['with another set behind it', [head + body + SET]],
      ['in two packets', [head, body]],
      ['in two packets, with another set behind it', [head, body + SET]],
      ['in packets of a byte, with what is no request behind it', [...head, ...`${body}nonsense`]],
    ])('%s', async (__, packets) => {
      const { internalUrl } = await service();
      const seen = readByNode();
      const connection = raw(internalUrl);
      connection.socket.setNoDelay();
      for (const packet of packets) {
        connection.socket.write(packet);
        await new Promise(setImmediate);
        // the request has begun
        if (packet === head) await until(() => seen.length > 0);
      }
      await connection.ended;
      expect(connection.text.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200']);
      expect(connection.text).toMatch(/\r\nConnection: close\r\n.*"code":0/is);
      const peek = await ask(raw(internalUrl), request('/status/peek?key=k'));
      expect(JSON.parse(peek.body).entries).toMatchObject([{ value: 1 }]);
    });
  });

  test.each([
    ['two codings', ['Transfer-Encoding: gzip, chunked'], '15\r\n{"key":"k","value":1}\r\n0\r\n\r\n'],
    ['invalid chunks', ['Transfer-Encoding: chunked'], '15\r\n{"key":"k","value":1}\n0\r\n\r\n'],
  ])('whose body has %s is refused, and nothing is stored', async (_, lengths, body) => {
    const { internalUrl } = await service();
    const head = request('/status/set', ['Content-Type: application/json', ...lengths], 'POST');
    for (const bytes of [head + body, `${head}${body}${SET}`]) {
      const connection = raw(internalUrl, bytes);
      await connection.ended;
      expect(connection.text).toMatch(/^HTTP\/1\.1 400 .*\r\nConnection: close\r\n.*the request: give /is);
      expect(connection.text.match(/HTTP\/1\.1 \d+/g), 'once').toHaveLength(1);
    }
    const peek = await ask(raw(internalUrl), request('/status/peek?key=k'));
    expect(JSON.parse(peek.body).entries).toEqual([]);
  });

  test('whose body turns out to be invalid when it is refused already is not answered again', async () => {
    const { internalUrl } = await service({ setTokens: ['t'.repeat(16)] });
    const headers = ['Content-Type: application/json', 'Transfer-Encoding: chunked'];
    const connection = raw(internalUrl, `${request('/status/set', headers, 'POST')}1\r\n{\r\n`);
    await until(() => connection.text.includes('HTTP/1.1 401'));
    connection.socket.write('no chunk');
    await connection.ended;
    expect(connection.text.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 401']);
  });

  // the first on the fast path, the second by Koa
  test.each(['/status/set', '/login/new'])(
    '%s whose body is too large is refused, and closed, before it has come',
    async path => {
      const { internalUrl } = await service({ secret: ['s'.repeat(32)] });
      const headers = ['Content-Type: application/json', 'Content-Length: 200000'];
      const connection = raw(internalUrl, `${request(path, headers, 'POST')}{`);
      // a body may take 15 s
      expect(await connection.ended).toBeLessThan(10_000);
      expect(connection.text).toMatch(/^HTTP\/1\.1 413 .*\r\nConnection: close\r\n/is);
    },
  );

  test('whose answer was read late may be idle as long as any other', async () => {
    const { publicUrl, connection } = await unread();
    connection.socket.resume();
    await until(() => connection.text.length > 16_000_000);
    // a second is as long as the hold of another
    await poll(publicUrl, { key: 'clock', hold: '1' });
    connection.socket.write(request('/status/get?key=small&hold=0'));
    await until(() => connection.text.includes('"code":-1') || connection.socket.destroyed);
    expect(connection.text).toContain('"code":-1');
  });

  test('is counted among those that are held while it is, and no longer', async () => {
    const { publicUrl, internalUrl } = await service({ maxHeldPerIp: 1 });
    const connection = raw(publicUrl);
    for (let times = 0; times < 5; times++) {
      const key = `k${times}`;
      const answer = ask(connection, request(`/status/get?key=${key}`));
      await held(internalUrl, key, 1);
      await set(internalUrl, { key, value: times });
      expect((await answer).body).toContain(`"data":${times}`);
    }
    // nor does what is answered at once count any longer
    const last = ask(connection, request('/status/get?key=last'));
    await held(internalUrl, 'last', 1);
    await set(internalUrl, { key: 'last', value: 0, final: true });
    const { cursor } = JSON.parse((await last).body);
    for (let times = 0; times < 3; times++)
      expect((await ask(connection, request(`/status/get?key=last&since=${cursor}`))).body).toContain(
        '"code":-2',
      );
  });
});

describe('deadlines, in seconds', () => {
  const LARGE = 'x'.repeat(16_000_000);
  async function serving(
    deadlines: { firstRequestTimeout: number; silenceTimeout: number; drainTimeout: number },
    method = 'GET',
  ) {
    const asked: Exchange[] = [];
    const server = createServer();
    const handle = (exchange: Exchange) => {
      asked.push(exchange);
      if (exchange.url === '/a?large') exchange.send(200, new HeaderBlock({}), LARGE);
      if (exchange.url === '/a?small') exchange.send(200, new HeaderBlock({}), 'here');
    };
    const connections = new Connections(server, {
      route: { method, path: '/a', handle },
      headersTimeout: 60,
      requestTimeout: 60,
      keepAliveHint: 1,
      failed: () => {},
      onSlowPath: () => {},
      onPipelining: undefined,
      ...deadlines,
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    onTestFinished(() => {
      connections.closeAll();
      server.close();
    });
    return { asked, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
  }

  test('for the first request: a silent connection is closed after firstRequestTimeout', async () => {
    const { url } = await serving({ firstRequestTimeout: 0.1, silenceTimeout: 60, drainTimeout: 60 });
    await raw(url).ended;
  });

  test('for the next request: a connection that stays silent after a request is closed', async () => {
    const { url } = await serving({ firstRequestTimeout: 60, silenceTimeout: 0.2, drainTimeout: 60 });
    const connection = raw(url, request('/a?small'));
    await connection.ended;
    expect(connection.text).toContain('here');
  });

  test('for reading: a client that does not read is disconnected, and its request leaves', async () => {
    const { url, asked } = await serving({ firstRequestTimeout: 60, silenceTimeout: 60, drainTimeout: 0.2 });
    raw(url, request('/a?large')).socket.pause();
    await until(() => asked[0]?.closed);
  });

  test('but a request that is held is no silence of its page, while it is not over', async () => {
    const { url, asked } = await serving({ firstRequestTimeout: 0.1, silenceTimeout: 60, drainTimeout: 0.1 });
    const connection = raw(url, request('/a'));
    await until(() => asked[0]);
    await raw(url).ended;
    asked[0]?.send(200, new HeaderBlock({}), 'late');
    await until(() => connection.text.includes('late'));
  });

  test('and a connection that paused because of many early bytes is read again when it is its turn', async () => {
    const { url, asked } = await serving(
      { firstRequestTimeout: 60, silenceTimeout: 60, drainTimeout: 60 },
      'POST',
    );
    const connection = raw(url, post('/a?1', ''));
    await until(() => asked.length === 1);
    connection.socket.write(post('/a?2', 'x'.repeat(20_000)));
    // what is asked later on another connection has come, and so has this
    raw(url, post('/a?other', ''));
    await until(() => asked.length === 2);
    asked[0]?.send(200, new HeaderBlock({}), '');
    await until(() => asked.length === 3);
    asked[2]?.send(200, new HeaderBlock({}), '');
    connection.socket.write(post('/a?3', ''));
    await until(() => asked.length === 4);
  });
});
