/** Parts of the wire that need no connection: bodies, paths, chunks, targets, turns, and the form of responses. */
import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { BODY_BYTES, BodyError, readBytes } from '../../src/wire/bytes.js';
import { retryEventSource } from '../../src/wire/event-source.js';
import { HeaderBlock, isFor } from '../../src/wire/exchange.js';
import { type Body, Framing } from '../../src/wire/framing.js';
import { HttpExchange } from '../../src/wire/http.js';
import { refusal, responseOf, TIMED_OUT, TOO_LARGE } from '../../src/wire/response.js';
import { RoundRobin } from '../../src/wire/round-robin.js';
import { hasTwoHosts, malformed, toOriginForm } from '../../src/wire/target.js';
import { Random } from '../chaos/random.js';
import { Line, turns } from './wired.js';

const SEED = Number(process.env.CHUNKS_SEED ?? Date.now() % 1_000_000);

afterEach(() => void vi.useRealTimers());

describe('a body', () => {
  /** A request whose body the test sends. */
  const coming = (headers: Record<string, string> = {}) =>
    Object.assign(new PassThrough(), { headers }) as PassThrough & IncomingMessage;
  const tooLarge = { constructor: BodyError, why: 'too large', message: 'too large' };
  const endedEarly = { constructor: BodyError, why: 'ended early', message: 'ended early' };

  test.each([
    ['nothing', []],
    ['one piece', ['abc']],
    ['pieces', ['a', 'b', 'c']],
  ])('of %s is read', async (_, pieces) => {
    const request = coming();
    const body = readBytes(request, 3);
    for (const piece of pieces) {
      request.write(piece);
      await turns(1);
    }
    request.end();
    expect(String(await body)).toBe(pieces.join(''));
  });

  test('of one piece is not copied', async () => {
    const request = coming();
    const body = readBytes(request, 3);
    const piece = Buffer.from('abc');
    request.end(piece);
    expect(await body).toBe(piece);
  });

  test('that announces more than the limit is refused before it is read', async () => {
    const request = coming({ 'content-length': '4' });
    await expect(readBytes(request, 3)).rejects.toMatchObject(tooLarge);
    expect(request.listenerCount('data')).toBe(0);
    const most = coming({ 'content-length': '3' });
    const body = readBytes(most, 3);
    most.end('abc');
    expect(String(await body)).toBe('abc');
  });

  test('that has more than the limit is refused, and not read on', async () => {
    const request = coming();
    const body = readBytes(request, 3);
    request.write('abc');
    await turns(1);
    request.write('d');
    await expect(body).rejects.toMatchObject(tooLarge);
    expect(request.isPaused()).toBe(true);
  });

  test('that ends before its time is an error, while it is read and before', async () => {
    const request = coming();
    const body = readBytes(request, 3);
    request.destroy(new Error('reset'));
    await expect(body).rejects.toMatchObject(endedEarly);
    await expect(readBytes(request, 3)).rejects.toMatchObject(endedEarly);
  });

  test('that something else has read is an error that says what to do', async () => {
    const request = coming();
    request.end('a');
    for await (const _ of request);
    await expect(readBytes(request, 3)).rejects.toMatchObject({
      code: 'TAGWAIT_BODY_READ',
      message: 'the body was read before: mount tagwait before any body parser',
    });
  });

  test('of 64 KiB is the largest on the fast path', () => expect(BODY_BYTES).toBe(65_536));
});

describe('a refusal for a time', () => {
  const answer = (accept: string | undefined, wait: number, origin?: string) => {
    const request = new IncomingMessage(new Socket());
    if (accept !== undefined) request.headers.accept = accept;
    const response = new ServerResponse(request);
    const line = new Line();
    response.assignSocket(line as unknown as Socket);
    if (origin) response.setHeader('Access-Control-Allow-Origin', origin);
    const answered = retryEventSource(request, response, 'busy', wait);
    return { answered, text: line.text, status: response.statusCode, headers: response.getHeaders() };
  };

  test.each([
    [1234.4, 1234],
    [1999.6, 2000],
    [1, 1],
    [0.4, 1],
    [0, 1],
  ])('of %d ms tells an EventSource to come again after %d', (wait, retry) => {
    const { answered, text } = answer('text/event-stream', wait);
    expect(answered).toBe(true);
    expect(text).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    for (const header of [
      'Access-Control-Allow-Origin: *',
      'Content-Type: text/event-stream; charset=utf-8',
      'Cache-Control: no-store',
      'X-Content-Type-Options: nosniff',
    ])
      expect(text).toContain(`\r\n${header}\r\n`);
    expect(text.split('\r\n\r\n')[1]).toContain(`:busy\nretry: ${retry}\n\n`);
  });

  test('allows the origin that a rule has allowed', () => {
    const { text } = answer('text/event-stream', 1, 'https://one.example');
    expect(text.match(/Access-Control-Allow-Origin: .*/g)).toEqual([
      'Access-Control-Allow-Origin: https://one.example',
    ]);
  });

  test.each([undefined, '*/*', 'text/event-stream, */*', 'application/json'])(
    'is left to its status for a client that takes %s',
    accept => {
      const { answered, text, headers } = answer(accept, 1);
      expect([answered, text, Object.keys(headers)]).toEqual([false, '', []]);
    },
  );
});

describe('a route', () => {
  const poll = { method: 'GET', path: '/a' };
  const set = { method: 'POST', path: '/a' };
  test.each<[typeof poll, string | undefined, string, boolean]>([
    [poll, 'GET', '/a', true],
    [poll, 'GET', '/a?', true],
    [poll, 'GET', '/a?b', true],
    [poll, 'HEAD', '/a', true],
    [poll, 'POST', '/a', false],
    [poll, 'OPTIONS', '/a', false],
    [poll, undefined, '/a', false],
    [poll, 'GET', '/ab', false],
    [poll, 'GET', '/a/', false],
    [poll, 'GET', '/A', false],
    [poll, 'GET', '/', false],
    [poll, 'GET', '/b?', false],
    [poll, 'GET', '/b', false],
    [poll, 'GET', '//a', false],
    [set, 'POST', '/a', true],
    [set, 'POST', '/a?b', true],
    [set, 'HEAD', '/a', false],
    [set, 'GET', '/a', false],
  ])('of %j is for %s %s: %s', (route, method, url, expected) => {
    expect(isFor(route, method, url)).toBe(expected);
  });

  test('headers of many answers are formatted in order', () => {
    const block = new HeaderBlock({ 'Content-Type': 'text/plain', Vary: 'Origin' });
    expect(block.list).toEqual(['Content-Type', 'text/plain', 'Vary', 'Origin']);
    expect(block.lines).toBe('Content-Type: text/plain\r\nVary: Origin\r\n');
  });
});

describe('a response', () => {
  const fields = new HeaderBlock({ 'X-One': '1' });

  test('that keeps the connection', () => {
    vi.useFakeTimers({ now: Date.UTC(2030, 0, 2, 3, 4, 5, 678) });
    expect(responseOf(404, fields, 'text', 65, false)).toBe(
      'HTTP/1.1 404 Not Found\r\nX-One: 1\r\nContent-Length: 4\r\nDate: Wed, 02 Jan 2030 03:04:05 GMT\r\n' +
        'Connection: keep-alive\r\nKeep-Alive: timeout=65\r\n\r\ntext',
    );
  });

  test('that is the last, and one to HEAD', () => {
    vi.useFakeTimers({ now: Date.UTC(2030, 0, 2, 3, 4, 6) });
    const begin =
      'HTTP/1.1 200 OK\r\nX-One: 1\r\nContent-Length: 4\r\nDate: Wed, 02 Jan 2030 03:04:06 GMT\r\n';
    expect(responseOf(200, fields, 'text', undefined, false)).toBe(`${begin}Connection: close\r\n\r\ntext`);
    expect(responseOf(200, fields, 'text', undefined, true)).toBe(`${begin}Connection: close\r\n\r\n`);
  });

  test('has the date of its second', () => {
    vi.useFakeTimers({ now: Date.UTC(2030, 0, 1) });
    const dates = [0, 1, 998, 1, 1000].map(later => {
      vi.setSystemTime(Date.now() + later);
      return /Date: (.*)\r/.exec(responseOf(200, fields, '', 1, false))?.[1];
    });
    expect(dates).toEqual([0, 0, 0, 1, 2].map(second => `Tue, 01 Jan 2030 00:00:0${second} GMT`));
  });

  test.each([
    [TIMED_OUT, '408 Request Timeout'],
    [TOO_LARGE, '431 Request Header Fields Too Large'],
  ])('without a body: %j', (text, status) => {
    expect(text).toBe(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`);
  });

  test('to a request that servers read in different ways', () => {
    const [head = '', body = ''] = refusal(false).split('\r\n\r\n');
    expect(head.split('\r\n')).toEqual([
      'HTTP/1.1 400 Bad Request',
      'Content-Type: text/plain; charset=utf-8',
      'X-Content-Type-Options: nosniff',
      'Cache-Control: no-store',
      `Content-Length: ${body.length}`,
      expect.stringMatching(/^Date: /),
      'Connection: close',
    ]);
    expect(body).toMatch(/^the request: give a head as in RFC 9112, .*\n$/);
    expect(refusal(true).split('\r\n\r\n')[1]).toBe('');
  });
});

describe('a target', () => {
  const asked = (url: string, rawHeaders: string[] = []) =>
    ({ url, rawHeaders, headers: { host: 'given' } }) as unknown as IncomingMessage;

  test.each([
    ['/', '/', 'given'],
    ['/a?b', '/a?b', 'given'],
    ['/http://h/a', '/http://h/a', 'given'],
    ['*', '*', 'given'],
    ['a', 'a', 'given'],
    ['http://h', '/', 'h'],
    ['http://h/', '/', 'h'],
    ['HTTPS://H:80/a?b', '/a?b', 'H:80'],
    ['https://h?b', '/?b', 'h'],
    ['http:///a', 'http:///a', 'given'],
    ['http://?a', 'http://?a', 'given'],
    ['http://#', 'http://#', 'given'],
    ['http://h/a#b', '/a#b', 'h'],
    ['http://h#b', '/#b', 'h'],
    ['ftp://h/a', 'ftp://h/a', 'given'],
    ['xhttp://h/a', 'xhttp://h/a', 'given'],
    ['http:/h/a', 'http:/h/a', 'given'],
  ])('%s is read as %s of %s', (url, path, host) => {
    const request = asked(url);
    toOriginForm(request);
    expect([request.url, request.headers.host]).toEqual([path, host]);
  });

  const noPath = { status: 400, detail: 'the target: give a path that begins with /, without a #' };
  const tooLong = { status: 414, detail: 'the target: give at most 4096 bytes' };
  test.each<[string, unknown]>([
    ['/', undefined],
    ['/a?b', undefined],
    ['*', undefined],
    ['', noPath],
    ['a', noPath],
    ['a/', noPath],
    ['**', noPath],
    ['*a', noPath],
    ['a*', noPath],
    ['/#', noPath],
    ['/a#b', noPath],
    ['#/', noPath],
  ])('%s is refused with %j', (url, fault) => {
    expect(malformed(asked(url, ['Host', 'h']))).toEqual(fault);
  });

  test('of more than 4,096 bytes is refused, whatever it is', () => {
    expect(malformed(asked(`/${'a'.repeat(4095)}`))).toBeUndefined();
    for (const begin of ['/', 'a', '#'])
      expect(malformed(asked(begin + 'a'.repeat(4096))), begin).toEqual(tooLong);
  });

  test.each([
    [[], false],
    [['Host', 'a'], false],
    [['Host', 'a', 'Accept', 'b'], false],
    [['Host', 'Host'], false],
    [['host', 'a', 'hOST', 'a'], true],
    [['Accept', 'a', 'Host', 'a', 'B', 'c', 'Host', 'b'], true],
    [['Hosts', 'a', 'Host', 'b'], false],
    [['Hose', 'a', 'Host', 'b'], false],
  ])('headers %j have two hosts: %s', (headers, expected) => {
    expect(hasTwoHosts(headers)).toBe(expected);
    expect(malformed(asked('/', headers))).toEqual(
      expected ? { status: 400, detail: 'Host: give it once' } : undefined,
    );
  });
});

test('jobs run in order, one per turn of the event loop, never at once, and also those that a job adds', async () => {
  const jobs = new RoundRobin();
  const ran: number[] = [];
  const job = (number: number, more?: () => void) =>
    jobs.add(() => {
      ran.push(number);
      more?.();
    });
  // a second time when there was nothing to run for a while
  for (let round = 0; round < 2; round++) {
    const before = ran.length;
    job(1, () => job(4));
    job(2);
    job(3);
    expect(ran).toHaveLength(before);
    for (let turn = 1; turn <= 5; turn++) {
      await turns(1);
      // the loop may be one turn ahead
      expect(ran.length - before).toBeLessThanOrEqual(Math.min(turn + round, 4));
    }
    await turns(2);
    expect(ran.slice(before)).toEqual([1, 2, 3, 4]);
  }
});

describe('the end of a request', () => {
  const HEAD = 10;
  /** @returns how many bytes were taken, and how it ended, given in one piece or in pieces of a size */
  const counted = (body: Body, text: string, size = Number.POSITIVE_INFINITY) => {
    const framing = new Framing(HEAD, body);
    const bytes = Buffer.from('h'.repeat(HEAD) + text, 'latin1');
    let taken = 0;
    for (let at = 0; at < bytes.length && !framing.done; ) {
      const piece = bytes.subarray(at, at + Math.min(size, bytes.length));
      taken += framing.take(piece);
      at += piece.length;
    }
    const named = framing.done ? 'done' : framing.unclear ? 'unclear' : framing.refused ? 'refused' : 'open';
    const state = framing.unusual && named === 'done' ? 'unusual' : named;
    return [state, taken - HEAD, framing.tooFine];
  };

  test.each<[Body, string, string, number | 'all']>([
    [0, '', 'done', 0],
    [0, 'next', 'done', 0],
    [3, 'ab', 'open', 2],
    [3, 'abc', 'done', 3],
    [3, 'abcnext', 'done', 3],
    ['unclear', 'anything', 'unclear', 'all'],
    ['chunked', '0\r\n\r\n', 'done', 5],
    ['chunked', '0\r\n\r\nnext', 'done', 5],
    ['chunked', '000\r\n\r\nnext', 'done', 7],
    ['chunked', '3\r\nabc\r\n0\r\n\r\nnext', 'done', 13],
    ['chunked', '3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nnext', 'done', 20],
    ['chunked', 'a\r\n0123456789\r\n0\r\n\r\nnext', 'done', 20],
    ['chunked', 'F\r\n0123456789abcde\r\n0\r\n\r\nnext', 'done', 25],
    ['chunked', '10\r\n0123456789abcdef\r\n0\r\n\r\nnext', 'done', 27],
    ['chunked', '0000000a\r\n0123456789\r\n0\r\n\r\nnext', 'done', 27],
    ['chunked', '000000000000000a\r\n0123456789\r\n0\r\n\r\nnext', 'done', 35],
    ['chunked', '0000000000000000a\r\n', 'refused', 'all'],
    ['chunked', 'ffffffff\r\nab', 'open', 12],
    ['chunked', '100000000\r\nab', 'refused', 'all'],
    ['chunked', '3', 'open', 1],
    ['chunked', '3\r', 'open', 2],
    ['chunked', '3\r\nab', 'open', 5],
    ['chunked', '3\r\nabc\r', 'open', 7],
    ['chunked', '3\r\nabc\r\n0\r\n\r', 'open', 12],
    // extensions and trailers
    ['chunked', '3;a=b\r\nabc\r\n0\r\n\r\nnext', 'unusual', 17],
    ['chunked', '3;a="b; c";d\r\nabc\r\n0;e~\r\n\r\nnext', 'unusual', 27],
    ['chunked', '3\r\nabc\r\n0\r\nX: y\r\n\r\nnext', 'unusual', 19],
    ['chunked', "0\r\n!#$%&'*+-.^_`|~09azAZ:\t\xff y\r\nZ:\r\n\r\nnext", 'unusual', 37],
    ['chunked', '3;a', 'open', 3],
    ['chunked', '0\r\nX', 'open', 4],
    ['chunked', '0\r\nX: y\r\n', 'open', 9],
    // what servers read in different ways
    ['chunked', '\r\n0\r\n\r\n', 'refused', 'all'],
    ['chunked', ';a=b\r\n0\r\n\r\n', 'refused', 'all'],
    ['chunked', '3 \r\nabc\r\n0\r\n\r\n', 'refused', 'all'],
    ['chunked', '3 ;a\r\nabc\r\n0\r\n\r\n', 'refused', 'all'],
    ['chunked', '3;a\nabc\r\n0\r\n\r\n', 'refused', 'all'],
    ['chunked', '3;a\rb\r\nabc\r\n0\r\n\r\n', 'refused', 'all'],
    ['chunked', '3;a="\r\n"\r\nabc\r\n0\r\n\r\n', 'refused', 'all'],
    ['chunked', '3;a\tb\r\nabc\r\n0\r\n\r\n', 'refused', 'all'],
    ['chunked', '3;\xe9\r\nabc\r\n0\r\n\r\n', 'refused', 'all'],
    ['chunked', '+3\r\nabc\r\n0\r\n\r\n', 'refused', 'all'],
    ['chunked', '3\nabc\r\n0\r\n\r\n', 'refused', 'all'],
    ['chunked', '3\r\rabc\r\n0\r\n\r\n', 'refused', 'all'],
    ['chunked', '3\r\nabc\n0\r\n\r\n', 'refused', 'all'],
    ['chunked', '3\r\nabc\r\r0\r\n\r\n', 'refused', 'all'],
    ['chunked', '3\r\nabcd\r\n0\r\n\r\n', 'refused', 'all'],
    ['chunked', '0\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n', 'refused', 'all'],
    ['chunked', '0\r\nX : y\r\n\r\n', 'refused', 'all'],
    ['chunked', '0\r\n X: y\r\n\r\n', 'refused', 'all'],
    ['chunked', '0\r\nX: y\r\n z\r\n\r\n', 'refused', 'all'],
    ['chunked', '0\r\nX\r\n\r\n', 'refused', 'all'],
    ['chunked', '0\r\nX: y\n\r\n', 'refused', 'all'],
    ['chunked', '0\r\nX: y\rZ: y\r\n\r\n', 'refused', 'all'],
    ['chunked', '0\r\nX: \0\r\n\r\n', 'refused', 'all'],
    ['chunked', '0\r\n\n', 'refused', 'all'],
    ['chunked', '0\r\n\r\r', 'refused', 'all'],
  ])('%s %j is %s after %s bytes, in one piece and in any', (body, text, state, end) => {
    for (const size of [Number.POSITIVE_INFINITY, 1, 2, 3, 5, 7])
      expect(counted(body, text, size), `in pieces of ${size}`).toEqual([
        state,
        end === 'all' ? text.length : end,
        false,
      ]);
  });

  test.each([
    ...[
      '\r',
      ';',
      'g',
      '3 ',
      '3;\n',
      '3\r\r',
      '3;a\rb',
      '3\r\nabc\n',
      '3\r\nabc\r\r',
      '0\r\n ',
      '0\r\nX ',
      '0\r\nX\r',
    ],
    ...['0\r\nX: \0', '0\r\nX: \n', '0\r\nX: y\rZ', '0\r\n\rX'],
  ])('chunks %j are refused with their last byte, and not before', text => {
    expect(counted('chunked', text.slice(0, -1))[0]).toBe('open');
    expect(counted('chunked', text)[0]).toBe('refused');
  });

  test('no byte but a hexadecimal digit is one of a size', () => {
    for (let byte = 0; byte < 256; byte++) {
      const digit = String.fromCharCode(byte);
      const value = /[\da-f]/i.test(digit) ? Number.parseInt(digit, 16) : -1;
      const [state, end] = counted(
        'chunked',
        `${digit}\r\n${'x'.repeat(Math.max(value, 0))}\r\n0\r\n\r\nnext`,
      );
      if (value > 0) expect([state, end], digit).toEqual(['done', value + 10]);
      else if (value < 0) expect(state, digit).toBe('refused');
    }
  });

  test.each<[count: number, size: number, first: number, expected: boolean]>([
    [256, 1, 0, false],
    [257, 1, 0, true],
    [257, 63, 0, true],
    [257, 64, 0, false],
    [300, 64, 0, false],
    // a large one makes up for small ones
    [256, 1, 16_384, false],
  ])('%d chunks of %d bytes are too fine after one of %d: %s', (count, size, first, expected) => {
    const chunk = (bytes: number) => `${bytes.toString(16)}\r\n${'x'.repeat(bytes)}\r\n`;
    const framing = new Framing(0, 'chunked');
    framing.take(Buffer.from((first ? chunk(first) : '') + chunk(size).repeat(count)));
    expect(framing.tooFine).toBe(expected);
  });

  /** Where a chunked body ends, by the grammar of RFC 9112 §7.1; undefined: nowhere in this text. */
  const endOf = (text: string): number | undefined => {
    for (let at = 0; ; ) {
      const [line, digits = ''] = /^([\da-f]{1,16})(?:;[ -~]*)?\r\n/i.exec(text.slice(at)) ?? [];
      if (!line) return undefined;
      at += line.length + Number.parseInt(digits, 16);
      if (Number.parseInt(digits, 16) === 0) {
        const [rest] = /^(?:[\w!#$%&'*+.^`|~-]+:[\t -~\x80-\xff]*\r\n)*\r\n/.exec(text.slice(at)) ?? [];
        return rest === undefined ? undefined : at + rest.length;
      }
      if (text.slice(at, at + 2) !== '\r\n') return undefined;
      at += 2;
    }
  };

  /** Whether anything can follow so that it ends. Only sizes of one digit. */
  const TAILS = ['', '\r\n', '\n', '0\r\n', ':\r\n'].flatMap(begin =>
    ['', '\r\n0\r\n\r\n', '\n0\r\n\r\n', '0\r\n\r\n', '\r\n', '\n', '\r\n\r\n'].flatMap(end =>
      Array.from({ length: 11 }, (_, length) => begin + 'x'.repeat(length) + end),
    ),
  );
  const mayEnd = (text: string) => TAILS.some(tail => endOf(text + tail) !== undefined);

  test('random chunks end where the grammar says, and are refused where it has no end for them', () => {
    const random = new Random(SEED);
    const pieces = [
      ...['0', '1', '3', 'a', 'G', '@', '`', '/', ':', ';', '\r', '\n', ' ', '\t', '\x7f', '\x80', 'A'],
      ...['\r\n', '\r\n', '\r\n', '3\r\nabc\r\n', '1;x=y\r\na\r\n', '0\r\n', '0\r\n\r\n', 'A: b\r\n'],
    ];
    const counts = { done: 0, refused: 0, open: 0 };
    for (let count = 0; count < 10_000; count++) {
      let text = '';
      for (let left = 1 + (count % 7); left > 0; left--) text += random.pick(pieces);
      const framing = new Framing(0, 'chunked');
      const taken = framing.take(Buffer.from(text, 'latin1'));
      const state = framing.done ? 'done' : framing.refused ? 'refused' : 'open';
      const seed = `CHUNKS_SEED=${SEED} ${JSON.stringify(text)}`;
      counts[state]++;
      expect(framing.done ? taken : undefined, seed).toBe(endOf(text));
      if (!framing.done && !/[\da-f]{2}/i.test(text))
        expect(state, seed).toBe(mayEnd(text) ? 'open' : 'refused');
    }
    for (const count of Object.values(counts)) expect(count, JSON.stringify(counts)).toBeGreaterThan(100);
  });
});

test("an exchange of Node's tells a listener of its end once, also one that comes after it", () => {
  const request = new IncomingMessage(new Socket());
  const response = new ServerResponse(request);
  const exchange = new HttpExchange(request, response);
  let closed = 0;
  exchange.onClose({ onClose: () => void closed++ });
  expect(closed).toBe(0);
  response.destroy();
  response.emit('close');
  expect(closed).toBe(1);
  Object.defineProperty(response, 'closed', { value: true });
  exchange.onClose({ onClose: () => void closed++ });
  expect(closed).toBe(2);
});
