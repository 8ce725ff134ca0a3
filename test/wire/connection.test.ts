/** One connection: what a route may do with a request, by both readers, and what becomes of the connection. */
import { createServer } from 'node:http';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { BodyError } from '../../src/wire/bytes.js';
import type { Exchange } from '../../src/wire/exchange.js';
import { dispatch } from '../../src/wire/http.js';
import { Upgrades } from '../../src/wire/upgrades.js';
import { CALM, get, Line, NONE, PATH, post, soon, TWICE, turns, wired } from './wired.js';

const READERS: [string, string[]][] = [
  ['the fast path', []],
  ["Node's HTTP", TWICE],
];
const CLOSE = /^Connection: close\r$/im;
const KEEP = /^Connection: keep-alive\r\nKeep-Alive: timeout=\d+\r$/im;
/** Sends, and waits for the end of an answer. */
async function answered(line: Line, bytes: string, ends: string): Promise<string> {
  const from = line.text.length;
  line.send(bytes);
  await soon(() => line.text.slice(from).endsWith(ends));
  return line.text.slice(from);
}

describe.each(READERS)('an exchange, read by %s', (_, twice) => {
  /** Holds a request. */
  async function holding(target = PATH, headers: string[] = [], own: Parameters<typeof wired>[0] = {}) {
    const all = wired(own);
    const line = all.connect(get(target, [...twice, ...headers]));
    await soon(() => all.asked.length === 1);
    return { ...all, line, exchange: all.asked[0]?.exchange as Exchange };
  }
  const closes = () => {
    const listener = { count: 0, onClose: () => void listener.count++ };
    return listener;
  };

  test('has the request and the address of its client while the route is called', async () => {
    const seen: unknown[] = [];
    const headers = ['Origin: https://a.example', 'Content-Type:  b '];
    const { asked } = await holding('/a?b', headers, {
      handled: exchange => {
        const { method, url, address, closed, headOfLine } = exchange;
        seen.push(method, url, address, closed, headOfLine);
        for (const name of ['origin', 'content-type', 'sec-fetch-dest'] as const)
          seen.push(exchange.header(name));
      },
    });
    expect(asked).toHaveLength(1);
    expect(seen).toEqual(['GET', '/a?b', '127.0.0.1', false, true, 'https://a.example', 'b', undefined]);
  });

  test('is answered, and the next on its connection is read', async () => {
    const { line, exchange, asked } = await holding();
    const listener = closes();
    exchange.onClose(listener);
    expect(listener.count).toBe(0);
    exchange.send(202, NONE, 'text');
    await soon(() => line.text.endsWith('text'));
    expect(line.text).toMatch(/^HTTP\/1\.1 202 Accepted\r\n/);
    expect(line.text).toMatch(KEEP);
    await soon(() => listener.count === 1);
    expect(await answered(line, get('/a?now'), 'now')).toMatch(KEEP);
    expect(asked).toHaveLength(2);
    line.destroy();
    await turns();
    expect(listener.count).toBe(1);
  });

  test('to HEAD has no body', async () => {
    const { line, connect } = await holding();
    line.destroy();
    const other = connect(get('/a?now', twice).replace('GET', 'HEAD'));
    await soon(() => other.text.endsWith('\r\n\r\n'));
    await turns();
    expect(other.text).toMatch(/^Content-Length: 3\r$/im);
    expect(other.text).toMatch(/\r\n\r\n$/);
  });

  test.each([
    ['the client wants it', ['Connection: close'], () => {}],
    ['the client wants it in capitals', ['Connection: CLOSE'], () => {}],
    ['the route wants it', [], (exchange: Exchange) => exchange.closeAfterResponse()],
  ])('is the last on its connection when %s', async (_, headers, before) => {
    const { line, exchange } = await holding(PATH, headers);
    before(exchange);
    exchange.send(200, NONE, 'last');
    await soon(() => line.destroyed);
    expect(line.text).toMatch(CLOSE);
    expect(line.text).toMatch(/last$/);
  });

  test('is closed when its client disconnects, and is then no longer answered', async () => {
    const { line, exchange, connections } = await holding();
    const listener = closes();
    exchange.onClose(listener);
    expect([exchange.closed, exchange.address]).toEqual([false, '127.0.0.1']);
    line.destroy();
    await soon(() => listener.count === 1);
    expect([exchange.closed, exchange.address, connections.all.size]).toEqual([true, '', 0]);
    exchange.send(200, NONE, 'late');
    await turns();
    expect([line.text, listener.count]).toEqual(['', 1]);
  });

  test('with a listener is over when the client ends its side', async () => {
    const { line, exchange } = await holding();
    const listener = closes();
    exchange.onClose(listener);
    line.leave();
    await soon(() => listener.count === 1);
    await soon(() => line.destroyed);
    expect([exchange.closed, line.text]).toEqual([true, '']);
  });

  test('without one is answered when the client has ended its side, and is the last', async () => {
    const { line, exchange } = await holding();
    line.leave();
    await turns();
    expect([exchange.closed, line.destroyed]).toEqual([false, false]);
    exchange.send(200, NONE, 'answer');
    await soon(() => line.destroyed);
    expect(line.text).toMatch(/answer$/);
    if (twice.length === 0) expect(line.text).toMatch(CLOSE);
  });

  test('whose route throws is an error of the service, and its connection ends', async () => {
    const { connect, errors } = wired();
    const line = connect(get('/a?throw', twice));
    await soon(() => line.destroyed);
    expect([line.text, errors]).toEqual(['', [new Error('of the route')]]);
  });

  test('that waits behind another says so', async () => {
    const { connect, asked } = wired();
    const line = connect(get('/a?1', twice) + get('/a?2', twice));
    await soon(() => asked.length === 1);
    await turns();
    // both readers are given one request of a connection at a time
    expect(asked).toHaveLength(1);
    asked[0]?.exchange.send(200, NONE, '');
    await soon(() => asked.length === 2);
    expect(asked[1]?.exchange.headOfLine).toBe(true);
    line.destroy();
  });
});

describe.each(READERS)('the body of a request, read by %s', (_, twice) => {
  const bodies = (most: number) => {
    const got: (string | Error)[] = [];
    const note = (error: Error) => void got.push(error);
    const all = wired({
      method: 'POST',
      handled: exchange => {
        // the fast path throws, Node's HTTP rejects
        new Promise<Buffer>(resolve => resolve(exchange.body(most))).then(
          body => got.push(String(body)),
          note,
        );
      },
    });
    return { ...all, got };
  };

  test.each([
    ['', 2],
    ['ab', 2],
    ['abc', 2],
  ])('%j with a limit of %d', async (body, most) => {
    const { connect, got } = bodies(most);
    connect(post(PATH, body, twice));
    await soon(() => got.length === 1);
    if (body.length <= most) expect(got).toEqual([body]);
    else expect(got[0]).toMatchObject({ constructor: BodyError, why: 'too large' });
  });

  test('does not end with its packet, nor has it the bytes of the next', async () => {
    const { connect, got, asked } = bodies(100);
    const line = connect(post(PATH, 'one', twice).slice(0, -1));
    await turns();
    line.send(`e${post(PATH, 'two', twice)}`);
    await soon(() => got.length === 1);
    asked[0]?.exchange.send(200, NONE, '');
    await soon(() => got.length === 2);
    expect(got).toEqual(['one', 'two']);
  });
});

test('a held request has no body and no header any more, and no URL that is kept in memory', () => {
  const { connect, asked } = wired({ method: 'POST' });
  connect(post(PATH, 'body', ['Origin: a']));
  return soon(() => asked.length === 1).then(() => {
    const { exchange } = asked[0] as { exchange: Exchange };
    expect(exchange.header('origin')).toBeUndefined();
    expect(exchange.url).toBe('');
    expect(() => exchange.body(10)).toThrow(new BodyError('ended early'));
    exchange.send(200, NONE, '');
    // a second answer is none
    exchange.send(200, NONE, '');
  });
});

test('a listener that comes too late is called at once', async () => {
  const { connect, asked } = wired();
  const line = connect(get());
  await soon(() => asked.length === 1);
  const { exchange } = asked[0] as { exchange: Exchange };
  exchange.send(200, NONE, 'one');
  exchange.send(200, NONE, 'two');
  let closed = 0;
  exchange.onClose({ onClose: () => void closed++ });
  expect(closed).toBe(1);
  await turns();
  expect(line.text).toMatch(/one$/);
});

test('a listener that makes room closes its own connection, once', async () => {
  const { connect, connections, asked } = wired();
  const line = connect(get());
  await soon(() => asked.length === 1);
  const { exchange } = asked[0] as { exchange: Exchange };
  const room: boolean[] = [];
  exchange.onClose({ onClose: () => void room.push(connections.makeRoom()) });
  exchange.send(200, NONE, '');
  room.push(connections.makeRoom());
  expect([room, line.destroyed]).toEqual([[true, false], true]);
});

test("a route is given the requests of a server that has Node's HTTP alone, as in another program", async () => {
  const asked: Exchange[] = [];
  const errors: unknown[] = [];
  const closed = vi.fn();
  const handle = (exchange: Exchange) => {
    asked.push(exchange);
    exchange.onClose({ onClose: closed });
    exchange.send(200, NONE, 'here');
  };
  const others = (_: unknown, response: { end(text: string): void }) => response.end('other');
  const route = { method: 'GET', path: PATH, handle };
  const server = createServer(dispatch(route, others, error => errors.push(error)));
  const line = new Line();
  server.emit('connection', line);
  line.send(get());
  await soon(() => line.text.endsWith('here') && closed.mock.calls.length === 1);
  line.send(get('/b'));
  await soon(() => line.text.includes('other'));
  expect([asked.length, errors]).toEqual([1, []]);
  line.destroy();
});

test('a request whose target is malformed is refused in plain text, and nothing else is asked', async () => {
  const { connect, others } = wired();
  const line = connect(get('/b#c'));
  await soon(() => line.text.endsWith('\n'));
  expect(line.text).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n.*\r\n\r\nthe target: [^\r]*\n$/s);
  expect(others).toEqual([]);
});

describe('a connection that the client ends its side of', () => {
  test.each<[string, string, RegExp]>([
    ['fresh', '', /^$/],
    ['with half a head', 'GET /a', /^$/],
    ['with half a body of another route', post('/never', 'body').slice(0, -1), /^HTTP\/1\.1 400 /],
    ['idle', get('/a?now'), /now$/],
    ['idle, after another route', get('/b'), /\/b$/],
    ['with empty lines', '\r\n', /^$/],
  ])('%s, ends', async (_, bytes, text) => {
    const { connect, connections } = wired();
    const line = connect(bytes);
    await turns();
    line.leave();
    await soon(() => line.destroyed);
    expect(line.text).toMatch(text);
    await soon(() => connections.all.size === 0);
  });

  test('in the packet of its last request is answered to its end: that one says so', async () => {
    const { connect, asked } = wired();
    const line = connect(get('/a?1') + get('/b') + get('/a?2'));
    line.leave();
    await soon(() => asked.length === 1);
    asked[0]?.exchange.send(200, NONE, 'first');
    await soon(() => asked.length === 2);
    asked[1]?.exchange.send(200, NONE, 'last');
    await soon(() => line.destroyed);
    const [first = '', second = '', last = ''] = line.text.split(/(?=HTTP)/);
    expect([first, second, last].map(text => /\r\n\r\n(.*)$/.exec(text)?.[1])).toEqual([
      'first',
      '/b',
      'last',
    ]);
    expect([first, last]).toEqual([expect.stringMatching(KEEP), expect.stringMatching(CLOSE)]);
  });

  test('between two requests of one packet has the second answered too', async () => {
    const { connect, asked } = wired();
    const line = connect(get('/a?1') + get('/a?2'));
    await soon(() => asked.length === 1);
    asked[0]?.exchange.send(200, NONE, 'first');
    // before the turn in which the second is read
    line.leave();
    await soon(() => asked.length === 2);
    asked[1]?.exchange.send(200, NONE, 'last');
    await soon(() => line.destroyed);
    expect(line.text).toMatch(/first.*last$/s);
  });

  test('while its answer is not read, gets the whole of it', async () => {
    const { connect, asked } = wired();
    const line = connect(get());
    await soon(() => asked.length === 1);
    line.stall();
    asked[0]?.exchange.send(200, NONE, 'x'.repeat(100_000));
    line.leave();
    await turns();
    expect(line.destroyed).toBe(false);
    line.readOn();
    await soon(() => line.destroyed);
    expect(line.text).toMatch(/x$/);
  });
});

describe('the time limits of a connection, ms', () => {
  test('until the first request, after it, while an answer is unread, and when it was read', async () => {
    const { connect, asked } = wired();
    const line = connect();
    expect(line.timeout).toBe(CALM.firstRequestTimeout * 1000);
    line.send('GET ');
    await turns();
    expect(line.timeout).toBe(CALM.silenceTimeout * 1000);
    line.send(get().slice(4));
    await soon(() => asked.length === 1);
    line.stall();
    // of no socket is less than this kept by the kernel
    asked[0]?.exchange.send(200, NONE, 'x'.repeat(100_000));
    expect(line.timeout).toBe(CALM.drainTimeout * 1000);
    line.send(get('/a?next'));
    await turns();
    expect(asked).toHaveLength(1);
    line.readOn();
    await soon(() => asked.length === 2);
    expect(line.timeout).toBe(CALM.silenceTimeout * 1000);
    asked[1]?.exchange.send(200, NONE, 'short');
    expect(line.timeout).toBe(CALM.silenceTimeout * 1000);
  });

  test.each([
    ['a request for the route', get()],
    ['another', get('/never')],
  ])('are those of a connection in use after %s', async (_, bytes) => {
    const { connect, asked, others } = wired();
    const line = connect(bytes);
    await soon(() => asked.length + others.length === 1);
    expect(line.timeout).toBe(CALM.silenceTimeout * 1000);
  });

  test('a connection whose time is up is closed', async () => {
    const { connect, connections } = wired();
    const line = connect();
    line.emit('timeout');
    await soon(() => line.destroyed);
    await soon(() => connections.all.size === 0);
  });

  test('of a head and of a body: each has its own, which no byte puts off, and which ends with it', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const { connect } = wired({ method: 'POST' });
    const parts: [string, number][] = [
      ['POST /a HTTP/1.1\r\n', CALM.headersTimeout],
      [post(PATH, 'body').slice(0, -3), CALM.requestTimeout],
    ];
    for (const [part, seconds] of parts) {
      const line = connect(part);
      await turns();
      vi.advanceTimersByTime(seconds * 1000 - 1000);
      line.send('o');
      await turns();
      expect([line.text, vi.getTimerCount()]).toEqual(['', 1]);
      vi.advanceTimersByTime(999);
      expect(line.text).toBe('');
      vi.advanceTimersByTime(1);
      expect(line.text).toBe('HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n');
      await turns();
      expect([line.destroyed, vi.getTimerCount()]).toEqual([true, 0]);
    }
    // the body has all of its time, however long the head took
    const slow = connect('POST');
    await turns();
    vi.advanceTimersByTime(CALM.headersTimeout * 1000 - 1);
    slow.send(post(PATH, 'body').slice(4, -1));
    await turns();
    expect(vi.getTimerCount()).toBe(1);
    vi.advanceTimersByTime(CALM.requestTimeout * 1000 - 1);
    expect(slow.text).toBe('');
    slow.send('y');
    await turns();
    expect(vi.getTimerCount()).toBe(0);
    // nor has one that left
    const left = connect('POST');
    await turns();
    expect(vi.getTimerCount()).toBe(1);
    left.destroy();
    await turns();
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe('bytes that come before the answer', () => {
  const most = 16_384;
  const large = `${'GET /'.padEnd(most, 'x')}`;

  test.each(READERS)('are kept up to 16 KiB, and end the connection beyond, after %s', async (_, twice) => {
    const cut = vi.fn();
    const { connect, asked } = wired({ onPipelining: cut });
    const line = connect(get(PATH, twice));
    await soon(() => asked.length === 1);
    line.send(large.slice(5));
    line.send('12345');
    await turns();
    expect([line.destroyed, cut.mock.calls.length]).toEqual([false, 0]);
    line.send('6');
    await soon(() => line.destroyed);
    expect(cut).toHaveBeenCalledTimes(1);
    await soon(() => asked[0]?.exchange.closed);
  });

  test('are not counted behind the last answer', async () => {
    const cut = vi.fn();
    const { connect, asked } = wired({ onPipelining: cut });
    const line = connect(get(PATH, ['Connection: close']));
    await soon(() => asked.length === 1);
    line.stall();
    asked[0]?.exchange.send(200, NONE, 'x');
    line.send(`${large}x`);
    await turns();
    expect([line.destroyed, cut.mock.calls.length]).toEqual([false, 0]);
    line.readOn();
    await soon(() => line.destroyed);
  });

  test('in its packet, too many, keep it from its route', async () => {
    const cut = vi.fn();
    const { connect, asked } = wired({ onPipelining: cut });
    const line = connect(`${get()}${large}x`);
    await soon(() => line.destroyed);
    expect([asked.length, cut.mock.calls.length]).toEqual([0, 1]);
  });

  test('are not limited where sets may be pipelined: reading pauses, and goes on', async () => {
    const { connect, asked } = wired({ method: 'POST' });
    const line = connect(post('/a?1', ''));
    await soon(() => asked.length === 1);
    const second = post('/a?2', 'x'.repeat(most));
    line.send(second);
    await turns();
    expect([line.isPaused(), line.destroyed]).toEqual([true, false]);
    line.send(post('/a?3', ''));
    asked[0]?.exchange.send(200, NONE, '');
    await soon(() => asked.length === 2);
    expect(line.isPaused()).toBe(false);
    await turns();
    asked[1]?.exchange.send(200, NONE, '');
    await soon(() => asked.length === 3);
    expect(asked.map(({ url }) => url)).toEqual(['/a?1', '/a?2', '/a?3']);
  });

  test('are read one request at a time, in a later turn, and other connections in between', async () => {
    const order: string[] = [];
    const { connect } = wired({ handled: ({ url }) => order.push(url) });
    for (const name of ['one', 'two']) {
      const line = connect();
      // each answer is sent at once
      line.send(`${get('/a?now')}${get(`/a?now`)}${get(`/a?${name}`)}`);
    }
    await turns(2);
    expect(order.length).toBeLessThan(6);
    await soon(() => order.length === 6);
    expect(order.slice(-2)).toEqual(['/a?one', '/a?two']);
  });

  test('are dropped when the connection ends', async () => {
    const { connect, asked } = wired();
    const line = connect(get('/a?1') + get('/a?2'));
    await soon(() => asked.length === 1);
    asked[0]?.exchange.send(200, NONE, '');
    line.destroy();
    await turns();
    expect(asked).toHaveLength(1);
  });
});

describe('a connection is closed after its answer when its server closes', () => {
  test.each([
    ['held', PATH, []],
    ["held by Node's HTTP", PATH, TWICE],
  ])('%s', async (_, target, headers) => {
    const { connect, connections, asked } = wired();
    const line = connect(get(target, headers));
    await soon(() => asked.length === 1);
    connections.closing = true;
    asked[0]?.exchange.send(200, NONE, 'last');
    await soon(() => line.destroyed);
    expect(line.text).toMatch(/last$/);
    if (headers.length === 0) expect(line.text).toMatch(CLOSE);
  });

  test('sent before, and read after', async () => {
    const { connect, connections, asked } = wired();
    const line = connect(get());
    await soon(() => asked.length === 1);
    line.stall();
    asked[0]?.exchange.send(200, NONE, 'x'.repeat(100_000));
    connections.closing = true;
    line.readOn();
    await soon(() => line.destroyed);
    expect(line.text).toMatch(/x$/);
  });
});

describe('requests that the fast path does not read', () => {
  test('are counted by reason, and those of other routes that it could read are not', async () => {
    const { connect, slow, others } = wired();
    const line = connect();
    await answered(line, get('/b'), '/b');
    await answered(line, get('/c', TWICE), '/c');
    await answered(line, get('*').replace('GET', 'OPTIONS'), '*');
    expect(others).toEqual(['/b', '/c', '*']);
    expect(slow).toEqual(['repeated_header', 'target']);
  });

  test('a body above 64 KiB for the route, and no other', async () => {
    for (const [size, expected] of [
      [65_536, []],
      [65_537, ['large_body']],
    ] as const) {
      const { connect, slow, asked } = wired({ method: 'POST' });
      connect(post(PATH, 'x'.repeat(size)));
      await soon(() => asked.length === 1);
      expect(slow).toEqual(expected);
    }
    const { connect, slow, others } = wired({ method: 'POST' });
    connect(post('/b', 'x'.repeat(65_537)));
    await soon(() => others.length === 1);
    expect(slow).toEqual([]);
  });

  test('too many headers are refused without a reader', async () => {
    const { connect, slow, others } = wired();
    const line = connect(get('/b', Array(300).fill('a:')));
    await soon(() => line.destroyed);
    expect(line.text).toBe('HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n\r\n');
    expect([slow, others]).toEqual([['many_headers'], []]);
  });

  const chunked = (body: string) =>
    get('/never', ['Transfer-Encoding: chunked']).replace('GET', 'POST') + body;
  const fine = '1\r\na\r\n'.repeat(300);
  /** 400 with `Connection: close` and a text that says what to give */
  const REFUSED = /^HTTP\/1\.1 400 Bad Request\r\n.*\r\nConnection: close\r\n\r\nthe request: give .*\n$/s;
  test('chunks that are too small are refused, whether the request was read or not', async () => {
    const { connect, others } = wired();
    const line = connect(chunked(fine));
    await soon(() => line.destroyed);
    expect(line.text).toMatch(REFUSED);
    expect(others).toEqual([]);
    const later = connect(chunked(''));
    await soon(() => others.length === 1);
    later.send(fine);
    await soon(() => later.destroyed);
    expect(later.text).toMatch(REFUSED);
  });

  test('invalid chunks end the connection, without a second answer to a request that was answered', async () => {
    const { connect } = wired();
    const line = connect(chunked('').replace('/never', '/b'));
    await soon(() => line.text.endsWith('/b'));
    line.send('no chunk');
    await soon(() => line.destroyed);
    expect(line.text.match(/^HTTP/gm)).toHaveLength(1);
  });

  test.each([
    ['an extension', '1;x=y\r\na\r\n0\r\n\r\n'],
    ['a trailer', '1\r\na\r\n0\r\nX: y\r\n\r\n'],
  ])('one whose body has %s is answered with Connection: close, and closed', async (_, body) => {
    const { connect, asked } = wired();
    const line = connect(chunked(body).replace('/never', '/b') + get('/a?now'));
    await soon(() => line.destroyed);
    expect(line.text).toMatch(/^HTTP\/1\.1 200 .*\r\nConnection: close\r\n.*\/b$/is);
    expect(asked).toEqual([]);
  });

  test('one that was answered before its trailer came keeps the connection, as the answer says', async () => {
    const { connect } = wired();
    const line = connect(chunked('1\r\na\r\n').replace('/never', '/b'));
    await soon(() => line.text.endsWith('/b'));
    expect(line.text).toMatch(/\r\nConnection: keep-alive\r\n/i);
    expect(await answered(line, `0\r\nX: y\r\n\r\n${get('/a?now')}`, 'now')).toMatch(KEEP);
  });

  test.each([
    ['two spaces', get('/b').replace(' /b', '  /b')],
    ['two codings', get('/b', ['Transfer-Encoding: gzip, chunked']).replace('GET', 'POST')],
    ['no coding', get('/b', ['Transfer-Encoding: ']).replace('GET', 'POST')],
    ['chunks of HTTP/1.0', get('/b', ['Transfer-Encoding: chunked']).replace('1.1', '1.0')],
  ])("one with %s, which Node's HTTP server would accept, is refused", async (_, bytes) => {
    for (const next of ['', get('/a?now'), 'no request']) {
      const { connect, others, asked } = wired();
      const line = connect(bytes + next);
      await soon(() => line.destroyed);
      expect(line.text).toMatch(REFUSED);
      expect([others, asked]).toEqual([[], []]);
    }
    const head = bytes.replace(/^\w+/, 'HEAD');
    const { connect } = wired();
    const line = connect(head);
    await soon(() => line.destroyed);
    expect(line.text).toMatch(/^HTTP\/1\.1 400 .*\r\n\r\n$/s);
  });

  test("a head above 16 KiB that Node's HTTP server would accept is refused as such", async () => {
    const { connect, others } = wired();
    const line = connect(get('/b', Array(102).fill(`X: ${'x'.repeat(157)}`)));
    await soon(() => line.destroyed);
    expect(line.text).toBe('HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n\r\n');
    expect(others).toEqual([]);
  });

  test('a client that goes away while one is answered leaves nothing', async () => {
    const { connect, connections, others } = wired();
    const line = connect(get('/never'));
    await soon(() => others.length === 1);
    line.destroy();
    await soon(() => connections.all.size === 0);
    expect(line.text).toBe('');
  });

  /** A request whose body fills what is kept for its reader: two of its parts have come. */
  async function filled(parts: number) {
    const all = wired({ method: 'POST' });
    const part = 'x'.repeat(40_000);
    const size = parts * part.length;
    const line = all.connect(post(PATH, '', TWICE).replace('Length: 0', `Length: ${size}`));
    await soon(() => all.asked.length === 1);
    for (let sent = 0; sent < 2; sent++) {
      line.send(part);
      await turns();
    }
    const { exchange } = all.asked[0] as { exchange: Exchange };
    return { ...all, line, part, size, exchange, body: () => exchange.body(size) as Promise<Buffer> };
  }

  test('a body that comes faster than it is read is not read ahead', async () => {
    const { line, part, size, exchange, body } = await filled(3);
    expect(line.isPaused()).toBe(true);
    const whole = body();
    await soon(() => !line.isPaused());
    line.send(part);
    expect((await whole).length).toBe(size);
    exchange.send(200, NONE, 'read');
    await soon(() => line.text.endsWith('read'));
    expect(await answered(line, post('/a?now', ''), 'now')).toMatch(KEEP);
  });

  test('one that has come to its end does not stop its connection; too many bytes after it do, until its answer', async () => {
    const { line, size, exchange, body, asked } = await filled(2);
    expect(line.isPaused()).toBe(false);
    line.send(post('/a?next', 'x'.repeat(20_000)));
    await soon(() => line.isPaused());
    expect((await body()).length).toBe(size);
    await turns();
    expect(line.isPaused()).toBe(true);
    exchange.send(200, NONE, 'read');
    await soon(() => asked.length === 2);
    expect(asked[1]?.url).toBe('/a?next');
    line.destroy();
  });

  test('one that is answered before its body has come is followed by the next after it', async () => {
    const { connect } = wired();
    const line = connect(post('/b', 'body').slice(0, -1));
    await soon(() => line.text.endsWith('/b'));
    expect(await answered(line, `y${get('/a?now')}`, 'now')).toMatch(KEEP);
  });

  test('one whose body has an extension is the only one of its connection', async () => {
    const { connect, asked, others } = wired();
    const line = connect(`${chunked('1;x=y\r\na\r\n0\r\n\r\n')}${get('/b')}${get('/a?now')}`);
    await soon(() => others.length === 1);
    await turns();
    expect([others, asked.length]).toEqual([['/never'], 0]);
    line.destroy();
  });

  test.each(['100-continue', 'more'])('an expectation of %s', async expectation => {
    const { connect } = wired();
    const line = connect(post('/b', 'a', [`Expect: ${expectation}`]));
    if (expectation === 'more') {
      await soon(() => line.text.endsWith('\r\n\r\n'));
      expect(line.text).toMatch(/^HTTP\/1\.1 417 Expectation Failed\r\n/);
    } else {
      await soon(() => line.text.endsWith('/b'));
      expect(line.text).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 /);
    }
    expect(await answered(line, get('/a?now'), 'now')).toMatch(KEEP);
  });
});

describe('a connection that changes to another protocol', () => {
  const ASKS = ['Connection: Upgrade', 'Upgrade: websocket'];
  function upgrading(own: Parameters<typeof wired>[0] = {}) {
    const taken: { url: string; socket: Line; head: string }[] = [];
    const upgrades = new Upgrades(createServer(), {
      path: '/ws',
      upgrade: (request, socket, head) => {
        taken.push({ url: request.url as string, socket: socket as Line, head: String(head) });
      },
      refuse: response => void response.writeHead(426, { Connection: 'close' }).end('refused'),
    });
    return { ...wired({ upgrades, ...own }), upgrades, taken };
  }

  test('is handed over with its request and what follows, and without a trace of ours', async () => {
    const { connect, connections, taken, others, slow } = upgrading();
    const line = connect(`${get('/ws?key=a', ASKS)}frames`);
    await soon(() => taken.length === 1);
    expect(taken).toMatchObject([{ url: '/ws?key=a', head: 'frames' }]);
    expect(taken[0]?.socket).toBe(line);
    expect([connections.all.size, others, slow]).toEqual([0, [], []]);
    const listeners = ['data', 'end', 'timeout', 'error', 'close'].map(name => [
      name,
      line.listenerCount(name),
    ]);
    // `close` is for the list of open ones, and Node's HTTP has one of its own for `timeout`
    expect(Object.fromEntries(listeners)).toMatchObject({ data: 0, error: 0 });
    line.send('more');
    line.resume();
    line.emit('timeout');
    await turns();
    expect([line.text, line.destroyed]).toEqual(['', false]);
    line.leave();
    await turns();
    expect(line.writable).toBe(true);
    line.destroy();
  });

  test('in parts, has no time limit for its head any more', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const { connect, taken } = upgrading();
    const text = get('/ws', ASKS);
    const line = connect(text.slice(0, 30));
    await turns();
    expect(vi.getTimerCount()).toBe(1);
    line.send(text.slice(30));
    await turns();
    expect([taken.length, vi.getTimerCount()]).toEqual([1, 0]);
    line.destroy();
  });

  test.each([
    ['another path', get('/wss', ASKS), '/wss'],
    ['another method', post('/ws', '', ASKS), '/ws'],
    ['no other protocol', get('/ws'), '/ws'],
    ['another header', get('/ws', ['X-Upgrade: websocket', 'Referer: a', 'Referer: b']), '/ws'],
    ['the name in a value', get('/ws', ['X: upgrade:', 'Referer: a', 'Referer: b']), '/ws'],
    ['the name in the next request', `${get('/ws', TWICE)}${get('/b', ASKS)}`, '/b'],
  ])('is none for %s', async (_, bytes, last) => {
    const { connect, taken } = upgrading();
    const line = connect(bytes);
    await soon(() => line.text.endsWith(last));
    expect(taken).toEqual([]);
    line.destroy();
  });

  test.each([
    ['without Connection: Upgrade', ['Upgrade: websocket']],
    ['in small letters', ['upgrade:websocket']],
    ['with an expectation', ['Upgrade: websocket', 'Expect: more']],
  ])('%s is refused', async (_, headers) => {
    const { connect, taken } = upgrading();
    const line = connect(get('/ws', headers));
    await soon(() => line.text.includes('refused'));
    expect(line.text).toMatch(/^HTTP\/1\.1 426 /);
    expect(taken).toEqual([]);
    line.destroy();
  });

  test('is closed with the others, unless it has left', async () => {
    const { connect, connections, upgrades, taken } = upgrading();
    const lines = [connect(get('/ws', ASKS)), connect(get('/ws', ASKS))];
    await soon(() => taken.length === 2);
    const [gone, stays] = lines as [Line, Line];
    gone.destroy();
    await turns();
    const destroy = vi.spyOn(gone, 'destroy');
    upgrades.closeAll();
    expect([stays.destroyed, destroy.mock.calls.length]).toEqual([true, 0]);
    const last = connect(get('/ws', ASKS));
    await soon(() => taken.length === 3);
    connections.closeAll();
    expect(last.destroyed).toBe(true);
  });
});
