/** The head of a request, byte by byte: each has one reading, wherever it is cut. */
import { describe, expect, test } from 'vitest';
import { HEADER_BYTES, headerOf, readHead, skipEmptyLines } from '../../src/wire/fast-path.js';
import { get, post, TWICE } from './wired.js';

const bytes = (text: string) => Buffer.from(text, 'latin1');
const read = (text: string, seen?: number) => readHead(bytes(text), seen);
/** fast, the reason, or that it may go on */
const kind = (text: string) => {
  const head = read(text);
  return head ? (head.slow ?? 'fast') : 'a part';
};
const ALL = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte));

test('empty lines before a request are not of it', () => {
  const nothing = bytes('');
  expect(skipEmptyLines(nothing)).toBe(nothing);
  const none = bytes('GET\r\n');
  expect(skipEmptyLines(none)).toBe(none);
  for (const lines of ['\r', '\n', '\r\n', '\n\r', '\r\n\r\n', '\n\n\n'])
    for (const rest of ['', 'GET', 'G\r\n'])
      expect(String(skipEmptyLines(bytes(lines + rest))), JSON.stringify(lines)).toBe(rest);
  expect(String(skipEmptyLines(bytes(' \r\n')))).toBe(' \r\n');
});

describe('each byte, at each place', () => {
  const TOKEN = /[\w!#$%&'*+.^`|~-]/;
  const VISIBLE = /[!-~]/;
  const ABOVE = /[\x80-\xff]/;
  test.each<[string, (byte: string) => string, (byte: string) => string]>([
    [
      'a target',
      byte => get(`/a${byte}b`),
      byte => (VISIBLE.test(byte) ? 'fast' : ABOVE.test(byte) ? 'target' : 'malformed'),
    ],
    [
      'the first of a target',
      byte => get(`${byte}b`),
      byte => (byte === '/' ? 'fast' : VISIBLE.test(byte) || ABOVE.test(byte) ? 'target' : 'malformed'),
    ],
    [
      'a name',
      byte => get('/', [`X${byte}Y: a`]),
      // a colon ends the name
      byte => (TOKEN.test(byte) || byte === ':' ? 'fast' : 'malformed'),
    ],
    [
      'a value',
      byte => get('/', [`X: a${byte}b`]),
      byte => (/[\t -~]/.test(byte) ? 'fast' : ABOVE.test(byte) ? 'non_ascii' : 'malformed'),
    ],
    [
      'a method',
      byte => `G${byte}T / HTTP/1.1\r\nHost: h\r\n\r\n`,
      byte => (byte === 'E' ? 'fast' : /[A-Z-]/.test(byte) ? 'method' : 'malformed'),
    ],
    [
      'the version',
      byte => `GET / HTTP/1.${byte}\r\nHost: h\r\n\r\n`,
      byte => (byte === '1' ? 'fast' : byte === '0' ? 'version' : 'malformed'),
    ],
    [
      'the version before its dot',
      byte => `GET / HTTP/${byte}.1\r\nHost: h\r\n\r\n`,
      byte => (byte === '1' ? 'fast' : 'malformed'),
    ],
    [
      'between method and target',
      byte => `GET${byte}/ HTTP/1.1\r\nHost: h\r\n\r\n`,
      byte => (byte === ' ' ? 'fast' : 'malformed'),
    ],
    [
      'between target and version',
      byte => `GET /${byte}HTTP/1.1\r\nHost: h\r\n\r\n`,
      byte => (byte === ' ' ? 'fast' : 'malformed'),
    ],
    ['before a method', byte => byte + get('/'), byte => (/[A-Z-]/.test(byte) ? 'method' : 'malformed')],
    ['after a name', byte => get('/', [`X${byte} a`]), byte => (byte === ':' ? 'fast' : 'malformed')],
  ])('of %s', (_, text, expected) => {
    const wrong = ALL.filter(byte => kind(text(byte)) !== expected(byte));
    expect(wrong.map(byte => [byte, kind(text(byte)), expected(byte)])).toEqual([]);
  });

  test('of a number of bytes', () => {
    for (const digit of ALL) {
      const body = /\d/.test(digit) ? Number(`1${digit}`) : 'unclear';
      if (/[^\t -~]/.test(digit)) continue;
      const head = read(get('/', [`Content-Length: 1${digit}`]).replace('GET', 'POST'));
      // white space around it is not of it
      if (/[\t ]/.test(digit)) expect([head?.slow, head?.body]).toEqual([undefined, 1]);
      else expect([head?.slow, head?.body], digit).toEqual([body === 'unclear' ? 'body' : undefined, body]);
    }
  });
});

const READ: [text: string, slow: string | undefined, body: unknown][] = [
  [get(), undefined, 0],
  [get('/', ['Content-Length: 0']), undefined, 0],
  [get('/', ['Content-Length: 1']), 'body', 1],
  [get('/').replace('GET', 'OPTIONS'), undefined, 0],
  [get('/', ['Content-Length: 1']).replace('GET', 'OPTIONS'), 'body', 1],
  [get('/', ['Content-Length: 1']).replace('GET', 'HEAD'), 'body', 1],
  [get('/', ['Content-Length: 00']), undefined, 0],
  [post('/', 'ab'), undefined, 2],
  [post('/', ''), undefined, 0],
  [get('/').replace('GET', 'POST'), 'body', 0],
  [get('/', ['Content-Length:']).replace('GET', 'POST'), 'body', 'unclear'],
  [get('/', ['Content-Length: 123456789']).replace('GET', 'POST'), undefined, 123_456_789],
  [get('/', [`Content-Length: ${'1'.repeat(16)}`]).replace('GET', 'POST'), 'body', 'unclear'],
  [get('/', ['Content-Length: 1 2']).replace('GET', 'POST'), 'body', 'unclear'],
  [get('/', ['Content-Length: 5']).replace('GET', 'PUT'), 'method', 5],
  [get('/', ['content-LENGTH:5 ']).replace('GET', 'PUT'), 'method', 5],
  [get('/', ['X-Content-Length: 5']).replace('GET', 'PUT'), 'method', 0],
  [get('/', ['Transfer-Encoding: chunked']), 'chunked', 'chunked'],
  [get('/', ['transfer-encoding:CHUNKED ']), 'chunked', 'chunked'],
  [get('/', ['Transfer-Encoding: gzip']), 'chunked', 'unclear'],
  [get('/', ['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked']), 'chunked', 'unclear'],
  [get('/', ['Transfer-Encoding: chunked', 'Content-Length: 1']), 'chunked', 'unclear'],
  [get('/', ['Transfer-Encoding: chunked']).replace('1.1', '1.0'), 'version', 'unclear'],
  [get('/', ['Content-Length: 3']).replace('1.1', '1.0'), 'version', 3],
  [get('/', ['Upgrade: websocket']), 'upgrade', 0],
  [get('/', ['uPGRADE:']), 'upgrade', 0],
  [get('/', ['Expect: 100-continue']), 'expect', 0],
  [get('/', ['Connection: keep-alive']), undefined, 0],
  [get('/', ['Connection: KEEP-ALIVE']), undefined, 0],
  [get('/', ['Connection: Close']), undefined, 0],
  [get('/', ['Connection: close, TE']), 'connection', 0],
  [get('/', ['Connection:']), 'connection', 0],
  [get('/', ['Host: other']), 'repeated_header', 0],
  [get('/', TWICE), 'repeated_header', 0],
  [get('/', ['X: a', 'X: b']), undefined, 0],
  [get().replace('Host: localhost', 'Host:'), 'host', 0],
  [get().replace('Host: localhost', 'Hosts: a'), 'host', 0],
  [get().replace('Host: localhost', 'A: b'), 'host', 0],
  ['GET / HTTP/1.1\r\n\r\n', 'host', 0],
  ['GET / HTTP/1.0\r\n\r\n', 'version', 0],
  ['GET * HTTP/1.1\r\nHost: h\r\n\r\n', 'target', 0],
  ['PUT * HTTP/1.1\r\nHost: h\r\n\r\n', 'method', 0],
  ['GET a/ HTTP/1.1\r\n\r\n', 'target', 0],
  [get('/', ['X: \xff']), 'non_ascii', 0],
  [get('/\xff'), 'target', 0],
];

test.each(READ)('%j is read, %s, with a body of %s', (text, slow, body) => {
  const head = read(text);
  expect([head?.slow, head?.body]).toEqual([slow, body]);
  const [method, url] = text.split(' ');
  expect([head?.method, head?.url, head?.length]).toEqual([method, url, text.indexOf('\r\n\r\n') + 4]);
});

test('a head that comes in two parts is read as in one, and not before it is whole', () => {
  // many, so that the comparison must be cheap
  const wrong: string[] = [];
  for (const [text] of READ) {
    const whole = JSON.stringify(read(text));
    const end = text.indexOf('\r\n\r\n') + 4;
    for (let cut = 1; cut < end; cut++) {
      const early = read(text.slice(0, cut)) ?? (cut > 4 ? read(text.slice(0, end - 1), cut) : undefined);
      if (early || JSON.stringify(read(text, cut)) !== whole) wrong.push(text.slice(0, cut));
    }
  }
  expect(wrong).toEqual([]);
});

test.each([
  ['GET / HTTP/1.1\n', 0],
  ['GET / HTTP/1.1\r\nA: b\n', 18],
  ['GET / HTTP/1.1\r\nA: b\rc', 0],
  ['GET / HTTP/1.1\r\nA: b\rc', 21],
  ['\nGET', 0],
  ['get /', 0],
  ['G/', 0],
  ['GET\t', 0],
  ['A'.repeat(21), 0],
  [`${'A'.repeat(21)} `, 0],
])('of %j, of which %d bytes were seen, nothing can become of it', (text, seen) => {
  expect(read(text, seen)).toEqual({
    method: '',
    url: '',
    length: 0,
    body: 'unclear',
    headers: [],
    slow: 'malformed',
  });
});

test.each([
  'G',
  'GET',
  'GET ',
  'A-B ',
  'A'.repeat(20),
  `${'A'.repeat(20)} `,
  'GET /\r',
  'GET / HTTP/1.1\r\nA: b\r',
])('of %j something may become', text => expect(read(text)).toBeUndefined());

test('headers are found by their whole names, in any case, and without the space around them', () => {
  const headers = read(
    get('/', [
      'oRIGIN: \t https://a.example \t ',
      'Content-Typ: a',
      'Content-Types: b',
      'content_type: c',
      'X-Forwarded-For:192.0.2.1',
      'X-Forwarded-Fox: d',
      'Sec-Fetch-Mode: cors',
      'Referer:',
    ]),
  )?.headers;
  const names = [
    'origin',
    'host',
    'content-type',
    'x-forwarded-for',
    'sec-fetch-mode',
    'sec-fetch-site',
    'referer',
  ] as const;
  expect(headers && names.map(name => headerOf(headers, name))).toEqual([
    'https://a.example',
    'localhost',
    undefined,
    '192.0.2.1',
    'cors',
    undefined,
    '',
  ]);
});

describe('a head is limited', () => {
  /** A head whose empty line begins at this byte. */
  const ofLength = (end: number) => {
    const without = get('/', ['X: ']).length - 4;
    return get('/', [`X: ${'x'.repeat(end - without)}`]);
  };

  test('to 16 KiB', () => {
    expect(HEADER_BYTES).toBe(16_384);
    expect(kind(ofLength(16_384))).toBe('fast');
    expect(kind(ofLength(16_385))).toBe('large_head');
    const part = ofLength(20_000);
    expect(kind(part.slice(0, 16_384))).toBe('a part');
    expect(kind(part.slice(0, 16_385))).toBe('large_head');
    expect(read(ofLength(16_385))?.body).toBe('unclear');
  });

  // the request line and Host are two of 256 lines that may end before the last
  test.each([
    [254, 'a:', 'fast'],
    [255, 'a:', 'fast'],
    [256, 'a:', 'many_headers'],
    [255, 'name: value', 'fast'],
    [256, 'name: value', 'many_headers'],
    [3000, 'a:', 'many_headers'],
  ])('to 256 headers: %d of %s', (count, line, expected) => {
    expect(
      kind(
        get(
          '/',
          Array.from({ length: count }, () => line),
        ),
      ),
    ).toBe(expected);
  });

  test('by its own lines, and not by those of what follows', () => {
    expect(kind(get() + get().repeat(500))).toBe('fast');
    expect(kind(get('/', ['X: a'.repeat(300)]) + '\r\n'.repeat(500))).toBe('fast');
  });
});
