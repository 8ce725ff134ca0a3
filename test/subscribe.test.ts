/** `tagwait/subscribe`: the values of a key as an async iterator. */
import { readdirSync, readFileSync } from 'node:fs';
import { request as ask, createServer, type RequestListener } from 'node:http';
import { afterEach, expect, onTestFinished, test, vi } from 'vitest';
import { type SubscribeOptions, subscribe, TagwaitError, type Update } from '../src/subscribe/subscribe.js';
import { held, listen, service, set, until } from './harness.js';

const SECRET = 'a-secret-of-thirty-two-characters';

/** Collects the updates of a subscription, until its end or error. */
function collect(key: string, options: SubscribeOptions) {
  const stopping = new AbortController();
  onTestFinished(() => stopping.abort());
  const heard: Update[] = [];
  const run = async () => {
    const updates = subscribe(key, { signal: stopping.signal, ...options });
    for (;;) {
      const { done, value } = await updates.next();
      if (done) return value;
      heard.push(value);
    }
  };
  const ended = run();
  ended.catch(() => {});
  return { heard, ended, values: () => heard.map(({ value }) => value) };
}

/** A proxy before a service: `listener` may answer by itself, and else passes the request on. */
async function proxy(target: string, listener: (...event: Parameters<RequestListener>) => boolean) {
  const paths: string[] = [];
  const server = createServer((request, response) => {
    paths.push(request.url?.replace(/\?.*/, '') ?? '');
    if (listener(request, response)) return;
    const passed = ask(`${target}${request.url}`, { headers: request.headers }, answer => {
      response.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.pipe(response);
    });
    passed.on('error', () => response.destroy());
    response.on('close', () => passed.destroy());
    passed.end();
  });
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return { url: await listen(server), paths };
}

afterEach(() => void vi.useRealTimers());

test('the values that are kept, then every new one, in order, until the final one', async () => {
  const { publicUrl, internalUrl } = await service({ history: 2 });
  for (const value of [1, 2, 3]) await set(internalUrl, { key: 'a', value });
  const subscription = collect('a', { url: `${publicUrl}/` });
  await held(internalUrl, 'a', 1);
  await set(internalUrl, { key: 'a', value: { n: 4 } });
  const { cursor } = (await set(internalUrl, { key: 'a', value: 'last', final: true })).body;
  expect(await subscription.ended).toBe('final');
  expect(subscription.values()).toEqual([2, 3, { n: 4 }, 'last']);
  expect(subscription.heard.map(({ lost, final }) => [lost, final])).toEqual([
    [1, false],
    [0, false],
    [0, false],
    [0, true],
  ]);
  expect(subscription.heard[3]?.cursor).toBe(cursor);
  const since = subscription.heard[1]?.cursor;
  expect(await collect('a', { url: publicUrl, since }).ended).toBe('final');
  expect(await collect('a', { url: publicUrl, since: cursor }).ended).toBe('expired');
});

test('a ticket: it is needed, and the subscription ends with it', async () => {
  const { publicUrl, tagwait } = await service({ secret: [SECRET] });
  const { key, proof } = tagwait.newTicket(1);
  const refused = collect(key, { url: publicUrl }).ended;
  await expect(refused).rejects.toBeInstanceOf(TagwaitError);
  await expect(refused).rejects.toMatchObject({ name: 'TagwaitError', code: 'TAGWAIT_FORBIDDEN' });
  expect(await collect(key, { url: new URL(publicUrl), proof }).ended).toBe('expired');
});

test('what cannot go on is an error with a code', async () => {
  const { publicUrl, internalUrl } = await service();
  const bad = 'TAGWAIT_BAD_REQUEST';
  await expect(collect('a b', { url: publicUrl }).ended).rejects.toMatchObject({
    code: bad,
    message: expect.stringMatching(/^key: give /),
  });
  for (const url of ['status', 'localhost:3100', 'ftp://localhost', ''])
    await expect(collect('a', { url }).ended, url).rejects.toMatchObject({
      code: bad,
      message: expect.stringMatching(/^url: give .* http:/),
    });
  const untyped = subscribe as (...given: unknown[]) => AsyncGenerator;
  for (const given of [[], ['a'], [1, { url: publicUrl }], ['a', { url: publicUrl, signal: 'x' }]])
    await expect(untyped(...given).next()).rejects.toMatchObject({ code: bad });
  await expect(collect('a', { url: publicUrl, since: '?' }).ended).rejects.toMatchObject({ code: bad });
  await expect(collect('a', { url: internalUrl }).ended).rejects.toMatchObject({
    code: 'TAGWAIT_NOT_FOUND',
    message: expect.stringContaining(internalUrl),
  });
});

test('it lets go at once: when the loop is left, and when its signal says so, which then is the error', async () => {
  const { publicUrl, internalUrl } = await service();
  await set(internalUrl, { key: 'a', value: 1 });
  for await (const { value } of subscribe('a', { url: publicUrl })) {
    expect(value).toBe(1);
    break;
  }
  await held(internalUrl, 'a', 0);
  const stopping = new AbortController();
  const { ended } = collect('a', { url: publicUrl, signal: stopping.signal });
  await held(internalUrl, 'a', 1);
  const reason = new Error('enough');
  stopping.abort(reason);
  await expect(ended).rejects.toBe(reason);
  await held(internalUrl, 'a', 0);
  await expect(collect('a', { url: publicUrl, signal: stopping.signal }).ended).rejects.toBe(reason);
});

test('`return` ends what `next` waits for, as a stream of Node does that is destroyed', async () => {
  const { publicUrl, internalUrl } = await service();
  const updates = subscribe('a', { url: publicUrl });
  const next = updates.next();
  await held(internalUrl, 'a', 1);
  expect(await updates.return('final')).toEqual({ done: true, value: 'final' });
  expect(await next).toEqual({ done: true, value: undefined });
  await held(internalUrl, 'a', 0);
});

test('a stream that is cut is asked for again by its cursor: nothing is lost and nothing comes twice', async () => {
  const { publicUrl, internalUrl } = await service();
  const cuts: (() => void)[] = [];
  const { url } = await proxy(publicUrl, (_, response) => {
    cuts.push(() => response.destroy());
    return false;
  });
  const { values, ended } = collect('a', { url });
  for (let value = 0; value < 6; value++) {
    await set(internalUrl, { key: 'a', value });
    await until(() => values().length > value);
    for (const cut of cuts.splice(0)) cut();
  }
  await set(internalUrl, { key: 'a', value: 6, final: true });
  expect(await ended).toBe('final');
  expect(values()).toEqual([0, 1, 2, 3, 4, 5, 6]);
});

test.each<[what: string, listener: (...event: Parameters<RequestListener>) => boolean]>([
  [
    'is refused by a proxy',
    (_, response) => {
      response.writeHead(403, { 'Content-Type': 'text/html' }).end('<html>');
      return true;
    },
  ],
  [
    'is kept back by a proxy',
    (_, response) => {
      response.writeHead(200, { 'Content-Type': 'text/event-stream' }).flushHeaders();
      return true;
    },
  ],
])('where an event stream %s, polls take its place', async (_, listener) => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'], shouldAdvanceTime: true });
  const { publicUrl, internalUrl } = await service();
  const { url, paths } = await proxy(publicUrl, (request, response) =>
    request.url?.startsWith('/status/events') ? listener(request, response) : false,
  );
  const { heard, values, ended } = collect('a', { url });
  await until(() => {
    if (paths.filter(path => path === '/status/get').length === 0) vi.advanceTimersByTime(1000);
    return paths.includes('/status/get');
  });
  const cursors: string[] = [];
  for (let value = 0; value < 4; value++) {
    cursors.push((await set(internalUrl, { key: 'a', value })).body.cursor);
    await until(() => {
      vi.advanceTimersByTime(100);
      return values().length > value;
    });
  }
  await set(internalUrl, { key: 'a', value: 'last', final: true });
  expect(await ended).toBe('final');
  expect(values()).toEqual([0, 1, 2, 3, 'last']);
  expect(heard.map(({ cursor }) => cursor).slice(0, 4)).toEqual(cursors);
  expect(paths.filter(path => path === '/status/events')).toHaveLength(2);
});

test('a delay that the service asks for is kept', async () => {
  const { publicUrl, internalUrl } = await service();
  await set(internalUrl, { key: 'a', value: 'last', final: true });
  const asked: number[] = [];
  const { url } = await proxy(publicUrl, (_, response) => {
    asked.push(performance.now());
    if (asked.length === 1) response.writeHead(429).end('{"code":-3,"message":"busy","retry":60}');
    return asked.length === 1;
  });
  const { values, ended } = collect('a', { url });
  expect(await ended).toBe('final');
  expect(values()).toEqual(['last']);
  // a timer may fire a millisecond early
  expect((asked[1] as number) - (asked[0] as number)).toBeGreaterThan(55);
});

test('it imports nothing but its own files, so that Deno, Bun and browsers can run it', () => {
  const folder = new URL('../src/subscribe/', import.meta.url);
  const files = readdirSync(folder).filter(name => name.endsWith('.ts'));
  expect(files.length).toBeGreaterThan(3);
  for (const name of files) {
    const text = readFileSync(new URL(name, folder), 'utf8');
    const sources = [...text.matchAll(/ from '([^']+)'/g)].map(match => match[1]);
    expect(sources.filter(from => !/^\.\/|^\.\.\/protocol\/answers\.js$/.test(from ?? ''))).toEqual([]);
    expect(text).not.toMatch(/\b(process|Buffer|require|setImmediate|__dirname)\b/);
  }
});
