/** `GET /status/events`: the values of a key as Server-Sent Events. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import Koa from 'koa';
import { expect, onTestFinished, test } from 'vitest';
import { createTagwait } from '../src/index.js';
import type { Service } from '../src/service.js';
import type { Config } from '../src/settings.js';
import { held, listen as listenOn, service, set, setUntilCut, stopClock, until } from './harness.js';
import { raw, request } from './raw.js';
import { scrape } from './scrape.js';

const SECRET = 'a-secret-of-thirty-two-characters';

/** A stream as it came: its response, and its events so far, as `[type, data, id]`. */
async function listen(url: string, query: string, headers: Record<string, string> = {}) {
  const abort = new AbortController();
  onTestFinished(() => abort.abort());
  const response = await fetch(`${url}/status/events?${query}`, { headers, signal: abort.signal });
  const stream = { response, text: '', over: false, close: () => abort.abort() };
  const read = async () => {
    const decoder = new TextDecoder();
    for await (const chunk of response.body ?? []) stream.text += decoder.decode(chunk, { stream: true });
  };
  void read()
    .catch(() => {})
    .finally(() => {
      stream.over = true;
    });
  const events = () =>
    stream.text
      .split('\n\n')
      .slice(0, -1)
      .map(block => Object.fromEntries(block.split('\n').map(line => line.split(/: ?(.*)/s).slice(0, 2))))
      .filter(event => event.event)
      .map(({ event, data, id }) => [event, event === 'end' ? data : JSON.parse(data), id]);
  return Object.assign(stream, { events });
}

test('every value is one event, in order, with its cursor as id; what was set before comes first', async () => {
  const { publicUrl, internalUrl } = await service();
  const cursors: string[] = [];
  const store = async (value: unknown) => {
    cursors.push((await set(internalUrl, { key: 'k', value })).body.cursor);
  };
  await store({ n: 1 });
  await store('<a>\n\u2028');
  const stream = await listen(publicUrl, 'key=k');
  expect(stream.response.status).toBe(200);
  expect(Object.fromEntries(stream.response.headers)).toMatchObject({
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
    'access-control-allow-origin': '*',
    'x-accel-buffering': 'no',
  });
  await held(internalUrl, 'k', 1);
  await store(3);
  await store(null);
  await until(() => stream.events().length === 4);
  expect(stream.events()).toEqual([
    ['value', { n: 1 }, cursors[0]],
    ['value', '<a>\n\u2028', cursors[1]],
    ['value', 3, cursors[2]],
    ['value', null, cursors[3]],
  ]);
  expect(stream.text).toMatch(/^[\x20-\x7e\n]*$/);
});

test('a stream that comes back goes on where it was: Last-Event-ID counts more than since', async () => {
  const { publicUrl, internalUrl } = await service({ history: 2 });
  const cursors: string[] = [];
  for (const value of [1, 2, 3, 4]) cursors.push((await set(internalUrl, { key: 'k', value })).body.cursor);
  const missed = await listen(publicUrl, `key=k&since=${cursors[0]}`);
  await until(() => missed.events().length === 3);
  expect(missed.events()).toEqual([
    ['lost', 1, undefined],
    ['value', 3, cursors[2]],
    ['value', 4, cursors[3]],
  ]);
  const back = await listen(publicUrl, `key=k&since=${cursors[0]}`, {
    'Last-Event-ID': cursors[2] as string,
  });
  await until(() => back.events().length === 1);
  expect(back.events()).toEqual([['value', 4, cursors[3]]]);
});

test('the final value ends the stream, and 204 keeps an EventSource from asking again', async () => {
  const { publicUrl, internalUrl } = await service();
  const stream = await listen(publicUrl, 'key=k');
  await held(internalUrl, 'k', 1);
  const { body } = await set(internalUrl, { key: 'k', value: 'done', final: true });
  await until(() => stream.over);
  expect(stream.events()).toEqual([
    ['value', 'done', body.cursor],
    ['end', 'final', undefined],
  ]);
  const again = await listen(publicUrl, 'key=k', { 'Last-Event-ID': body.cursor });
  expect(again.response.status).toBe(204);
  await held(internalUrl, 'k', 0);
});

test('tickets: the proof is needed, and the stream ends with it', async () => {
  const { publicUrl, tagwait } = await service({ secret: [SECRET] });
  const { key, proof } = tagwait.newTicket(4);
  expect((await listen(publicUrl, `key=${key}`)).response.status).toBe(403);
  expect((await listen(publicUrl, `key=${key}&proof=${proof}x`)).response.status).toBe(403);
  const stream = await listen(publicUrl, `key=${key}&proof=${proof}`);
  expect(stream.response.status).toBe(200);
  await until(() => stream.over);
  expect(stream.events()).toEqual([['end', 'expired', undefined]]);
  expect((await listen(publicUrl, `key=${key}&proof=${proof}`)).response.status).toBe(204);
});

test.each([
  ['key=a+b', {}, 400, 'key: give'],
  ['key=a&key=b', {}, 400, 'key: give it once'],
  ['key=a&callback=cb', {}, 400, 'callback, var: give none'],
  ['key=a', { 'Last-Event-ID': 'a b' }, 400, 'Last-Event-ID: give'],
  ['key=a', { Origin: 'https://evil.example' }, 403, undefined],
])('refused as a poll in JSON is: %s %o', async (query, headers, status, detail) => {
  const { publicUrl } = await service({ origins: ['https://shop.example'] });
  const stream = await listen(publicUrl, query, headers);
  await until(() => stream.over);
  const body = JSON.parse(stream.text);
  expect([stream.response.status, body.detail?.startsWith(detail)]).toEqual([
    status,
    detail ? true : undefined,
  ]);
  const mine = await listen(publicUrl, 'key=a', { Origin: 'https://shop.example' });
  expect(mine.response.headers.get('access-control-allow-origin')).toBe('https://shop.example');
});

test('it counts as one held request of its key and address, until its client leaves', async () => {
  const { publicUrl, internalUrl } = await service({ maxHeldPerKey: 1 });
  const stream = await listen(publicUrl, 'key=k');
  await held(internalUrl, 'k', 1);
  expect((await listen(publicUrl, 'key=k')).response.status).toBe(429);
  stream.close();
  await held(internalUrl, 'k', 0);
  expect((await listen(publicUrl, 'key=k')).response.status).toBe(200);
  const metrics = await scrape(internalUrl);
  expect(metrics.get('tagwait_polls_total{mode="events"}')).toBe(3);
  expect(metrics.get('tagwait_answers_total{mode="events",answer="busy"}')).toBe(1);
});

test.each<[why: string, options: Partial<Config>, prepare: (started: Service) => unknown]>([
  ['its node drains', {}, ({ tagwait }) => tagwait.drain(4)],
  ['too many wait for its key', { maxHeldPerKey: 1 }, ({ publicUrl }) => listen(publicUrl, 'key=k')],
  [
    'its address asks too often',
    { maxPollsPerIp: 1 },
    ({ publicUrl }) => {
      stopClock();
      return fetch(`${publicUrl}/status/events?key=k`);
    },
  ],
])('an EventSource, which would close for good, is asked to come back: %s', async (_, options, prepare) => {
  const started = await service(options);
  await prepare(started);
  const { response, text } = await refusedStream(started.publicUrl, { Accept: 'text/event-stream' });
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
  expect(response.headers.get('access-control-allow-origin')).toBe('*');
  expect(text).toMatch(/^:(moved|busy)\nretry: [1-9]\d*\n\n$/);
  const other = await refusedStream(started.publicUrl, { Accept: 'text/event-stream, application/json' });
  expect([429, 503]).toContain(other.response.status);
});

async function refusedStream(publicUrl: string, headers: Record<string, string>) {
  const response = await fetch(`${publicUrl}/status/events?key=k`, { headers });
  return { response, text: await response.text() };
}

test('a client that has left before the routes are reached is not held', async () => {
  const tagwait = await createTagwait({ logLevel: 'silent' });
  onTestFinished(() => tagwait.close());
  let reached = false;
  const app = new Koa();
  app.use(async (ctx, next) => {
    await once(ctx.res, 'close');
    await next();
    reached = true;
  });
  const server = createServer(app.use(tagwait.publicRoutes).callback());
  onTestFinished(() => void server.close());
  const { socket } = raw(await listenOn(server), request('/status/events?key=k'));
  await once(socket, 'connect');
  await until(() => socket.bytesWritten > 0);
  socket.destroy();
  await until(() => reached);
  const { waiters } = await tagwait.peek('k');
  expect(Object.values(waiters).every(count => count === 0)).toBe(true);
});

test('HEAD is answered at once and holds nothing', async () => {
  const { publicUrl, internalUrl } = await service({ maxHeldPerKey: 1 });
  const response = await fetch(`${publicUrl}/status/events?key=k`, { method: 'HEAD' });
  expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
  await held(internalUrl, 'k', 0);
  expect((await listen(publicUrl, 'key=k')).response.status).toBe(200);
});

test('a node that drains says when to come back, and ends its streams and their connections', async () => {
  const { publicUrl, internalUrl, tagwait } = await service();
  const streams = await Promise.all(Array.from({ length: 10 }, () => listen(publicUrl, 'key=k')));
  const bare = raw(publicUrl, request('/status/events?key=k'));
  await held(internalUrl, 'k', 11);
  tagwait.drain(4);
  await until(() => streams.every(({ over }) => over));
  await bare.ended;
  expect(bare.text).toMatch(/retry: \d+\n\n\r\n0\r\n\r\n$/);
  const retries = streams.map(({ text }) => Number(/^:\n\nretry: (\d+)\n\n$/.exec(text)?.[1]));
  expect(Math.max(...retries)).toBeLessThanOrEqual(4000);
  expect(new Set(retries).size).toBeGreaterThan(1);
  expect((await listen(publicUrl, 'key=k')).response.status).toBe(503);
});

test('a client that does not read is cut off, and what waits for it is bounded', async () => {
  const { publicUrl, internalUrl } = await service({ history: 2, maxValueBytes: 1_048_576 });
  const slow = raw(publicUrl);
  slow.socket.pause();
  slow.socket.write(request('/status/events?key=k'));
  await held(internalUrl, 'k', 1);
  // each is 1 MB
  expect(await setUntilCut(internalUrl, 'k')).toBeLessThan(30);
});
