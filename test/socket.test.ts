/** `GET /status/socket`: the values of many keys over one WebSocket. */
import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import Koa from 'koa';
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { WebSocket } from 'ws';
import { createTagwait } from '../src/index.js';
import { held, listen, poll, service, set, setUntilCut, until } from './harness.js';
import { raw, request } from './raw.js';
import { scrape } from './scrape.js';
import { Refused, socketTo } from './websocket.js';

const SECRET = 'a-secret-of-thirty-two-characters';
const HANDSHAKE = [
  'Upgrade: websocket',
  'Connection: Upgrade',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
];

/** A frame of a client, masked with zeros. @param first its first byte: 0x81 text, 0x89 ping … */
const frame = (first: number, payload: string | Buffer = '') => {
  const body = typeof payload === 'string' ? Buffer.from(payload) : payload;
  const length = body.length < 126 ? [0x80 | body.length] : [0xfe, body.length >> 8, body.length & 255];
  return Buffer.concat([Buffer.from([first, ...length, 0, 0, 0, 0]), body]);
};

/** The answer to a handshake that is refused. */
const refused = (url: string, options = {}, protocols?: string[]) =>
  socketTo(url, options, protocols).then(
    () => expect.unreachable('it was accepted'),
    (error: unknown) => {
      expect(error).toBeInstanceOf(Refused);
      return error as Refused;
    },
  );

afterEach(() => void vi.useRealTimers());

test('every value of every watched key, in order, as a poll is answered, with the key', async () => {
  const { publicUrl, internalUrl } = await service();
  const cursors: string[] = [];
  const store = async (key: string, value: unknown) => {
    cursors.push((await set(internalUrl, { key, value })).body.cursor);
  };
  await store('a', { n: 1 });
  await store('a', '<b>\u2028');
  const client = await socketTo(publicUrl);
  expect([client.socket.protocol, client.socket.extensions]).toEqual(['tagwait.1', '']);
  client.watch('a');
  client.watch('b');
  await held(internalUrl, 'b', 1);
  await until(() => client.messages.length === 1);
  await store('b', 3);
  await store('a', null);
  await until(() => client.messages.length === 3);
  const success = { code: 0, message: 'success' };
  expect(client.of('a')).toEqual([
    { ...success, data: '<b>\u2028', earlier: [{ n: 1 }], cursor: cursors[1], key: 'a' },
    { ...success, data: null, cursor: cursors[3], key: 'a' },
  ]);
  expect(client.of('b')).toEqual([{ ...success, data: 3, cursor: cursors[2], key: 'b' }]);
});

test('a watch goes on from its cursor, says what was lost, and ends with the final value', async () => {
  const { publicUrl, internalUrl } = await service({ history: 2 });
  const { cursor } = (await set(internalUrl, { key: 'a', value: 1 })).body;
  for (const value of [2, 3, 4]) await set(internalUrl, { key: 'a', value });
  const client = await socketTo(publicUrl);
  client.watch('a', cursor);
  await until(() => client.messages.length === 1);
  expect(client.messages[0]).toMatchObject({ data: 4, earlier: [3], lost: 1 });
  const last = (await set(internalUrl, { key: 'a', value: 5, final: true })).body.cursor;
  await until(() => client.messages.length === 2);
  expect(client.messages[1]).toMatchObject({ data: 5, final: true });
  await held(internalUrl, 'a', 0);
  client.watch('a', last);
  await until(() => client.messages.length === 3);
  expect(client.messages[2]).toEqual({ code: -2, message: 'expired', key: 'a' });
});

test('stop ends one watch; a second watch of a key takes the place of the first', async () => {
  const { publicUrl, internalUrl } = await service();
  const { cursor } = (await set(internalUrl, { key: 'a', value: 1 })).body;
  const client = await socketTo(publicUrl);
  client.watch('a', cursor);
  client.watch('b');
  client.watch('a');
  await until(() => client.of('a').length === 1);
  await held(internalUrl, 'a', 1);
  client.stop('a');
  client.stop('unknown');
  await held(internalUrl, 'a', 0);
  await set(internalUrl, { key: 'a', value: 2 });
  await set(internalUrl, { key: 'b', value: 3 });
  await until(() => client.of('b').length === 1);
  expect(client.messages.map(({ data }) => data)).toEqual([1, 3]);
});

test('tickets: each key needs its proof, and its watch ends with it', async () => {
  const { publicUrl, internalUrl, tagwait } = await service({ secret: [SECRET] });
  const [short, long] = [tagwait.newTicket(2), tagwait.newTicket(60)];
  const client = await socketTo(publicUrl);
  client.watch(short.key);
  client.watch(short.key, '', long.proof);
  await until(() => client.messages.length === 2);
  expect(client.messages.map(({ code }) => code)).toEqual([-5, -5]);
  client.watch(short.key, '', short.proof);
  client.watch(long.key, '', long.proof);
  await held(internalUrl, short.key, 1);
  await set(internalUrl, { key: short.key, value: 1 });
  await until(() => client.messages.length === 3);
  expect(client.messages[2]).toMatchObject({ data: 1, key: short.key, left: expect.any(Number) });
  await until(() => client.messages.length === 4);
  expect(client.messages[3]).toEqual({ code: -2, message: 'expired', key: short.key });
  expect(Date.now() / 1000).toBeGreaterThanOrEqual(short.expires);
  await held(internalUrl, short.key, 0);
  await held(internalUrl, long.key, 1);
});

test('a page of another origin is refused at the handshake: 403', async () => {
  const { publicUrl, internalUrl } = await service({ origins: ['https://shop.example'] });
  const { status, text, headers } = await refused(publicUrl, { origin: 'https://evil.example' });
  expect([status, JSON.parse(text)]).toEqual([403, { code: -5, message: 'forbidden' }]);
  expect(headers['cache-control']).toBe('no-store');
  await socketTo(publicUrl, { origin: 'https://shop.example' });
  await socketTo(publicUrl);
  const metrics = await scrape(internalUrl);
  expect(metrics.get('tagwait_answers_total{mode="socket",answer="forbidden"}')).toBe(1);
});

test.each<[what: string, path: string, headers: string[], status: number]>([
  ['no handshake', '/status/socket', [], 426],
  ['another protocol', '/status/socket', ['Upgrade: h2c', 'Connection: Upgrade'], 426],
  ['no Connection', '/status/socket', ['Upgrade: websocket'], 426],
  ['an Expect', '/status/socket', ['Upgrade: websocket', 'Expect: nothing'], 426],
  ['no key', '/status/socket', HANDSHAKE.slice(0, 3), 400],
  ['another version', '/status/socket', [...HANDSHAKE.slice(0, 2), 'Sec-WebSocket-Version: 7'], 400],
  ['another subprotocol', '/status/socket', [...HANDSHAKE, 'Sec-WebSocket-Protocol: chat'], 400],
  ['another path', '/status/sockets', HANDSHAKE, 404],
  ['the path of a poll', '/status/get?key=a&hold=0', HANDSHAKE, 200],
])('a handshake with %s is answered in HTTP, and its connection is not kept for it', async (...row) => {
  const [, path, headers, status] = row;
  const { publicUrl } = await service();
  const connection = raw(publicUrl, request(path, headers));
  await until(() => connection.text.startsWith(`HTTP/1.1 ${status} `));
  if (path === '/status/socket' && headers.length > 0) await connection.ended;
});

test('the internal port has no sockets', async () => {
  const { internalUrl } = await service();
  expect((await refused(internalUrl)).status).toBe(404);
});

test('a client that offers HTTP/2 on a poll is answered in HTTP/1.1, as before', async () => {
  const { publicUrl } = await service();
  const h2c = ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABk'];
  const connection = raw(publicUrl, request('/status/get?key=a&hold=0', h2c));
  await until(() => connection.text.includes('"timeout"'));
});

test('bytes after the handshake are frames, in one packet with it or byte by byte', async () => {
  const { publicUrl, internalUrl } = await service();
  const watch = (key: string) => frame(0x81, JSON.stringify({ watch: key }));
  const cookie = 'Cookie: name=\u00fc\u00df';
  const bytes = Buffer.concat([
    Buffer.from(request('/status/get?key=x&hold=0')),
    Buffer.from(request('/status/socket', [cookie, ...HANDSHAKE]), 'utf8'),
    watch('a'),
    watch('b'),
  ]);
  raw(publicUrl, bytes);
  await held(internalUrl, 'b', 1);
  const slow = raw(publicUrl);
  for (const byte of bytes) slow.socket.write(Buffer.of(byte));
  await held(internalUrl, 'b', 2);
  await held(internalUrl, 'a', 2);
  expect(slow.text).toContain('HTTP/1.1 101 ');
});

const text = (message: unknown) => JSON.stringify(message);
test.each<[what: string, data: string | Buffer, code: number, reason: RegExp]>([
  ['too long', 'x'.repeat(4097), 1009, /^$/],
  ['binary', Buffer.from(text({ watch: 'a' })), 1003, /^give text, not binary$/],
  ['no JSON', '{', 1008, /^give \{"watch":"KEY"/],
  ['null', 'null', 1008, /^give /],
  ['a list', '[]', 1008, /^give /],
  ['of no kind', '{}', 1008, /^give /],
  ['of two kinds', text({ watch: 'a', stop: 'a' }), 1008, /^give /],
  ['with a number for a key', text({ watch: 1 }), 1008, /^give /],
  ['with a number for a cursor', text({ watch: 'a', since: 1 }), 1008, /^give /],
  ['with a number for a proof', text({ watch: 'a', proof: 1 }), 1008, /^give /],
])('a message that is %s closes the socket', async (_, data, code, reason) => {
  const { publicUrl, internalUrl } = await service();
  const client = await socketTo(publicUrl);
  client.watch('a');
  await held(internalUrl, 'a', 1);
  client.socket.send(data);
  expect(await client.closed).toEqual([code, expect.stringMatching(reason)]);
  await held(internalUrl, 'a', 0);
});

test.each<[what: string, header: string, given: string[], detail: string]>([
  ['no key', 'Sec-WebSocket-Key', [], 'give 16 random bytes in base64'],
  ['a bad key', 'Sec-WebSocket-Key', ['abc'], 'give 16 random bytes in base64'],
  ['no version', 'Sec-WebSocket-Version', [], 'give 13'],
  ['another version', 'Sec-WebSocket-Version', ['7'], 'give 13'],
  ['a subprotocol that is no name', 'Sec-WebSocket-Protocol', ['tagwait.1,a b'], 'give tagwait.1'],
  ['an empty subprotocol', 'Sec-WebSocket-Protocol', ['tagwait.1,'], 'give tagwait.1'],
  ['a subprotocol twice', 'Sec-WebSocket-Protocol', ['tagwait.1, tagwait.1'], 'give tagwait.1'],
])('a handshake with %s is answered in JSON', async (_, header, given, detail) => {
  const { publicUrl, internalUrl } = await service();
  const headers = HANDSHAKE.filter(line => !line.startsWith(header));
  const client = raw(
    publicUrl,
    request('/status/socket', [...headers, ...given.map(text => `${header}: ${text}`)]),
  );
  await client.ended;
  const [head = '', body = ''] = client.text.split('\r\n\r\n');
  expect(head).toMatch(/^HTTP\/1\.1 400 /);
  for (const line of [
    'Content-Type: application/json; charset=utf-8',
    'X-Content-Type-Options: nosniff',
    'Sec-WebSocket-Version: 13, 8',
  ])
    expect(head).toContain(line);
  expect(JSON.parse(body)).toEqual({ code: -4, message: 'bad request', detail: `${header}: ${detail}` });
  const metrics = await scrape(internalUrl);
  expect(metrics.get('tagwait_answers_total{mode="socket",answer="badRequest"}')).toBe(1);
});

test('a slash at the end of the path is taken, as other routes take it', async () => {
  const { publicUrl } = await service();
  for (const [path, status] of [
    ['/status/socket/', '101'],
    ['/status/socket/?x=1', '101'],
    ['/status/socket//', '404'],
    ['/status/socket/x', '404'],
  ] as const) {
    const client = raw(publicUrl, request(path, HANDSHAKE));
    await until(() => client.text.includes('\r\n\r\n'));
    expect([path, client.text.slice(9, 12)]).toEqual([path, status]);
  }
});

test.each<[what: string, bytes: Buffer, code: number]>([
  ['a reserved bit', frame(0xc1, '{}'), 1002],
  ['an unknown kind', frame(0x83, '{}'), 1002],
  ['no mask', Buffer.from([0x81, 2, 0x7b, 0x7d]), 1002],
  ['a continuation of nothing', frame(0x80, '{}'), 1002],
  ['a ping in fragments', frame(0x09, ''), 1002],
  ['bytes that are no UTF-8', Buffer.from([0x81, 0x81, 0, 0, 0, 0, 0xff]), 1007],
  ['a length of 8 EiB', Buffer.from([0x81, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 1009],
  ['many fragments', Buffer.concat([frame(0x01), ...Array(100).fill(frame(0x00))]), 1008],
  [
    'fragments that are too long together',
    Buffer.concat([frame(0x01, 'x'.repeat(4000)), frame(0x80, 'x'.repeat(97))]),
    1009,
  ],
])('a frame with %s closes the socket, and its keys are let go', async (_, bytes, code) => {
  const { publicUrl, internalUrl } = await service();
  const client = await socketTo(publicUrl);
  client.watch('a');
  await held(internalUrl, 'a', 1);
  (client.socket as unknown as { _socket: Socket })._socket.write(bytes);
  expect((await client.closed)[0]).toBe(code);
  await held(internalUrl, 'a', 0);
});

/** The frames that a server has sent after its handshake, each as `[first byte, payload]`. */
function framesOf(received: string): [first: number, payload: Buffer][] {
  const bytes = Buffer.from(received, 'latin1');
  const frames: [number, Buffer][] = [];
  const start = bytes.indexOf('\r\n\r\n') + 4;
  for (let at = start; start > 3 && at + 4 <= bytes.length; ) {
    const short = bytes.readUInt8(at + 1);
    const [head, length] = short < 126 ? [2, short] : [4, bytes.readUInt16BE(at + 2)];
    frames.push([bytes.readUInt8(at), bytes.subarray(at + head, at + head + length)]);
    at += head + length;
  }
  return frames;
}
const WATCH = '{"watch":"a"}';
const VALUE = /"data":1,.*"key":"a"/;
const closing = (code: number, reason = '') =>
  Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]);
const bytes = (...values: number[]) => Buffer.from(values);

// what Autobahn's fuzzing client tries in its groups 1 to 7, as far as a server that only hears commands can be asked it
describe('the cases of Autobahn', () => {
  test.each<[what: string, sent: Buffer[], heard: (RegExp | [first: number, payload: string])[]]>([
    ['1 a message of 4 KiB', [frame(0x81, WATCH.padEnd(4096))], [VALUE]],
    ['2 a ping with 125 bytes', [frame(0x89, 'x'.repeat(125))], [[0x8a, 'x'.repeat(125)]]],
    [
      '2 pings in one packet',
      [frame(0x89, '1'), frame(0x89), frame(0x89, '\u00ff')],
      [
        [0x8a, '1'],
        [0x8a, ''],
        [0x8a, '\u00ff'],
      ],
    ],
    ['2 a pong that nobody asked for', [frame(0x8a, 'x'), frame(0x81, WATCH)], [VALUE]],
    ['5 a message in two fragments', [frame(0x01, WATCH.slice(0, 4)), frame(0x80, WATCH.slice(4))], [VALUE]],
    ['5 an empty fragment first and last', [frame(0x01), frame(0x00, WATCH), frame(0x80)], [VALUE]],
    [
      '5 a ping between two fragments',
      [frame(0x01, WATCH.slice(0, 4)), frame(0x89, 'x'), frame(0x80, WATCH.slice(4))],
      [[0x8a, 'x'], VALUE],
    ],
    [
      '6 a character in two fragments',
      [
        frame(0x01, '{"watch":"a","more":"'),
        frame(0x00, bytes(0xce)),
        frame(0x00, bytes(0xba)),
        frame(0x80, '"}'),
      ],
      [VALUE],
    ],
  ])('%s: heard', async (_, sent, heard) => {
    const { publicUrl, internalUrl } = await service();
    await set(internalUrl, { key: 'a', value: 1 });
    const client = raw(
      publicUrl,
      Buffer.concat([Buffer.from(request('/status/socket', HANDSHAKE)), ...sent]),
    );
    await until(() => framesOf(client.text).length === heard.length, { seen: () => client.text });
    for (const [index, [first, payload]] of framesOf(client.text).entries()) {
      const expected = heard[index] as RegExp | [number, string];
      if (expected instanceof RegExp) expect(String(payload)).toMatch(expected);
      else expect([first, String(payload)]).toEqual(expected);
    }
    client.socket.write(frame(0x88, closing(1000)));
    await client.ended;
    expect(framesOf(client.text).at(-1)).toEqual([0x88, closing(1000)]);
  });

  test.each<[what: string, sent: Buffer[], code: number]>([
    ['2 a ping with 126 bytes', [frame(0x89, 'x'.repeat(126))], 1002],
    ['3 the second reserved bit', [frame(0xa1, WATCH)], 1002],
    ['3 the third reserved bit, on a ping', [frame(0x99)], 1002],
    ['4 an unknown control frame', [frame(0x8b)], 1002],
    ['5 a new message between two fragments', [frame(0x01, WATCH.slice(0, 4)), frame(0x81, WATCH)], 1002],
    ['5 a continuation after a whole message', [frame(0x81, WATCH), frame(0x00, 'x')], 1002],
    ['6 half a character', [frame(0x81, bytes(0xce))], 1007],
    ['6 a surrogate', [frame(0x81, bytes(0xed, 0xa0, 0x80))], 1007],
    ['6 an overlong slash', [frame(0x81, bytes(0xc0, 0xaf))], 1007],
    ['6 above U+10FFFF', [frame(0x81, bytes(0xf4, 0x90, 0x80, 0x80))], 1007],
    ['6 no UTF-8 in the second fragment', [frame(0x01, '{'), frame(0x80, bytes(0xff))], 1007],
    ['7 a close with one byte', [frame(0x88, bytes(3))], 1002],
    ['7 a close whose reason is no UTF-8', [frame(0x88, Buffer.concat([closing(1000), bytes(0xff)]))], 1007],
    ['7 a close with 126 bytes', [frame(0x88, closing(1000, 'x'.repeat(124)))], 1002],
    ...[0, 999, 1004, 1005, 1006, 1016, 2999, 5000].map(
      code => [`7 close code ${code}`, [frame(0x88, closing(code))], 1002] as [string, Buffer[], number],
    ),
    ...[1001, 1003, 1011, 3000, 4999].map(
      code =>
        [`7 close code ${code}, which is echoed`, [frame(0x88, closing(code))], code] as [
          string,
          Buffer[],
          number,
        ],
    ),
  ])('%s: closed with its code', async (_, sent, code) => {
    const { publicUrl, internalUrl } = await service();
    const client = raw(
      publicUrl,
      Buffer.concat([Buffer.from(request('/status/socket', HANDSHAKE)), ...sent]),
    );
    const close = () => framesOf(client.text).find(([first]) => first === 0x88)?.[1];
    await until(close, { seen: () => client.text });
    expect(close()?.readUInt16BE(0)).toBe(code);
    // nothing counts that comes after it
    client.socket.write(frame(0x81, '{"watch":"b"}'));
    client.socket.write(frame(0x88, closing(1000)));
    await client.ended;
    await held(internalUrl, 'a', 0);
    expect(framesOf(client.text).at(-1)?.[0]).toBe(0x88);
  });
});

test('a bad key or cursor is answered -4, the 101st key too, and the socket goes on', async () => {
  const { publicUrl, internalUrl } = await service({ maxPollsPerIp: 0 });
  const client = await socketTo(publicUrl);
  for (let count = 0; count < 100; count++) client.watch(`k${count}`);
  await held(internalUrl, 'k99', 1);
  client.watch('a b"');
  client.watch('a', 'a b');
  client.watch('a');
  client.watch('k0');
  client.stop('k1');
  client.watch('b');
  await held(internalUrl, 'b', 1);
  expect(client.messages.map(({ key, code, detail }) => [key, code, detail?.slice(0, 21)])).toEqual([
    ['a b"', -4, 'key: give 1 to 128 of'],
    ['a', -4, 'since: give the curso'],
    ['a', -4, 'watch: at most 100 on'],
  ]);
});

test('limits: a socket is one held request of its address, with one more for each key after the first', async () => {
  const { publicUrl, internalUrl } = await service({ maxHeldPerIp: 3, maxHeldPerKey: 1, maxPollsPerIp: 0 });
  const first = await socketTo(publicUrl);
  const second = await socketTo(publicUrl);
  first.watch('a');
  second.watch('a');
  await until(() => second.messages.length === 1);
  expect(second.messages[0]).toMatchObject({ code: -3, key: 'a', retry: expect.any(Number) });
  first.watch('b');
  await held(internalUrl, 'b', 1);
  const busy = await refused(publicUrl);
  expect([busy.status, busy.headers['retry-after']]).toEqual([429, expect.stringMatching(/^[1-5]$/)]);
  first.watch('c');
  await until(() => first.messages.length === 1);
  expect(first.messages[0]).toMatchObject({ code: -3, key: 'c' });
  first.stop('a');
  first.stop('b');
  await held(internalUrl, 'b', 0);
  const third = await socketTo(publicUrl);
  expect((await refused(publicUrl)).status).toBe(429);
  for (const { socket } of [first, second, third]) socket.close();
  await Promise.all([first.closed, second.closed, third.closed]);
  await until(async () => (await poll(publicUrl, { key: 'd', hold: '0.2' })).code === -1);
  const metrics = await scrape(internalUrl);
  expect(metrics.get('tagwait_polls_total{mode="socket"}')).toBe(6);
  expect(metrics.get('tagwait_answers_total{mode="socket",answer="busy"}')).toBe(4);
});

test('a flood: messages count as polls of their address, are answered -3, and then the socket is closed', async () => {
  const { publicUrl, internalUrl } = await service({ maxPollsPerIp: 5 });
  const client = await socketTo(publicUrl);
  for (let count = 0; count < 20; count++) client.watch('a');
  await until(() => client.messages.length > 0);
  expect(client.messages[0]).toMatchObject({ code: -3, key: 'a', retry: expect.any(Number) });
  const stops = await until(() => socketTo(publicUrl).catch(() => undefined));
  for (let count = 0; count < 1000; count++) stops.stop('a');
  expect(await stops.closed).toEqual([1008, 'too many messages']);
  const pongs = await until(() => socketTo(publicUrl).catch(() => undefined));
  for (let count = 0; count < 1000; count++) pongs.socket.pong();
  expect(await pongs.closed).toEqual([1008, 'too many messages']);
  await held(internalUrl, 'a', 0);
});

test('a node that drains closes its sockets with 1012 and a retry, and refuses new ones', async () => {
  const { publicUrl, internalUrl, tagwait } = await service();
  const clients = await Promise.all(Array.from({ length: 10 }, () => socketTo(publicUrl)));
  for (const client of clients.slice(1)) client.watch('a');
  await held(internalUrl, 'a', 9);
  tagwait.drain(4);
  const reasons = await Promise.all(clients.map(({ closed }) => closed));
  const retries = reasons.map(([code, reason]) => {
    const { retry, ...more } = JSON.parse(reason);
    expect([code, more]).toEqual([1012, { code: -6, message: 'moved' }]);
    return retry as number;
  });
  expect(Math.max(...retries)).toBeLessThanOrEqual(4000);
  expect(new Set(retries).size).toBeGreaterThan(1);
  const { status, text: body } = await refused(publicUrl);
  expect([status, JSON.parse(body)]).toEqual([
    503,
    { code: -6, message: 'moved', retry: expect.any(Number) },
  ]);
});

test('stop ends, with clients that do not close, and those that are not read', async () => {
  const node = await service({ drain: 1 });
  const client = raw(node.publicUrl, request('/status/socket', HANDSHAKE));
  await until(() => client.text.includes(' 101 '));
  const began = performance.now();
  await node.stop();
  await client.ended;
  expect(performance.now() - began).toBeLessThan(9000);
});

test('a client that does not read is cut off, and what waits for it is bounded', async () => {
  const { publicUrl, internalUrl } = await service({ history: 2, maxValueBytes: 1_048_576 });
  const slow = raw(publicUrl);
  slow.socket.pause();
  slow.socket.write(
    Buffer.concat([Buffer.from(request('/status/socket', HANDSHAKE)), frame(0x81, '{"watch":"k"}')]),
  );
  await held(internalUrl, 'k', 1);
  // each is 1 MB
  expect(await setUntilCut(internalUrl, 'k')).toBeLessThan(30);
});

test('pings: a client that does not answer is closed, one that does is kept, and one that watches nothing is not', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  const { publicUrl, internalUrl } = await service();
  const deaf = await socketTo(publicUrl, { autoPong: false });
  const well = await socketTo(publicUrl);
  const idle = await socketTo(publicUrl);
  for (const client of [deaf, well]) client.watch('a');
  await held(internalUrl, 'a', 2);
  const pinged = Promise.all(
    [deaf, well, idle].map(({ socket }) => new Promise(resolve => socket.once('ping', resolve))),
  );
  vi.advanceTimersByTime(15_000);
  await pinged;
  // the pong has arrived when a message behind it has
  well.watch('b');
  await held(internalUrl, 'b', 1);
  vi.advanceTimersByTime(15_000);
  expect((await deaf.closed)[0]).toBe(1006);
  expect(await idle.closed).toEqual([1000, 'idle: watch a key']);
  await held(internalUrl, 'a', 1);
  expect(well.socket.readyState).toBe(WebSocket.OPEN);
});

test('in a server of your own: tagwait.upgrade takes its path, and leaves the others to you', async () => {
  const tagwait = await createTagwait({ logLevel: 'silent' });
  const server = createServer(new Koa().use(tagwait.publicRoutes).callback());
  onTestFinished(() => void server.close());
  let others = 0;
  server.on('upgrade', (upgraded, socket, head) => {
    if (tagwait.upgrade(upgraded, socket, head)) return;
    others++;
    socket.destroy();
  });
  const url = await listen(server);
  const client = await socketTo(url);
  client.watch('a');
  await until(async () => Object.values((await tagwait.peek('a')).waiters)[0] === 1);
  await tagwait.set('a', 1);
  await until(() => client.messages.length === 1);
  expect(client.messages[0]).toMatchObject({ data: 1, key: 'a' });
  const other = raw(url, request('/chat', HANDSHAKE));
  await other.ended;
  expect([others, other.text]).toEqual([1, '']);
  await tagwait.close();
  expect((await client.closed)[0]).toBe(1012);
});
