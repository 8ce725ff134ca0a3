/** The internal port accepts new connections, however many others are open. */
import { describe, expect, test } from 'vitest';
import { poll, service, set, until } from './harness.js';
import { type Raw, raw, request } from './raw.js';
import { redisServer } from './redis.js';
import { scrape } from './scrape.js';

/** More connections than the port allows. */
const CROWD = 300;
const json = ['Content-Type: application/json'];
const SLOW_BODY = request('/status/set', [...json, 'Content-Length: 100'], 'POST');

/** Connects one after the other, so that the first is the oldest. */
async function crowd(url: string, ask: string, size = CROWD): Promise<Raw[]> {
  const all: Raw[] = [];
  for (let count = 0; count < size; count += 50)
    all.push(
      ...(await Promise.all(
        Array.from({ length: Math.min(50, size - count) }, async () => {
          const one = raw(url, ask);
          await until(() => one.socket.readyState === 'open' || one.socket.destroyed);
          return one;
        }),
      )),
    );
  return all;
}
const closed = (crowd: Raw[]) => crowd.filter(({ socket }) => socket.destroyed).length;

describe('a crowd on the internal port', () => {
  test.each<[string, (live: string) => string]>([
    ['that asked once and stays', () => request('/healthz')],
    ['that says nothing', () => ''],
    ['of slow heads', () => 'GET /healthz HTTP/1.1\r\nHost: local'],
    ['of half-sent bodies', () => `${SLOW_BODY}{"key"`],
    ['of large bodies', () => `${request('/status/set', [...json, 'Content-Length: 90000'], 'POST')}{"key"`],
    [
      'of bodies without a length',
      () => `${request('/status/set', [...json, 'Transfer-Encoding: chunked'], 'POST')}5\r\n{"key`,
    ],
    ['of held polls of the live page', live => request(live)],
  ])('%s: health, metrics and sets are answered', async (_, ask) => {
    const { publicUrl, internalUrl } = await service();
    const { key } = (await (await fetch(`${internalUrl}/live`)).json()) as { key: string };
    const { cursor = '' } = await poll(internalUrl, { key, hold: '0' });
    const all = await crowd(internalUrl, ask(`/status/get?key=${key}&since=${cursor}`));
    await until(() => closed(all) >= CROWD - 272);
    for (let times = 0; times < 3; times++) {
      for (const path of ['/healthz', '/readyz', '/metrics'])
        expect((await fetch(`${internalUrl}${path}`, { headers: { Connection: 'close' } })).status).toBe(200);
      expect((await set(internalUrl, { key: 'k', value: times }, { Connection: 'close' })).status).toBe(200);
    }
    expect((await poll(publicUrl, { key: 'k' })).data).toBe(2);
    const given = (await scrape(internalUrl)).get('tagwait_connections_cut_total{reason="gave_way"}');
    expect(given).toBeGreaterThan(CROWD - 272);
    expect(closed(all), 'one at a time gives way').toBeLessThan(CROWD - 272 + 30);
  });

  test.each([
    ['bodies without an end', ['Transfer-Encoding: chunked'], '5\r\n{"ke'],
    ['bodies that wait for a 100', ['Content-Length: 30', 'Expect: 100-continue'], ''],
  ])('of %s that the port has room for: sets are answered', async (_, headers, begun) => {
    const { internalUrl } = await service();
    const head = request('/status/set', [...json, ...headers], 'POST');
    // as many as sets may wait for the store, and fewer than the connections of the port
    const all = await crowd(internalUrl, head + begun, 260);
    await until(async () => {
      const read = await scrape(internalUrl);
      const slow = ['chunked', 'expect'].map(reason =>
        read.get(`tagwait_slow_path_requests_total{reason="${reason}"}`),
      );
      return slow.includes(all.length);
    });
    expect(await set(internalUrl, { key: 'k', value: 1 })).toMatchObject({ status: 200 });
    expect(closed(all)).toBe(0);
  });

  test('that pipelines scrapes: health and sets are answered while it waits for most of its answers', async () => {
    const { internalUrl } = await service();
    const each = 40;
    const all = await crowd(internalUrl, request('/metrics').repeat(each));
    for (const path of ['/healthz', '/readyz'])
      expect((await fetch(`${internalUrl}${path}`, { headers: { Connection: 'close' } })).status).toBe(200);
    expect((await set(internalUrl, { key: 'k', value: 1 }, { Connection: 'close' })).status).toBe(200);
    const answers = all.reduce((sum, { text }) => sum + (text.match(/^HTTP\/1\.1 200/gm)?.length ?? 0), 0);
    expect(answers).toBeLessThan((CROWD * each) / 4);
  });

  test('the one that was idle for longest gives way first, and before one that is sending', async () => {
    const { internalUrl } = await service();
    const sending = raw(internalUrl, `${SLOW_BODY}{"key"`);
    const first = raw(internalUrl, request('/healthz'));
    await until(() => first.text.includes('"code":0'));
    const second = raw(internalUrl, request('/healthz'));
    await until(() => second.text.includes('"code":0'));
    // the first asks again: now the second is the oldest
    first.socket.write(request('/healthz'));
    await until(() => first.text.match(/"code":0/g)?.length === 2);
    const others: Raw[] = [];
    while (!second.socket.destroyed) {
      const one = raw(internalUrl, request('/healthz'));
      others.push(one);
      await until(() => one.text.includes('"code":0'));
    }
    expect([first.socket.destroyed, closed(others)]).toEqual([false, 0]);
    // a body has 15 s, which a busy machine may need for so many connections
    if (sending.socket.destroyed) expect(await sending.ended).toBeGreaterThan(10_000);
  });

  test('of sets that wait for the store: health and metrics are answered, and further sets are asked to retry', async () => {
    const redis = await redisServer();
    const { internalUrl } = await service({ redisUrl: redis.url });
    await set(internalUrl, { key: 'k', value: 1 });
    const body = '{"key":"k","value":2}';
    const began = performance.now();
    const all = await crowd(
      internalUrl,
      request('/status/set', [...json, `Content-Length: ${body.length}`], 'POST'),
    );
    redis.process.kill('SIGSTOP');
    for (const { socket } of all) socket.write(body);
    for (const path of ['/healthz', '/metrics'])
      expect((await fetch(`${internalUrl}${path}`, { headers: { Connection: 'close' } })).status).toBe(200);
    await until(() => all.some(({ text }) => text.includes('too many sets wait for the store')));
    redis.process.kill('SIGCONT');
    // a command has 5 s: a machine that is too busy gives some sets up
    const inTime = performance.now() - began < 4000;
    const waiting = () => all.filter(({ text, socket }) => !socket.destroyed && !/^HTTP/.test(text));
    await until(() => waiting().length === 0, {
      seen: () => [waiting().length, new Set(all.map(({ text }) => text.slice(-120)))],
    });
    if (inTime)
      expect(all.filter(({ text }) => text.includes('"code":0')).length).toBeGreaterThanOrEqual(200);
  });

  test('a half-closed set over Redis is answered', async () => {
    const redis = await redisServer();
    const { internalUrl } = await service({ redisUrl: redis.url });
    const body = '{"key":"k","value":2}';
    for (const length of [`Content-Length: ${body.length}`, 'Transfer-Encoding: chunked']) {
      const text = length.startsWith('C') ? body : `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
      const one = raw(internalUrl);
      one.socket.end(request('/status/set', [...json, length], 'POST') + text);
      await one.ended;
      expect(one.text, length).toMatch(/^HTTP\/1\.1 200 .*"code":0/s);
    }
  });
});
