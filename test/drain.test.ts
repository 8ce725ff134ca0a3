/** The drain on the wire: what is answered ends its connection, and what never ends is cut. */
import { expect, test } from 'vitest';
import { held, service, set, until } from './harness.js';
import { raw, request } from './raw.js';

const READERS: [string, string[]][] = [
  ['the fast path', []],
  ["Node's HTTP", ['Referer: a', 'Referer: b']],
];

test.each(READERS)(
  'every answer says that it is the last on its connection, read by %s',
  async (_, headers) => {
    const { publicUrl, internalUrl, tagwait } = await service();
    const page = raw(publicUrl, request('/status/get?key=k&callback=cb', headers));
    await held(internalUrl, 'k', 1);
    const idle = raw(publicUrl, request('/status/get?key=other&hold=0', headers));
    await until(() => idle.text.includes('"code":-1'));
    expect(idle.text).toMatch(/^Connection: keep-alive\r$/im);
    tagwait.drain(0);
    const late = raw(publicUrl, request('/status/get?key=k', headers));
    const bad = raw(publicUrl, request('/status/get?key=k&callback=a+b', headers));
    for (const connection of [page, late, bad]) {
      await connection.ended;
      expect(connection.text).toMatch(/^Connection: close\r$/im);
    }
    expect(page.text).toContain('cb({"code":-6,"message":"moved"');
    expect(late.text).toContain('{"code":-6,"message":"moved"');
    expect(bad.text).toMatch(/^HTTP\/1.1 400 /);
  },
);

test('what is not sent, or not read, to its end is cut with the end of the drain', async () => {
  const started = await service({ drain: 0.4, history: 8, maxValueBytes: 1_048_576 });
  const { publicUrl, internalUrl } = started;
  for (let count = 0; count < 8; count++) await set(internalUrl, { key: 'k', value: 'x'.repeat(1_000_000) });
  const unread = raw(publicUrl);
  unread.socket.pause();
  unread.socket.write(request('/status/get?key=k'));
  const half = request('/status/set', ['Content-Type: application/json', 'Content-Length: 100'], 'POST');
  const unsent = [raw(publicUrl, 'GET /status/get?key=k HTTP/1.1\r\n'), raw(internalUrl, `${half}{`)];
  // all three are known to the service
  await until(async () => /tagwait_connections 2/.test(await (await fetch(`${internalUrl}/metrics`)).text()));
  const began = performance.now();
  await started.stop();
  // a request that is not sent to its end has 10 s
  expect(performance.now() - began).toBeLessThan(9000);
  unread.socket.resume();
  await Promise.all([unread, ...unsent].map(({ ended }) => ended));
});
