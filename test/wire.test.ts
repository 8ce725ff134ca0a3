/** What a hostile client may do to the wire, with bare sockets: a clear refusal or a close, in bounded time. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { held, poll, service, set, until } from './harness.js';
import { type Raw, raw, request } from './raw.js';

const GET = '/status/get?key=k&hold=0';
/** ms: less than each time limit of the ports, so that what ends earlier was refused and not given up. */
const AT_ONCE = 9000;
/** When it ended, in ms. */
const endOf = (connection: Raw) =>
  Promise.race([connection.ended, sleep(AT_ONCE, 'still open', { ref: false }) as unknown as Promise<never>]);

test('what is slow is closed in time, and a held poll is not: it is only waiting', async () => {
  const { publicUrl, internalUrl } = await service({ hold: 20 });
  const short = await service({ hold: 0.05, maxValueBytes: 1_048_576, history: 16 });
  for (let count = 0; count < 16; count++)
    await set(short.internalUrl, { key: 'big', value: 'x'.repeat(1_000_000) });

  const patient = poll(publicUrl, { key: 'patient' });
  const silent = raw(publicUrl);
  const slowHeaders = raw(publicUrl, 'GET /status/get?key=k HTTP/1.1\r\n');
  const drip = setInterval(() => slowHeaders.socket.write('X-Slow: 1\r\n'), 1000);
  const body =
    'POST /status/set HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n1\r\n{';
  const slowBody = raw(internalUrl, body);
  const slowChunks = raw(internalUrl, body.replace('Content-Length: 9', 'Transfer-Encoding: chunked'));
  const unread = raw(short.publicUrl, request('/status/get?key=big'));
  unread.socket.pause();

  // after 10 s and 15 s, and what a busy machine adds
  expect(await silent.ended).toBeLessThan(25_000);
  expect(await slowHeaders.ended).toBeLessThan(25_000);
  clearInterval(drip);
  expect(await slowBody.ended).toBeLessThan(30_000);
  expect(await slowChunks.ended).toBeLessThan(30_000);
  for (const { text } of [slowBody, slowChunks]) expect(text).toMatch(/^HTTP\/1\.1 408 /);
  expect(await patient).toMatchObject({ code: -1 });
  // the client cannot see its socket's end without reading on: ask the server
  await until(async () => /tagwait_held 0/.test(await metrics(short.internalUrl)));
  await until(async () => (await openSockets(short.publicUrl)) === 0, { every: 250 });
});

const metrics = async (url: string) => (await fetch(`${url}/metrics`)).text();

/** Connections that the kernel has on a port of this machine, seen from the server's side. */
async function openSockets(url: string): Promise<number> {
  const { readFile } = await import('node:fs/promises');
  const port = Number(new URL(url).port).toString(16).toUpperCase().padStart(4, '0');
  const lines = (await readFile('/proc/net/tcp', 'utf8')).split('\n');
  return lines.filter(line => new RegExp(`^ *\\d+: [0-9A-F]+:${port} \\S+ 0[178] `).test(line)).length;
}

describe('what is no request', () => {
  test.each([
    ['a URL of 1 MB', request(`/status/get?key=${'k'.repeat(1_000_000)}`), 431],
    [
      'headers without end',
      `GET ${GET} HTTP/1.1\r\nHost: h\r\n${'X-Flood: 0123456789\r\n'.repeat(50_000)}`,
      431,
    ],
    ['one header without end', `GET ${GET} HTTP/1.1\r\nHost: h\r\nX-Flood: ${'x'.repeat(1_000_000)}`, 431],
    ['a null byte in the URL', request('/status/get?key=a\0b'), 400],
    ['a null byte in a header', request(GET, ['X-Null: a\0b']), 400],
    ['bytes above ASCII in the URL', Buffer.from(request('/status/get?key=\xff\xfe'), 'latin1'), 400],
    ['no Host', `GET ${GET} HTTP/1.1\r\n\r\n`, 400],
    ['a space before the colon', request(GET, ['Content-Length : 0']), 400],
    ['a folded header', request(GET, ['X-Fold: a\r\n b: c']), 400],
    ['a line ended by CR alone', `GET ${GET} HTTP/1.1\rHost: h\r\r`, 400],
    ['two lengths', request(GET, ['Content-Length: 1', 'Content-Length: 2']), 400],
    ['a length and chunks', request(GET, ['Content-Length: 4', 'Transfer-Encoding: chunked']), 400],
    ['a length that is none', request(GET, ['Content-Length: 0x1']), 400],
    ['a negative length', request(GET, ['Content-Length: -1']), 400],
    ['HTTP/2 on a plain socket', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400],
    ['HTTP/9', `GET ${GET} HTTP/9.9\r\nHost: h\r\n\r\n`, 400],
    ['TLS', Buffer.from('16030100f8010000f40303', 'hex'), 400],
    ['nonsense', '\x01\x02\x03\x04 nonsense\r\n\r\n', 400],
    ['a method that is none', `G${'E'.repeat(100_000)}T ${GET} HTTP/1.1\r\nHost: h\r\n\r\n`, 400],
  ])('refused, and closed: %s', async (_, bytes, status) => {
    const { publicUrl, internalUrl } = await service();
    for (const url of [publicUrl, internalUrl]) {
      const connection = raw(url, bytes);
      expect(await endOf(connection)).toBeLessThan(AT_ONCE);
      // a reset may overtake the refusal when the client goes on sending
      if (connection.text !== '' || bytes.length < 65_536)
        expect(connection.text).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    }
    expect(await poll(publicUrl, { key: 'k', hold: '0' })).toMatchObject({ code: -1 });
  });

  test('CONNECT', async () => {
    const { publicUrl } = await service();
    const connection = raw(publicUrl, 'CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n');
    expect(await endOf(connection)).toBeLessThan(AT_ONCE);
    expect(connection.text).toBe('');
  });

  test.each([
    ['with a length', ['Content-Length: 1000000000']],
    ['in chunks', ['Transfer-Encoding: chunked']],
  ])('a poll with a body, %s, that is being sent without end', async (_, headers) => {
    const { publicUrl } = await service();
    const connection = raw(publicUrl, request('/status/get?key=k', headers));
    const chunk = `400\r\n${'x'.repeat(1024)}\r\n`;
    const sending = setInterval(() => connection.socket.write(chunk), 5);
    expect(await endOf(connection)).toBeLessThan(AT_ONCE);
    clearInterval(sending);
    expect(connection.text).toMatch(/^HTTP\/1\.1 400 .*"detail":"the body: give none"/s);
  });
});

describe('answered as it was meant', () => {
  test('HTTP/1.0, which ends with the answer', async () => {
    const { publicUrl, internalUrl } = await service();
    const connection = raw(publicUrl, 'GET /status/get?key=k&callback=cb HTTP/1.0\r\n\r\n');
    await held(internalUrl, 'k', 1);
    await set(internalUrl, { key: 'k', value: 1 });
    expect(await endOf(connection)).toBeLessThan(AT_ONCE);
    expect(connection.text).toMatch(/Connection: close.*cb\(\{"code":0/s);
  });

  test.each([
    ['an absolute URL', request(`http://status.example${GET}`)],
    ['an absolute URL of another host', request(`http://other.example${GET}`)],
    ['an upgrade that is not offered', request(GET, ['Connection: Upgrade', 'Upgrade: websocket'])],
    ['names in any case', `GET ${GET} HTTP/1.1\r\nhOST: h\r\ncONNECTION: close\r\n\r\n`],
    ['an empty body that is announced', request(GET, ['Content-Length: 0'])],
  ])('%s', async (_, bytes) => {
    const { publicUrl } = await service();
    const connection = raw(publicUrl, bytes);
    await until(() => connection.text.includes('"code":-1'));
  });

  test.each([
    ['/status/get?key=%6B%31&hold=0', -1],
    ['/status/get?%6Bey=k&hold=0', -1],
    ['/status/get?key=%256B&hold=0', -4],
    ['/status/get?key=%00&hold=0', -4],
    ['/status/get?key=%C0%80&hold=0', -4],
    ['/status/get?key=%E0%A4%A&hold=0', -4],
    ['/status/get?key=%&hold=0', -4],
    ['/status/get?key=a+b&hold=0', -4],
    ['/status/get?key=a%26hold%3D0&hold=0', -4],
    ['/status/get?key=a;b&hold=0', -4],
    ['/status/get?key[]=a&hold=0', -4],
    ['/status/get?key=a&key=b&hold=0', -1],
    ['/status/get?key=a&key=a&hold=0', -4],
    ['/status/get?key=a&%6Bey=b&hold=0', -1],
    ['/status/get?key=a&%6Bey=a&hold=0', -4],
    ['/status/get?key=a&key&hold=0', -4],
    ['/status/get?key=a&hold=0&hold=0', -4],
    ['/status/get?key=a&hold=0&__proto__=1&constructor=2', -1],
    ['/status/get?&&key=a&&hold=0&', -1],
    ['/status/get?key=a&hold=0#key=b', -4],
    [`/status/get?${'&'.repeat(2000)}key=a&hold=0`, -1],
    [`/status/get?${'x&'.repeat(1000)}key=a&hold=0`, -1],
    [`/status/get?key=a&hold=0&${'x'.repeat(10_000)}`, -4],
  ])('%s is answered %i', async (target, code) => {
    const { publicUrl } = await service();
    const connection = raw(publicUrl, request(target));
    await until(() => connection.text.includes(`"code":${code}`));
  });

  test.each([
    '/status%2Fget?key=a',
    '//status/get?key=a',
    '/status/./get?key=a',
    '/x/../status/get?key=a',
    '*',
    '/%00',
  ])('%s is no route', async target => {
    const { publicUrl } = await service();
    const connection = raw(publicUrl, request(target));
    await until(() => /^HTTP\/1\.1 404 /.test(connection.text));
  });
});

describe('pipelining', () => {
  test('behind a held poll nothing is held: the next is held when its turn comes', async () => {
    const { publicUrl, internalUrl } = await service();
    const connection = raw(publicUrl, request('/status/get?key=first') + request('/status/get?key=second'));
    await held(internalUrl, 'first', 1);
    await held(internalUrl, 'second', 0);
    await set(internalUrl, { key: 'first', value: 1 });
    await held(internalUrl, 'second', 1);
    await set(internalUrl, { key: 'second', value: 2 });
    await until(() => connection.text.includes('"data":2'));
    expect(connection.text.match(/"data":\d/g)).toEqual(['"data":1', '"data":2']);
  });

  test('without end: closed, and nothing is held for it', async () => {
    const { publicUrl, internalUrl } = await service();
    const connection = raw(publicUrl, request('/status/get?key=k').repeat(5000));
    expect(await endOf(connection)).toBeLessThan(AT_ONCE);
    await held(internalUrl, 'k', 0);
    expect(await metrics(internalUrl)).toMatch(/tagwait_connections_cut_total\{reason="pipelining"\} 1/);
    expect(await poll(publicUrl, { key: 'k', hold: '0' })).toMatchObject({ code: -1 });
  });
});

describe('a client that disconnects is released', () => {
  test.each([
    ['closes its half', (socket: Raw['socket']) => socket.end()],
    ['resets', (socket: Raw['socket']) => socket.resetAndDestroy()],
  ])('a client that %s while it is held', async (_, leave) => {
    const { publicUrl, internalUrl } = await service();
    const connection = raw(publicUrl, request('/status/get?key=k'));
    await held(internalUrl, 'k', 1);
    leave(connection.socket);
    await held(internalUrl, 'k', 0);
    expect(await endOf(connection)).toBeLessThan(AT_ONCE);
  });
});
