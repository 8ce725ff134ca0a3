/** The requests of a subscription, one at a time: what each answer does to it, and when the next one is made. */
import { getEventListeners } from 'node:events';
import { createServer, type RequestListener, type ServerResponse } from 'node:http';
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { isServiceUrl, pause, Request } from '../src/subscribe/request.js';
import { Source } from '../src/subscribe/source.js';
import { eventsOf } from '../src/subscribe/sse.js';
import type { SubscribeOptions, Update } from '../src/subscribe/types.js';
import { listenOnFree } from './ports.js';
import { until } from './wait.js';

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

type Answer = (response: ServerResponse) => unknown;
const json =
  (status: number, text: string, headers: Record<string, string> = {}): Answer =>
  response =>
    response.writeHead(status, headers).end(text);
const stream =
  (...chunks: string[]): Answer =>
  async response => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream; charset=utf-8' }).flushHeaders();
    for (const chunk of chunks) {
      response.write(chunk);
      await new Promise(setImmediate);
    }
    response.end();
  };
/** as long as the connection is open */
const never: Answer = () => {};
const NO_STREAM = json(502, 'no streams');

/** What one request brought. */
interface Step {
  path: string;
  updates: Update[];
  ending: unknown;
  delay: number;
}

/** A source, and a service that gives each of its requests the next of these answers. */
async function scripted(answers: Answer[], options: Partial<SubscribeOptions> = {}) {
  const requests: { path: string; query: Record<string, string>; accept: string | undefined }[] = [];
  const closed: string[] = [];
  const listener: RequestListener = (request, response) => {
    const { pathname, searchParams } = new URL(request.url as string, 'http://x');
    request.socket.on('close', () => closed.push(pathname));
    const answer = answers[requests.length];
    requests.push({
      path: pathname,
      query: Object.fromEntries(searchParams),
      accept: request.headers.accept,
    });
    void answer?.(response);
  };
  const server = createServer(listener);
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  const url = `http://127.0.0.1:${await listenOnFree(server)}`;
  const ends = new AbortController();
  const source = new Source('a', { url, ...options }, ends.signal);
  const step = async (): Promise<Step> => {
    const at = requests.length;
    const updates: Update[] = [];
    const asking = source.ask();
    for (;;) {
      const { done, value } = await asking.next();
      if (!done) updates.push(value);
      else return { path: requests[at]?.path ?? '', updates, ending: value, delay: source.delay() };
    }
  };
  /** Makes all requests. */
  const steps = async () => {
    const all: Step[] = [];
    for (const _ of answers) all.push(await step());
    return all;
  };
  return { source, step, steps, requests, closed, ends, url };
}

const EVENTS = '/status/events';
const POLL = '/status/get';
const event = (id: string, data: unknown, more = '') =>
  `event: value\nid: ${id}\n${more}data: ${JSON.stringify(data)}\n\n`;

describe('what is asked for', () => {
  test('a stream, and polls, with the key and the cursor alone', async () => {
    const { steps, requests } = await scripted([NO_STREAM, json(200, '{"code":-1,"cursor":"e-1"}')]);
    await steps();
    const query = { key: 'a', since: '' };
    expect(requests).toEqual([
      { path: EVENTS, query, accept: 'text/event-stream' },
      { path: POLL, query, accept: 'application/json' },
    ]);
  });

  test('with the proof and a cursor that are given', async () => {
    const { steps, requests } = await scripted([NO_STREAM, json(200, '{"code":-1}')], {
      proof: 'p',
      since: 'e-7',
    });
    await steps();
    for (const { query } of requests) expect(query).toEqual({ key: 'a', since: 'e-7', proof: 'p' });
  });

  test.each([
    ['http://a', true],
    ['HTTPS://a.example:1/b', true],
    ['http://', false],
    ['http://:x', false],
    ['xhttp://a', false],
    ['about:http://a', false],
    ['httpss://a', false],
    ['ftp://a', false],
    ['localhost:11000', false],
    ['http:/a', false],
    ['', false],
  ])('%s is the URL of a service: %s', (url, expected) => {
    expect(isServiceUrl(url)).toBe(expected);
  });

  test.each<[unknown, object, string]>([
    [1, { url: 'http://a' }, 'key: give a string'],
    ['a', {}, 'url: give the URL of the service, with http:// or https://'],
    ['a', { url: 'a' }, 'url: give the URL of the service, with http:// or https://'],
    ['a', { url: 'http://a', signal: {} }, 'signal: give an AbortSignal'],
  ])('%j with %j is an error', (key, options, message) => {
    const { signal } = new AbortController();
    expect(() => new Source(key as string, options, signal)).toThrow(
      expect.objectContaining({ code: 'TAGWAIT_BAD_REQUEST', message }),
    );
  });
});

describe('a stream', () => {
  test('brings values with their cursors, what was lost before them, and the last', async () => {
    const { step } = await scripted([
      stream(
        event('e-1', 'one'),
        'event: lost\ndata: 2\n\nevent: lost\ndata: 3\n\n',
        event('e-2', { two: [2] }),
        'event: other\ndata: 9\n\n:\n\n',
        event('e-3', null),
        event('e-4', 4, 'final: true\n') + event('e-5', 5),
      ),
    ]);
    expect(await step()).toEqual({
      path: EVENTS,
      updates: [
        { value: 'one', cursor: 'e-1', lost: 0, final: false },
        { value: { two: [2] }, cursor: 'e-2', lost: 5, final: false },
        { value: null, cursor: 'e-3', lost: 0, final: false },
        { value: 4, cursor: 'e-4', lost: 0, final: true },
      ],
      ending: 'final',
      delay: 0,
    });
  });

  test('that ends early is asked for again, after one poll, from its cursor', async () => {
    const { steps, requests } = await scripted([
      stream(event('e-1', 1), event('e-2', 2)),
      json(200, '{"code":-1,"cursor":"e-3"}'),
      stream(':\n\n'),
    ]);
    const all = await steps();
    expect(all.map(({ path, ending, delay }) => [path, ending, delay])).toEqual([
      [EVENTS, undefined, 0],
      [POLL, undefined, 0],
      [EVENTS, undefined, 0],
    ]);
    expect(requests.map(({ query }) => query.since)).toEqual(['', 'e-2', 'e-3']);
  });

  test('that passed nothing on after its beginning, twice in a row, is replaced by polls for five minutes', async () => {
    const now = vi.spyOn(performance, 'now').mockReturnValue(1000);
    const beginning = stream(':\n\n');
    const none = json(200, '{"code":-1}');
    const { step } = await scripted([beginning, none, beginning, none, none, none, beginning]);
    const paths: string[] = [];
    for (let asked = 0; asked < 5; asked++) paths.push((await step()).path);
    expect(paths).toEqual([EVENTS, POLL, EVENTS, POLL, POLL]);
    now.mockReturnValue(300_999);
    expect((await step()).path).toBe(POLL);
    now.mockReturnValue(301_000);
    expect((await step()).path).toBe(EVENTS);
  });

  test('that passed more on is no reason to poll for long', async () => {
    let open: ServerResponse | undefined;
    const more: Answer = response => {
      open = response.writeHead(200, { 'Content-Type': 'text/event-stream' });
      open.write(event('e-1', 1));
    };
    const none = json(200, '{"code":-1}');
    const { source, step, requests } = await scripted([stream(':\n\n'), none, more, none, more, none]);
    for (let round = 0; round < 3; round++) {
      const asking = source.ask();
      if (round > 0) {
        await asking.next();
        // it has read the first bytes, so these come alone
        open?.end(':\n\n');
      }
      expect(await asking.next()).toEqual({ done: true, value: undefined });
      await step();
    }
    // each that ends is followed by one poll
    expect(requests.map(({ path }) => path)).toEqual([EVENTS, POLL, EVENTS, POLL, EVENTS, POLL]);
  });

  test('after one that failed, polls are made until one is answered', async () => {
    const { steps } = await scripted([
      NO_STREAM,
      json(500, ''),
      json(200, 'x'),
      json(200, '{"code":-1}'),
      NO_STREAM,
    ]);
    expect((await steps()).map(({ path }) => path)).toEqual([EVENTS, POLL, POLL, POLL, EVENTS]);
  });

  test.each<[string, string[], number]>([
    ['as the service asks', ['retry: 200\n\n'], 200],
    ['as it asked last', ['retry: 200\n\n', 'retry: 300\n\n'], 300],
    ['and a value changes nothing', ['retry: 200\n\n', event('e-1', 1)], 200],
    ['nor does a delay that is none', ['retry: 200\n\n', 'retry: 0\n\nretry: x\n\n'], 200],
    ['at once without one', [':\n\n'], 0],
  ])('is asked for again after its delay: %s', async (_, chunks, delay) => {
    const { steps } = await scripted([stream(...chunks), json(200, '{"code":-1}')]);
    const [first, second] = await steps();
    expect(first?.delay).toBe(delay);
    // a delay is an answer; a stream that just ends is a failure
    expect(second?.path).toBe(delay > 0 ? EVENTS : POLL);
    expect(second?.delay).toBe(0);
  });

  test.each<[string, Answer, unknown]>([
    ['204', json(204, ''), 'expired'],
    ['expired', stream('event: end\ndata: expired\n\n'), 'expired'],
    ['final', stream('event: end\ndata: final\n\n'), 'final'],
    ['410', json(410, '{"code":-2}'), 'expired'],
  ])('that is answered %s has ended', async (_, answer, ending) => {
    const { step } = await scripted([answer]);
    expect(await step()).toMatchObject({ ending, updates: [] });
  });

  test.each<[string, Answer]>([
    ['as a stream', stream('event: end\ndata: forbidden\n\n')],
    ['as a status', json(403, '{"code":-5}')],
  ])('that is forbidden, %s, is an error', async (_, answer) => {
    const { step } = await scripted([answer]);
    await expect(step()).rejects.toMatchObject({
      code: 'TAGWAIT_FORBIDDEN',
      message: 'forbidden: wrong or missing proof, or an origin that is not allowed',
    });
  });

  test.each<[string, Answer, number]>([
    ['busy', json(429, '{"code":-3,"retry":70}'), 70],
    ['unavailable', json(503, '{"code":-7,"retry":80}'), 80],
    ['moved', json(503, '{"code":-6,"retry":90}'), 90],
    ['without a delay', json(503, '{"code":-7}'), 0],
  ])('that is refused for a time is asked for again: %s', async (_, answer, delay) => {
    const { steps } = await scripted([answer, stream()]);
    const [first, second] = await steps();
    expect([first?.delay, first?.ending, second?.path]).toEqual([delay, undefined, EVENTS]);
  });

  test.each<[string, string, number]>([
    ['seconds', '2', 2000],
    ['a date, which is not read', 'Wed, 21 Oct 2030 07:28:00 GMT', 250],
    ['nothing', '', 250],
  ])('that a proxy refuses with Retry-After is asked for again after that: %s', async (_, value, delay) => {
    vi.spyOn(Math, 'random').mockReturnValue(0);
    const { steps } = await scripted([json(429, 'busy', { 'Retry-After': value }), stream()]);
    const [first, second] = await steps();
    expect([first?.delay, second?.path]).toEqual([delay, EVENTS]);
  });

  test.each([
    ['of another type', json(200, event('e-1', 1), { 'Content-Type': 'text/html' })],
    ['without a type', json(200, event('e-1', 1))],
    ['with another status', json(206, event('e-1', 1), { 'Content-Type': 'text/event-stream' })],
  ])('%s is none', async (_, answer) => {
    const { steps } = await scripted([answer, json(200, '{"code":-1}')]);
    const [first, second] = await steps();
    expect([first?.updates, second?.path]).toEqual([[], POLL]);
  });

  test('whose service was heard once is not missing when a poll is answered 404', async () => {
    const { steps } = await scripted([stream(':\n\n'), json(404, '<html>')]);
    expect((await steps())[1]?.ending).toBeUndefined();
  });

  test('that brings bytes ends the count of failures', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(0);
    vi.spyOn(performance, 'now').mockReturnValue(0);
    const fails = json(500, '');
    const { steps } = await scripted([
      NO_STREAM,
      fails,
      fails,
      json(200, '{"code":-1}'),
      stream(':\n\n', ':\n\n'),
      fails,
    ]);
    expect((await steps()).map(({ delay }) => delay)).toEqual([0, 250, 500, 0, 0, 250]);
  });
});

describe('a poll', () => {
  test('brings values, oldest first, with the cursor before them for all but the last', async () => {
    const { steps } = await scripted([
      NO_STREAM,
      json(200, '{"code":0,"data":3,"earlier":[1,2],"lost":4,"cursor":"e-3"}'),
      NO_STREAM,
      json(200, '{"code":0,"data":"end","cursor":"e-4","final":true}'),
    ]);
    const [, first, , last] = await steps();
    expect(first).toMatchObject({
      ending: undefined,
      updates: [
        { value: 1, cursor: '', lost: 4, final: false },
        { value: 2, cursor: '', lost: 0, final: false },
        { value: 3, cursor: 'e-3', lost: 0, final: false },
      ],
    });
    expect(last).toMatchObject({
      ending: 'final',
      updates: [{ value: 'end', cursor: 'e-4', lost: 0, final: true }],
    });
  });

  test('without a cursor leaves none after a value, and the one there was after none', async () => {
    const { steps, requests } = await scripted(
      [
        NO_STREAM,
        json(200, '{"code":-1}'),
        NO_STREAM,
        json(200, '{"code":0,"data":1}'),
        json(200, '{"code":-1}'),
      ],
      { since: 'e-1' },
    );
    await steps();
    expect(requests.map(({ query }) => query.since)).toEqual(['e-1', 'e-1', 'e-1', 'e-1', '']);
  });

  test.each<[number, string, unknown]>([
    [400, '{"code":-4}', { code: 'TAGWAIT_BAD_REQUEST', message: 'bad request' }],
    [400, '{"code":-4,"detail":"since: x"}', { code: 'TAGWAIT_BAD_REQUEST', message: 'since: x' }],
    [403, '{"code":-5}', { code: 'TAGWAIT_FORBIDDEN' }],
    [404, '<html>', { code: 'TAGWAIT_NOT_FOUND' }],
    [404, '{"code":-9}', { code: 'TAGWAIT_NOT_FOUND' }],
  ])('answered %d %s is an error', async (status, text, error) => {
    const { step, url } = await scripted([NO_STREAM, json(status, text)]);
    await step();
    const failed = step();
    await expect(failed).rejects.toMatchObject(error as object);
    if (status === 404)
      await expect(failed).rejects.toThrow(`no tagwait at ${url}: /status/get is not found`);
  });

  test.each<[string, Answer, number]>([
    ['a proxy without the service', json(502, '<html>'), 250],
    ['a proxy that asks for a delay', json(503, '', { 'Retry-After': '3' }), 3000],
    ['a page that is none', json(200, '<html>'), 250],
    ['a number', json(200, '5'), 250],
    ['nothing', json(200, 'null'), 250],
    ['a code that is not known', json(200, '{"code":-99}'), 250],
    ['a time-out', json(200, '{"code":-1}'), 0],
    ['a service that is away', json(503, '{"code":-7,"retry":60}'), 60],
    // of a service whose proxy changes the status
    ['an answer with another status', json(404, '{"code":-1,"retry":60}'), 60],
    ['an end of the connection', response => response.destroy(), 250],
  ])('answered by %s is repeated', async (_, answer, delay) => {
    vi.spyOn(Math, 'random').mockReturnValue(0);
    const { steps } = await scripted([NO_STREAM, answer]);
    const [first, second] = await steps();
    expect([first?.delay, second?.ending, second?.delay]).toEqual([0, undefined, delay]);
  });

  test.each([0, 0.5, 0.999])(
    'that fails is repeated after 0.5 s, 1 s … 15 s, half of it at random: %d',
    async random => {
      vi.spyOn(Math, 'random').mockReturnValue(random);
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
});

describe('time', () => {
  /** A step, and whether it is over. */
  async function pending(answers: Answer[], skip = 0) {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const all = await scripted(answers);
    for (let step = 0; step < skip; step++) await all.step();
    const state = { over: false };
    const asking = all.source.ask();
    return { ...all, asking, state };
  }
  const turns = async () => {
    for (let turn = 0; turn < 60; turn++) await new Promise(setImmediate);
  };
  /** `until` needs the timers that are replaced. */
  const soon = async (condition: () => boolean) => {
    for (let turn = 0; turn < 20_000 && !condition(); turn++) await new Promise(setImmediate);
    expect(condition()).toBe(true);
  };
  const follow = (next: Promise<unknown>, state: { over: boolean }) =>
    void next.then(() => {
      state.over = true;
    });
  /** It is over after this many milliseconds, and not before. */
  async function overAfter(ms: number, state: { over: boolean }) {
    await turns();
    vi.advanceTimersByTime(ms - 1);
    await turns();
    expect(state.over).toBe(false);
    vi.advanceTimersByTime(1);
    await soon(() => state.over);
  }
  const begun =
    (...chunks: string[]): Answer =>
    response => {
      response.writeHead(200, { 'Content-Type': 'text/event-stream' }).flushHeaders();
      for (const chunk of chunks) response.write(chunk);
    };

  test.each<[string, Answer, number]>([
    ['a stream without an answer has 5 s', never, 5000],
    ['a stream without a byte has 5 s', begun(), 5000],
    ['a stream is silent for 40 s at most', begun(':\n\n'), 40_000],
  ])('%s', async (_, answer, ms) => {
    const { asking, state, requests, closed } = await pending([answer]);
    follow(asking.next(), state);
    await soon(() => requests.length === 1);
    await overAfter(ms, state);
    await soon(() => closed.includes(EVENTS));
  });

  test('a poll has 310 s', async () => {
    const { asking, state, requests } = await pending([NO_STREAM, never], 1);
    follow(asking.next(), state);
    await soon(() => requests.length === 2);
    await overAfter(310_000, state);
  });

  test('a program may take its time with a value; after it the stream is silent for 40 s at most', async () => {
    const { asking, state } = await pending([begun(event('e-1', 1))]);
    const first = asking.next();
    expect(await first).toMatchObject({ value: { value: 1 } });
    vi.advanceTimersByTime(100_000);
    await turns();
    follow(asking.next(), state);
    await overAfter(40_000, state);
  });
});

describe('an end by its signal', () => {
  test('is the error of the request that was open, and closes it', async () => {
    const { source, requests, closed, ends } = await scripted([never]);
    const next = source.ask().next();
    next.catch(() => {});
    await until(() => requests.length === 1, { every: 1 });
    const reason = new Error('enough');
    ends.abort(reason);
    await expect(next).rejects.toBe(reason);
    await until(() => closed.length === 1, { every: 1 });
    // and of each after it, which is not sent
    await expect(source.ask().next()).rejects.toBe(reason);
    expect(requests).toHaveLength(1);
  });

  test('is not waited for by what is over', async () => {
    const { steps, ends } = await scripted([
      stream(event('e-1', 1)),
      json(200, '{"code":-1}'),
      NO_STREAM,
      json(200, '{"code":-1}'),
    ]);
    await steps();
    expect(getEventListeners(ends.signal, 'abort')).toEqual([]);
  });

  test('is not waited for by requests that failed, and no time is counted for them any more', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const cut: Answer = response => response.destroy();
    const { source, ends } = await scripted([cut, cut, cut]);
    for (let request = 0; request < 3; request++) await source.ask().next();
    expect([getEventListeners(ends.signal, 'abort'), vi.getTimerCount()]).toEqual([[], 0]);
  });

  test('ends a request that is made after it', async () => {
    const ends = new AbortController();
    ends.abort();
    const request = new Request(ends.signal);
    await expect(request.send('http://127.0.0.1:1', '*/*')).rejects.toMatchObject({ name: 'AbortError' });
  });

  test('a pause ends by its time, or by its signal, and leaves nothing behind', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const ends = new AbortController();
    const reason = new Error('enough');
    const listeners = () => [getEventListeners(ends.signal, 'abort').length, vi.getTimerCount()];
    const whole = pause(1000, ends.signal);
    expect(listeners()).toEqual([1, 1]);
    vi.advanceTimersByTime(1000);
    await whole;
    expect(listeners()).toEqual([0, 0]);
    const cut = pause(1000, ends.signal);
    ends.abort(reason);
    await expect(cut).rejects.toBe(reason);
    expect(listeners()).toEqual([0, 0]);
    await expect(pause(1000, ends.signal)).rejects.toBe(reason);
    expect(listeners()).toEqual([0, 0]);
  });
});

test('a request sends no cookies, and is not answered from a cache', async () => {
  const sent = vi.spyOn(globalThis, 'fetch').mockResolvedValue(new Response());
  await new Request(new AbortController().signal).send('http://a', 'text/plain');
  expect(sent).toHaveBeenCalledWith('http://a', {
    signal: expect.any(AbortSignal),
    headers: { Accept: 'text/plain' },
    credentials: 'omit',
    cache: 'no-store',
  });
});

describe('an event stream', () => {
  const NOTHING = { type: '', data: '', id: '', retry: 0, final: false };
  const read = async (...chunks: Uint8Array[]) => {
    const body = new ReadableStream<Uint8Array>({
      start: controller => {
        for (const chunk of chunks) controller.enqueue(chunk);
        controller.close();
      },
    });
    const events: unknown[] = [];
    let count = 0;
    for await (const one of eventsOf(body, () => void count++)) events.push(one);
    return { events, count };
  };

  test.each<[string, object[]]>([
    ['', []],
    ['data: a', []],
    ['data: a\n', []],
    [':\n\n', [NOTHING]],
    ['data: a\n\n', [{ ...NOTHING, data: 'a' }]],
    [
      'data:a\n\ndata:  b\n\n',
      [
        { ...NOTHING, data: 'a' },
        { ...NOTHING, data: ' b' },
      ],
    ],
    ['data: a: b\n\n', [{ ...NOTHING, data: 'a: b' }]],
    ['event: value\nid: e-1\ndata: 1\n\n', [{ ...NOTHING, type: 'value', id: 'e-1', data: '1' }]],
    ['retry: 20\n\n', [{ ...NOTHING, retry: 20 }]],
    ['final: true\n\n', [{ ...NOTHING, final: true }]],
    ['final: false\n\n', [NOTHING]],
    [': data: a\n\n', [NOTHING]],
    ['data\n\n', [NOTHING]],
  ])('%j', async (text, events) => {
    const bytes = new TextEncoder().encode(text);
    expect((await read(bytes)).events).toEqual(events);
    const { events: same, count } = await read(...[...bytes].map(byte => Uint8Array.of(byte)));
    expect([same, count]).toEqual([events, bytes.length]);
  });

  test('of characters that are cut between two chunks', async () => {
    const bytes = new TextEncoder().encode('data: é€\n\n');
    expect((await read(bytes.subarray(0, 7), bytes.subarray(7, 9), bytes.subarray(9))).events).toEqual([
      { ...NOTHING, data: 'é€' },
    ]);
  });
});
