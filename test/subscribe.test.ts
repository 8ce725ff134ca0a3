/** `tagwait/subscribe`: the values of a key as an async iterator. */
import { readdirSync, readFileSync } from 'node:fs';
import { request as ask, createServer, type RequestListener } from 'node:http';
import { afterEach, expect, onTestFinished, test, vi } from 'vitest';
import { Source } from '../src/subscribe/source.js';
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
  const { key, proof } = tagwait.newTicket(2);
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

test('a delay that the service asks for is kept: busy, a node that drains, a plain 429, and a store that is away', async () => {
  const { publicUrl, internalUrl } = await service();
  await set(internalUrl, { key: 'a', value: 'last', final: true });
  const answers: [delay: number, listener: RequestListener][] = [
    [200, (_, response) => response.writeHead(429).end('{"code":-3,"message":"busy","retry":200}')],
    [
      200,
      (_, response) =>
        response.writeHead(200, { 'Content-Type': 'text/event-stream' }).end(':\n\nretry: 200\n\n'),
    ],
    [1000, (_, response) => response.writeHead(429, { 'Retry-After': '1' }).end('busy')],
    [200, (_, response) => response.writeHead(503).end('{"code":-7,"message":"unavailable","retry":200}')],
  ];
  const asked: number[] = [];
  const { url, paths } = await proxy(publicUrl, (request, response) => {
    const answer = answers[asked.length]?.[1];
    asked.push(performance.now());
    answer?.(request, response);
    return answer !== undefined;
  });
  const { values, ended } = collect('a', { url });
  expect(await ended).toBe('final');
  expect(values()).toEqual(['last']);
  expect(paths).toEqual(Array(5).fill('/status/events'));
  // a timer may fire a millisecond early
  for (const [index, [delay]] of answers.entries())
    expect((asked[index + 1] as number) - (asked[index] as number)).toBeGreaterThan(delay - 5);
});

/** A service without streams that answers each poll with the next of these. */
async function polled(...answers: [status: number, text: string][]) {
  const asked: URLSearchParams[] = [];
  const { url } = await proxy('http://127.0.0.1:1', (request, response) => {
    const { pathname, searchParams } = new URL(request.url as string, 'http://x');
    if (pathname !== '/status/get') response.writeHead(502).end('no streams');
    else {
      const answer = answers[asked.length];
      asked.push(searchParams);
      if (answer) response.writeHead(answer[0]).end(answer[1]);
    }
    return true;
  });
  return { url, asked };
}

test.each<[status: number, text: string, ending: unknown]>([
  [410, '{"code":-2}', 'expired'],
  [200, '{"code":0,"data":1,"cursor":"e-1","final":true}', 'final'],
  [400, '{"code":-4}', { code: 'TAGWAIT_BAD_REQUEST', message: 'bad request' }],
  [400, '{"code":-4,"detail":"since: x"}', { code: 'TAGWAIT_BAD_REQUEST', message: 'since: x' }],
  [403, '{"code":-5}', { code: 'TAGWAIT_FORBIDDEN' }],
  [404, '{"code":-9}', { code: 'TAGWAIT_NOT_FOUND' }],
])('a poll that is answered %i %s ends it', async (status, text, ending) => {
  const { url } = await polled([status, text]);
  const { ended } = collect('a', { url });
  if (typeof ending === 'string') expect(await ended).toBe(ending);
  else await expect(ended).rejects.toMatchObject(ending as object);
});

test('other answers to polls do not end it, and each next poll has the newest cursor', async () => {
  const { url, asked } = await polled(
    [200, '{"code":0,"data":2,"earlier":[1],"lost":3,"cursor":"e-5"}'],
    [200, '{"code":-1,"cursor":"f-1.e-5"}'],
    // of a proxy: the service has answered before
    [404, '<html>'],
    [200, '{"code":-1}'],
    [200, '{"code":0,"data":"last","cursor":"f-2","final":true}'],
  );
  const { heard, ended } = collect('a', { url, proof: 'p', since: 'e-1' });
  expect(await ended).toBe('final');
  expect(heard).toEqual([
    { value: 1, cursor: 'e-1', lost: 3, final: false },
    { value: 2, cursor: 'e-5', lost: 0, final: false },
    { value: 'last', cursor: 'f-2', lost: 0, final: true },
  ]);
  expect(asked.map(query => query.get('since'))).toEqual(['e-1', 'e-5', 'f-1.e-5', 'f-1.e-5', 'f-1.e-5']);
  expect(asked.map(query => query.get('proof'))).toEqual(Array(5).fill('p'));
});

test.each<[status: number, text: string, ending: unknown]>([
  [204, '', 'expired'],
  [200, 'event: end\ndata: expired\n\n', 'expired'],
  [200, 'event: end\ndata: final\n\n', 'final'],
  [200, 'event: end\ndata: forbidden\n\n', { code: 'TAGWAIT_FORBIDDEN' }],
])('a stream that is answered %i %j ends it', async (status, text, ending) => {
  const { url, paths } = await proxy('http://127.0.0.1:1', (_, response) => {
    response.writeHead(status, status === 200 ? { 'Content-Type': 'text/event-stream' } : {}).end(text);
    return true;
  });
  const { ended } = collect('a', { url });
  if (typeof ending === 'string') expect(await ended).toBe(ending);
  else await expect(ended).rejects.toMatchObject(ending as object);
  expect(paths).toEqual(['/status/events']);
});

test.each([0, 0.5])(
  'failed polls are repeated after 0.5 s, 1 s … 15 s, half of it at random: %d',
  async random => {
    vi.spyOn(Math, 'random').mockReturnValue(random);
    onTestFinished(() => void vi.restoreAllMocks());
    const { signal } = new AbortController();
    const source = new Source('a', { url: 'http://127.0.0.1:1' }, signal);
    const delays: number[] = [];
    for (let request = 0; request < 8; request++) {
      expect(await source.ask().next()).toEqual({ done: true, value: undefined });
      delays.push(source.delay());
    }
    // the first is a stream
    const longest = [0, 500, 1000, 2000, 4000, 8000, 15_000, 15_000];
    expect(delays).toEqual(longest.map(most => (most * (1 + random)) / 2));
  },
);

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
