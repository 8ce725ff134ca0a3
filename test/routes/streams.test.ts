/** Event streams and WebSockets over a long poll that the test scripts: each answer, and what follows from it. */
import { EventEmitter } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { Duplex } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { WebSocket } from 'ws';
import type { Answer } from '../../src/protocol/answers.js';
import { COMMANDS_ALLOWED } from '../../src/protocol/commands.js';
import { KEY_ALLOWED } from '../../src/protocol/query.js';
import { proofOf } from '../../src/protocol/ticket.js';
import { events } from '../../src/routes/events.js';
import { SocketRoute } from '../../src/routes/socket.js';
import { SocketSession } from '../../src/routes/socket-session.js';
import { Response, SECRET, scripted, turn, world } from './world.js';

const NOW = 1_000_000_000_000;
beforeEach(
  () =>
    void vi.useFakeTimers({
      now: NOW,
      toFake: ['Date', 'setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'],
    }),
);
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const entry = (value: unknown, cursor: string, final = false) => ({
  value: JSON.stringify(value),
  cursor,
  prev: '',
  final,
});
const success = (final = false): Answer => ({
  kind: 'success',
  entries: [entry(1, 'e-1'), entry('b', 'e-2', final)],
  lost: 0,
  cursor: 'e-2',
});
const proof = (seconds: number) => proofOf(SECRET, 'k', NOW / 1000 + seconds);
const INFINITE = Number.POSITIVE_INFINITY;

const COMMON = {
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
  'Cross-Origin-Resource-Policy': 'cross-origin',
  'Referrer-Policy': 'no-referrer',
  'X-Accel-Buffering': 'no',
};
const STREAM = { 'Content-Type': 'text/event-stream; charset=utf-8', ...COMMON };
const OF_JSON = { 'Content-Type': 'application/json; charset=utf-8', ...COMMON };
const ALL = { 'Access-Control-Allow-Origin': '*' };

describe('GET /status/events', () => {
  type Deps = ReturnType<typeof scripted>['deps'];
  function stream(deps: Deps, query = 'key=k', headers: Record<string, string> = {}, method = 'GET') {
    const response = new Response(`/status/events?${query}`, headers);
    const get = (name: string) => headers[name.toLowerCase()] ?? '';
    const ctx = { req: response.req, res: response.response, get, method, respond: true };
    events(deps)(ctx as never, async () => {});
    expect(ctx.respond).toBe(false);
    return response;
  }
  /** A stream whose first answer is that nothing is set. */
  function open(options: Parameters<typeof scripted>[0] = {}, query?: string) {
    const all = scripted(options);
    const release = vi.spyOn(all.limits, 'release');
    const response = stream(all.deps, query);
    const answer = (given: Answer) => all.script.responder?.answer(given);
    answer({ kind: 'timeout', cursor: 'e-0' });
    return { ...all, release, response, answer };
  }

  test.each<[answer: Answer, status: number, fields: object, text: string]>([
    [{ kind: 'expired' }, 204, COMMON, ''],
    [{ kind: 'moved', retry: 1.4 }, 503, OF_JSON, '{"code":-6,"message":"moved","retry":1}'],
    [{ kind: 'unavailable', retry: 5 }, 503, OF_JSON, '{"code":-7,"message":"unavailable","retry":5}'],
  ])('first answered %j, it is refused as a poll is', (answer, status, fields, text) => {
    const { deps, script, counted, limits } = scripted();
    const release = vi.spyOn(limits, 'release');
    const response = stream(deps);
    expect(script.asked).toEqual([{ key: 'k', since: '', hold: 0 }]);
    script.responder?.answer(answer);
    expect([response.status, response.fields, response.text]).toEqual([status, { ...ALL, ...fields }, text]);
    expect(response.over).toBe(true);
    expect(counted).toEqual([
      ['asked', 'events'],
      ['answered', 'events', answer.kind],
    ]);
    expect([release.mock.calls.length, vi.getTimerCount()]).toEqual([1, 0]);
  });

  test('an EventSource that is refused for a time is asked to come back', () => {
    const { deps, script } = scripted();
    const response = stream(deps, 'key=k', { accept: 'text/event-stream' });
    script.responder?.answer({ kind: 'moved', retry: 7 });
    expect([response.status, response.text]).toEqual([200, ':moved\nretry: 7\n\n']);
    const ended = stream(deps, 'key=k', { accept: 'text/event-stream' });
    script.responder?.answer({ kind: 'expired' });
    expect(ended.status).toBe(204);
  });

  test.each<[answer: Answer, text: string]>([
    [{ kind: 'timeout', cursor: 'e-1' }, ':\n\n'],
    [success(), ':\n\nid: e-1\nevent: value\ndata: 1\n\nid: e-2\nevent: value\ndata: "b"\n\n'],
    [
      { kind: 'success', entries: [entry(1, 'f-7')], lost: 2, cursor: 'f-7.e-1' },
      ':\n\nevent: lost\ndata: 2\n\nid: f-7\nevent: value\ndata: 1\n\n',
    ],
  ])('first answered %j, it is open, and asks on', (answer, text) => {
    const { deps, script, counted, limits } = scripted();
    const release = vi.spyOn(limits, 'release');
    const response = stream(deps);
    script.responder?.answer(answer);
    expect([response.status, response.fields, response.text]).toEqual([200, { ...ALL, ...STREAM }, text]);
    expect(response.over).toBe(false);
    const { cursor } = answer as { cursor: string };
    expect(script.asked.slice(1)).toEqual([{ key: 'k', since: cursor, hold: INFINITE }]);
    expect(counted.slice(1)).toEqual([['answered', 'events', answer.kind]]);
    expect(release).not.toHaveBeenCalled();
    response.destroy();
    expect([script.left, release.mock.calls.length, vi.getTimerCount()]).toEqual([1, 1, 0]);
  });

  test.each<[answer: Answer, text: string, over: boolean, since?: string]>([
    [{ kind: 'timeout', cursor: 'e-5' }, '', false, 'e-5'],
    [{ kind: 'unavailable', retry: 5 }, '', false, 'e-0'],
    [success(), 'id: e-1\nevent: value\ndata: 1\n\nid: e-2\nevent: value\ndata: "b"\n\n', false, 'e-2'],
    [
      success(true),
      'id: e-1\nevent: value\ndata: 1\n\nid: e-2\nevent: value\nfinal: true\ndata: "b"\n\nevent: end\ndata: final\n\n',
      true,
    ],
    [{ kind: 'expired' }, 'event: end\ndata: final\n\n', true],
    [{ kind: 'moved', retry: 12.6 }, 'retry: 13\n\n', true],
  ])('answered %j, an open one goes on or ends', (answer, text, over, since) => {
    const { response, answer: give, script, counted, release } = open();
    response.text = '';
    give(answer);
    expect([response.text, response.over, response.ended]).toEqual([text, over, answer.kind === 'moved']);
    expect(script.asked.slice(2)).toEqual(over ? [] : [{ key: 'k', since, hold: INFINITE }]);
    expect(counted.slice(2)).toEqual([['answered', 'events', answer.kind]]);
    expect(release.mock.calls.length).toBe(over ? 1 : 0);
    if (!over) return;
    expect([script.left, vi.getTimerCount()]).toEqual([0, 0]);
    response.emit('close');
    expect(release.mock.calls.length, 'once').toBe(1);
  });

  test('a comment every 15 s, and none after the end', () => {
    const { response } = open();
    vi.advanceTimersByTime(14_999);
    expect(response.text).toBe(':\n\n');
    vi.advanceTimersByTime(1);
    expect(response.text).toBe(':\n\n:\n\n');
    response.destroy();
    vi.advanceTimersByTime(60_000);
    expect(response.text).toBe(':\n\n:\n\n');
  });

  test('a client that does not read is cut off when more than 64 KiB wait', () => {
    const { response } = open();
    response.writableLength = 65_536;
    vi.advanceTimersByTime(15_000);
    expect([response.destroyed, response.text]).toEqual([false, ':\n\n:\n\n']);
    response.writableLength++;
    vi.advanceTimersByTime(15_000);
    expect([response.destroyed, response.text, vi.getTimerCount()]).toEqual([true, ':\n\n:\n\n', 0]);
  });

  test('a value for a client with more than 64 KiB unread cuts it off at once', () => {
    const { response, release, answer } = open();
    response.writableLength = 65_537;
    answer(success());
    expect([response.destroyed, response.text, vi.getTimerCount()]).toEqual([true, ':\n\n', 0]);
    expect(release).toHaveBeenCalledTimes(1);
  });

  test.each([
    [1, 1],
    [65_400, 1],
    [70_000, 2],
    [1_000_000, 16],
  ])(
    'a client that reads slowly has 15 s more for each 64 KiB: of %i bytes it has %i times',
    (size, more) => {
      const big = (): Answer => ({
        kind: 'success',
        entries: [entry('x'.repeat(size), 'e-1')],
        lost: 0,
        cursor: 'e-1',
      });
      const { response, answer } = open();
      vi.advanceTimersByTime(15_000);
      answer(big());
      response.writableLength = 65_537;
      vi.advanceTimersByTime(more * 15_000);
      expect(response.destroyed).toBe(false);
      response.writableLength = 65_536;
      vi.advanceTimersByTime(15_000);
      expect(response.text.endsWith('"\n\n:\n\n')).toBe(true);
      answer(big());
      response.writableLength = 65_537;
      vi.advanceTimersByTime(more * 15_000 + 14_999);
      expect(response.destroyed).toBe(false);
      vi.advanceTimersByTime(1);
      expect([response.destroyed, vi.getTimerCount()]).toEqual([true, 0]);
    },
  );

  test('the end of its ticket ends it, also before the first answer', () => {
    const { response, script, release } = open({ secret: [SECRET] }, `key=k&proof=${proof(3)}`);
    vi.advanceTimersByTime(2999);
    expect(response.over).toBe(false);
    vi.advanceTimersByTime(1);
    expect([response.text, response.over, script.left]).toEqual([
      ':\n\nevent: end\ndata: expired\n\n',
      true,
      1,
    ]);
    expect([release.mock.calls.length, vi.getTimerCount()]).toEqual([1, 0]);
    const { deps } = scripted({ secret: [SECRET] });
    const first = stream(deps, `key=k&proof=${proof(6)}`);
    vi.advanceTimersByTime(2999);
    expect(first.over).toBe(false);
    vi.advanceTimersByTime(1);
    expect([first.status, first.fields, first.text, first.over]).toEqual([
      204,
      { ...ALL, ...COMMON },
      '',
      true,
    ]);
  });

  const refused: [
    what: string,
    options: Parameters<typeof scripted>[0],
    query: string,
    headers: Record<string, string>,
    status: number,
    kind: string,
    text: string,
    more: object,
  ][] = [
    [
      'another origin',
      { origins: ['https://shop.example'] },
      'key=k',
      { origin: 'https://evil.example' },
      403,
      'forbidden',
      '{"code":-5,"message":"forbidden"}',
      { Vary: 'Origin' },
    ],
    ...(
      [
        ['key=a+b', {}, KEY_ALLOWED],
        ['key=k&key=l', {}, 'key: give it once'],
        ['key=k&callback=a', {}, 'callback, var: give none, an event stream is no script'],
        ['key=k&var=', {}, 'callback, var: give none, an event stream is no script'],
        ['key=k', { 'last-event-id': 'a b' }, 'Last-Event-ID: give the id of the last event'],
      ] as [string, Record<string, string>, string][]
    ).map(([query, headers, detail]): (typeof refused)[number] => [
      `${query} ${JSON.stringify(headers)}`,
      {},
      query,
      headers,
      400,
      'badRequest',
      `{"code":-4,"message":"bad request","detail":"${detail}"}`,
      ALL,
    ]),
    [
      'no proof',
      { secret: [SECRET] },
      'key=k',
      {},
      403,
      'forbidden',
      '{"code":-5,"message":"forbidden"}',
      ALL,
    ],
    ['an ended ticket', { secret: [SECRET] }, `key=k&proof=${proof(0)}`, {}, 204, 'expired', '', ALL],
  ];
  test.each(refused)('refused: %s', (_, options, query, headers, status, kind, text, more) => {
    const { deps, script, counted, limits } = scripted(options);
    const release = vi.spyOn(limits, 'release');
    const response = stream(deps, query, headers);
    const fields = status === 204 ? COMMON : OF_JSON;
    expect([response.status, response.fields, response.text, response.over]).toEqual([
      status,
      { ...more, ...fields },
      text,
      true,
    ]);
    expect(counted).toEqual([
      ['asked', 'events'],
      ['answered', 'events', kind],
    ]);
    expect([script.asked, release.mock.calls]).toEqual([[], []]);
  });

  test('over a limit it is busy, and counts as none', () => {
    const { deps, counted, script } = scripted({ maxHeldPerIp: 1 });
    const first = stream(deps);
    const second = stream(deps);
    expect([second.status, JSON.parse(second.text)]).toEqual([
      429,
      { code: -3, message: 'busy', retry: expect.any(Number) },
    ]);
    expect(counted[2]).toEqual(['answered', 'events', 'busy']);
    expect(script.asked).toHaveLength(1);
    first.destroy();
    expect(stream(deps).over).toBe(false);
  });

  test('HEAD has the head, and holds nothing; a client that has left is not held', () => {
    const { deps, script, counted } = scripted({ maxHeldPerIp: 1 });
    const head = stream(deps, 'key=k', {}, 'HEAD');
    expect([head.status, head.fields, head.text, head.over]).toEqual([200, { ...ALL, ...STREAM }, '', true]);
    const gone = new Response('/status/events?key=k');
    gone.destroyed = true;
    events(deps)(
      { req: gone.req, res: gone.response, get: () => '', method: 'GET' } as never,
      async () => {},
    );
    expect([gone.status, script.asked, counted]).toEqual([0, [], Array(2).fill(['asked', 'events'])]);
    expect(stream(deps).over, 'there is room').toBe(false);
  });

  test('which origins may read it: an allowed one, and a request without any', () => {
    const { deps } = scripted({ origins: ['https://shop.example'] });
    const page = stream(deps, 'key=k', { origin: 'https://shop.example' });
    expect(page.fields).toEqual({ 'Access-Control-Allow-Origin': 'https://shop.example', Vary: 'Origin' });
    expect(stream(deps).fields).toEqual({ Vary: 'Origin' });
    expect(stream(scripted().deps).fields).toEqual(ALL);
  });

  test('Last-Event-ID counts more than since', () => {
    const { deps, script } = scripted();
    stream(deps, 'key=k&since=e-1');
    stream(deps, 'key=k&since=e-1', { 'last-event-id': 'e-2' });
    expect(script.asked.map(({ since }) => since)).toEqual(['e-1', 'e-2']);
  });

  test('streams of one key are let go one by one, also when the first answer comes at once', async () => {
    const { longpoll, admissions, metrics, ask } = await world({ maxHeldPerKey: 2 });
    const deps = { longpoll, admissions, metrics };
    const first = stream(deps);
    await turn();
    const second = stream(deps);
    expect(second.text, 'at once').toBe(':\n\n');
    expect(longpoll.heldFor('k')).toBe(2);
    expect((await ask('key=k')).status, 'a stream gives way to no poll').toBe(429);
    expect(stream(deps).status, 'and to no stream').toBe(429);
    expect(longpoll.heldFor('k')).toBe(2);
    second.destroy();
    expect(longpoll.heldFor('k')).toBe(1);
    first.destroy();
    expect(longpoll.held).toBe(0);
  });

  test('a poll gives way to no stream', async () => {
    const { longpoll, admissions, metrics, ask } = await world({ maxHeldPerKey: 1 });
    const poll = await ask('key=k');
    expect(stream({ longpoll, admissions, metrics }).status).toBe(429);
    expect(poll.status).toBe(0);
  });

  test('on a node that drains it is sent elsewhere', async () => {
    const { longpoll, admissions, metrics, limits } = await world({ maxHeldPerIp: 1 });
    longpoll.drain(0);
    for (let count = 0; count < 2; count++)
      expect(stream({ longpoll, admissions, metrics }).text).toBe('{"code":-6,"message":"moved","retry":1}');
    expect(limits.hold('192.0.2.1', 0, 0)).toBe(0);
  });
});

/** A WebSocket of `ws` that keeps what it is given. */
class Peer extends EventEmitter {
  readonly sent: Record<string, unknown>[] = [];
  readonly closes: [code: number, reason: string][] = [];
  pings = 0;
  terminated = 0;
  bufferedAmount = 0;

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }
  close(code: number, reason: string): void {
    this.closes.push([code, reason]);
  }
  terminate(): void {
    this.terminated++;
  }
  ping(): void {
    this.pings++;
  }
  /** The client sends a message. */
  says(message: unknown, isBinary = false): void {
    this.emit('message', typeof message === 'string' ? message : JSON.stringify(message), isBinary);
  }
  watch(key: string, more = {}): void {
    this.says({ watch: key, since: '', proof: '', ...more });
  }
}

describe('a WebSocket', () => {
  function socket(options: Parameters<typeof scripted>[0] = {}, all = scripted(options)) {
    const peer = new Peer();
    const closed: SocketSession[] = [];
    expect(all.deps.admissions.enter('net')).toBe(0);
    const session = new SocketSession(all.deps, peer as unknown as WebSocket, 'net', one => closed.push(one));
    const release = vi.spyOn(all.limits, 'release');
    const requests = vi.spyOn(all.limits, 'request');
    const answer = (given: Answer) => all.script.responder?.answer(given);
    return { ...all, peer, session, closed, release, requests, answer };
  }
  /** How many more requests this address may hold. */
  function room({ deps }: Pick<ReturnType<typeof socket>, 'deps'>): number {
    let free = 0;
    while (free < 200 && deps.admissions.enter('net') === 0) free++;
    for (let count = 0; count < free; count++) deps.admissions.leave('net');
    return free;
  }

  const said = { code: 0, message: 'success', data: 'b', cursor: 'e-2', earlier: [1], key: 'k' };
  test.each<[answer: Answer, sent: object[], since: string | undefined]>([
    [success(), [said], 'e-2'],
    [success(true), [{ ...said, final: true }], undefined],
    [{ kind: 'timeout', cursor: 'e-9' }, [], 'e-9'],
    [{ kind: 'unavailable', retry: 5 }, [], 'e-0'],
    [{ kind: 'expired' }, [{ code: -2, message: 'expired', key: 'k' }], undefined],
    [{ kind: 'forbidden' }, [{ code: -5, message: 'forbidden', key: 'k' }], undefined],
  ])('a watch that is answered %j', (answer, sent, since) => {
    const it = socket({ maxHeldPerIp: 3 });
    it.peer.watch('k', { since: 'e-0' });
    expect(it.script.asked).toEqual([{ key: 'k', since: 'e-0', hold: INFINITE }]);
    it.answer(answer);
    expect(it.peer.sent).toEqual(sent);
    expect(it.script.asked.slice(1)).toEqual(
      since === undefined ? [] : [{ key: 'k', since, hold: INFINITE }],
    );
    expect(it.counted).toEqual([['asked', 'socket'], ...sent.map(() => ['answered', 'socket', answer.kind])]);
    expect([it.closed, it.peer.closes, room(it)]).toEqual([[], [], 2]);
    it.peer.says({ stop: 'k' });
    expect(it.script.left).toBe(since === undefined ? 0 : 1);
  });

  test('a node that drains closes it with the answer of a poll, and lets everything go', () => {
    const it = socket({ maxHeldPerIp: 3 });
    for (const key of ['k', 'l', 'm']) it.peer.watch(key);
    expect(room(it)).toBe(0);
    it.answer({ kind: 'moved', retry: 7.4 });
    expect(it.peer.closes).toEqual([[1012, '{"code":-6,"message":"moved","retry":7}']]);
    expect([it.closed, it.peer.sent, it.script.left, room(it)]).toEqual([[it.session], [], 2, 3]);
    expect(vi.getTimerCount()).toBe(0);
    it.peer.emit('close');
    it.peer.emit('error', new Error('a'));
    expect([it.closed.length, room(it), it.release.mock.calls.length - 3]).toEqual([
      1,
      3,
      expect.any(Number),
    ]);
  });

  test('it counts as one, with one more for each key after the first; what leaves, leaves once', () => {
    const all = scripted({ maxHeldPerIp: 4 });
    const [one, other] = [socket({}, all), socket({}, all)];
    expect(room(one)).toBe(2);
    one.peer.watch('a');
    expect(room(one)).toBe(2);
    one.peer.watch('b');
    one.peer.watch('c');
    expect(room(one)).toBe(0);
    one.peer.watch('d');
    expect(one.peer.sent).toEqual([{ code: -3, message: 'busy', retry: expect.any(Number), key: 'd' }]);
    one.peer.watch('b');
    expect(room(one), 'the same key again').toBe(0);
    for (const key of ['a', 'b', 'unknown']) one.peer.says({ stop: key });
    expect(room(one)).toBe(2);
    one.peer.says({ stop: 'c' });
    expect(room(one), 'the socket itself').toBe(2);
    for (const key of ['a', 'b', 'c']) one.peer.watch(key);
    one.peer.says('{}');
    one.peer.emit('close');
    expect(room(one), 'the other one').toBe(3);
    other.peer.emit('error', new Error('a'));
    expect(room(one)).toBe(4);
    other.peer.emit('close');
    expect(room(one)).toBe(4);
    expect([one.closed.length, other.closed.length]).toEqual([1, 1]);
  });

  test('the first key keeps the place of its socket when it is refused', () => {
    const it = socket({ maxHeldPerIp: 1, secret: [SECRET] });
    it.peer.watch('k');
    it.peer.watch('k', { proof: proof(0) });
    expect(it.peer.sent).toEqual([
      { code: -5, message: 'forbidden', key: 'k' },
      { code: -2, message: 'expired', key: 'k' },
    ]);
    expect(room(it)).toBe(0);
    const full = socket({ maxHeldPerKey: 1 });
    full.script.heldFor = () => 1;
    const given: unknown[] = [];
    Object.assign(full.script, {
      giveWay: (key: string, alike: (one: object) => unknown) =>
        given.push(key, alike({ isFrom: () => true })),
    });
    full.peer.watch('k');
    expect(full.peer.sent).toMatchObject([{ code: -3, key: 'k' }]);
    expect(given, 'nothing gives way').toEqual(['k', false]);
  });

  test('a ticket: what is left of it is said, and its end ends the watch', () => {
    const it = socket({ secret: [SECRET] });
    it.peer.watch('k', { proof: proof(3) });
    vi.advanceTimersByTime(1500);
    it.answer(success());
    expect(it.peer.sent).toEqual([{ ...said, left: 1.5 }]);
    vi.advanceTimersByTime(1499);
    expect(it.peer.sent).toHaveLength(1);
    vi.advanceTimersByTime(1);
    expect(it.peer.sent[1]).toEqual({ code: -2, message: 'expired', key: 'k' });
    expect(it.script.left).toBe(1);
    it.peer.watch('k', { proof: proof(6) });
    it.peer.says({ stop: 'k' });
    vi.advanceTimersByTime(5000);
    expect(it.peer.sent, 'one that was stopped ends silently').toHaveLength(2);
    it.peer.watch('k', { proof: proof(99) });
    it.peer.emit('close');
    expect(vi.getTimerCount()).toBe(0);
  });

  test.each<[what: string, message: unknown, isBinary: boolean, code: number, reason: string]>([
    ['binary', { watch: 'k' }, true, 1003, 'give text, not binary'],
    ['no command', {}, false, 1008, COMMANDS_ALLOWED],
  ])(
    'a message that is %s closes it, and nothing after that counts',
    (_, message, isBinary, code, reason) => {
      const it = socket({ maxHeldPerIp: 3 });
      it.peer.says(message, isBinary);
      expect(it.peer.closes).toEqual([[code, reason]]);
      it.peer.watch('k');
      it.peer.says('no JSON');
      it.session.send('k', { kind: 'expired' });
      expect([it.script.asked, it.peer.sent, it.counted, it.requests.mock.calls]).toEqual([[], [], [], []]);
      expect([it.peer.closes.length, it.closed, room(it)]).toEqual([1, [it.session], 3]);
    },
  );

  test('messages over the rate limit are answered, and the 101st in a row closes it', () => {
    const it = socket({ maxPollsPerIp: 1 });
    it.peer.watch('k');
    for (let count = 0; count < 99; count++) it.peer.watch('k');
    it.peer.says({ stop: 'k' });
    expect(it.peer.sent).toHaveLength(99);
    expect(new Set(it.peer.sent.map(({ code, key }) => `${code} ${key}`))).toEqual(new Set(['-3 k']));
    expect(it.peer.closes).toEqual([]);
    it.peer.watch('k');
    expect(it.peer.closes).toEqual([[1008, 'too many messages']]);
    expect([it.peer.sent.length, it.counted.filter(([what]) => what === 'answered').length]).toEqual([
      99, 99,
    ]);
    expect(it.script.asked).toHaveLength(1);
  });

  test('one within the limit begins the row again; a watch that is refused ends the one before', () => {
    const it = socket();
    it.requests.mockReturnValue(5);
    for (let count = 0; count < 100; count++) it.peer.emit('ping');
    it.requests.mockReturnValueOnce(0);
    it.peer.watch('k');
    for (let count = 0; count < 100; count++) it.peer.watch('k');
    expect([it.peer.closes, it.script.left]).toEqual([[], 1]);
    it.peer.emit('ping');
    expect(it.peer.closes).toEqual([[1008, 'too many messages']]);
  });

  test('pings every 15 s: their pongs are not counted, others are', () => {
    const it = socket();
    it.peer.watch('k');
    const counted = () => it.requests.mock.calls.length - 1;
    vi.advanceTimersByTime(14_999);
    expect(it.peer.pings).toBe(0);
    for (let count = 1; count <= 4; count++) {
      vi.advanceTimersByTime(count === 1 ? 1 : 15_000);
      expect(it.peer.pings).toBe(count);
      it.peer.emit('pong');
    }
    expect(counted()).toBe(0);
    it.peer.emit('pong');
    expect(counted()).toBe(1);
    it.peer.emit('ping');
    expect(counted()).toBe(2);
    vi.advanceTimersByTime(15_000);
    expect(it.peer.terminated).toBe(0);
    vi.advanceTimersByTime(15_000);
    expect([it.peer.terminated, it.peer.pings], 'without a pong').toEqual([1, 5]);
  });

  test('one that watches no key between two pings is closed', () => {
    const it = socket();
    const ping = () => {
      vi.advanceTimersByTime(15_000);
      it.peer.emit('pong');
    };
    ping();
    it.peer.watch('k');
    ping();
    it.peer.says({ stop: 'k' });
    ping();
    expect(it.peer.closes).toEqual([]);
    ping();
    expect([it.peer.closes, it.peer.pings]).toEqual([[[1000, 'idle: watch a key']], 3]);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('a client that does not read is cut off when more than 64 KiB wait', () => {
    const it = socket({ maxHeldPerIp: 1 });
    it.peer.watch('k');
    it.peer.bufferedAmount = 65_536;
    it.answer(success());
    expect([it.peer.sent.length, it.peer.terminated]).toEqual([1, 0]);
    it.peer.bufferedAmount++;
    it.answer(success());
    expect([it.peer.sent.length, it.peer.terminated, it.closed.length, room(it)]).toEqual([1, 1, 1, 1]);
    expect(it.counted.at(-1)).toEqual(['answered', 'socket', 'success']);
  });

  test.each([
    [1, 1],
    [65_400, 1],
    [70_000, 2],
    [1_000_000, 16],
  ])(
    'a client that reads slowly has 15 s more for each 64 KiB: of %i bytes it has %i times',
    (size, more) => {
      const it = socket();
      it.peer.watch('k');
      const entries = [entry('x'.repeat(size), 'e-1')];
      const give = () => it.answer({ kind: 'success', entries, lost: 0, cursor: 'e-1' });
      give();
      it.peer.bufferedAmount = 1_000_000;
      vi.advanceTimersByTime((1 + more) * 15_000);
      expect([it.peer.pings, it.peer.terminated], 'the ping waits behind the value').toEqual([1, 0]);
      it.peer.bufferedAmount = 0;
      it.peer.emit('pong');
      vi.advanceTimersByTime(15_000);
      expect(it.peer.pings).toBe(2);
      // counts for the ping behind it, and not for the one before
      give();
      it.peer.emit('pong');
      vi.advanceTimersByTime((1 + more) * 15_000);
      expect([it.peer.pings, it.peer.terminated]).toEqual([3, 0]);
      vi.advanceTimersByTime(15_000);
      expect(it.peer.terminated, 'one that reads nothing').toBe(1);
    },
  );

  test('at most 100 keys, and what a key must be', () => {
    const it = socket();
    for (let count = 0; count < 100; count++) it.peer.watch(`k${count}`);
    it.peer.watch('more');
    it.peer.watch('a b');
    it.peer.watch('k', { since: '!' });
    it.peer.watch('k', { proof: 'x'.repeat(129) });
    const bad = (key: string, detail: string) => ({ code: -4, message: 'bad request', detail, key });
    expect(it.peer.sent).toEqual([
      bad('more', 'watch: at most 100 on one socket'),
      bad('a b', KEY_ALLOWED),
      bad('k', 'since: give the cursor of the last answer, or nothing'),
      bad('k', 'proof: give the proof of the ticket'),
    ]);
    expect(it.script.asked).toHaveLength(100);
    it.peer.says({ stop: 'k7' });
    it.peer.watch('more');
    expect([it.peer.sent.length, it.script.asked.length]).toEqual([4, 101]);
  });

  test('an answer that comes before it is asked to the end is not taken for the one that waits', () => {
    const it = socket();
    const waiters = [{}, { responder: {} }];
    const left: unknown[] = [];
    let asked = 0;
    Object.assign(it.script, {
      get: (_: unknown, responder: { answer(given: Answer): void }) => {
        const waiter = waiters[asked++];
        if (asked === 1) responder.answer(success());
        return waiter;
      },
      leave: (waiter: unknown) => left.push(waiter),
    });
    it.peer.watch('k');
    it.peer.says({ stop: 'k' });
    expect([asked, left.length, left[0] === waiters[1]]).toEqual([2, 1, true]);
  });

  test('on a node that drains it is closed as its first key is asked', async () => {
    const { longpoll, admissions, metrics } = await world();
    const peer = new Peer();
    new SocketSession({ longpoll, admissions, metrics }, peer as unknown as WebSocket, 'net', () => {});
    longpoll.drain(0);
    peer.watch('k');
    expect(peer.closes).toEqual([[1012, '{"code":-6,"message":"moved","retry":1}']]);
  });

  test('watches of one key are let go, also when their first answer comes at once', async () => {
    const { longpoll, admissions, metrics } = await world();
    await longpoll.set('k', 1, { ttl: 60_000 });
    const deps = { longpoll, admissions, metrics };
    const peers = [new Peer(), new Peer()] as const;
    for (const peer of peers) {
      new SocketSession(deps, peer as unknown as WebSocket, 'net', () => {});
      peer.watch('k');
      await turn();
      expect(peer.sent).toMatchObject([{ data: 1 }]);
    }
    expect(longpoll.heldFor('k')).toBe(2);
    for (const peer of peers) peer.says({ stop: 'k' });
    expect(longpoll.held).toBe(0);
  });
});

/** One side of a connection: keeps what is written. */
class Wire extends Duplex {
  text = '';
  override _read(): void {}
  override _write(chunk: Buffer, _: string, done: () => void): void {
    this.text += chunk.toString('latin1');
    done();
  }
}

describe('the handshake', () => {
  const WS_KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
  const HEADERS = {
    upgrade: 'WebSocket',
    connection: 'Upgrade',
    'sec-websocket-version': '13',
    'sec-websocket-key': WS_KEY,
    'sec-websocket-protocol': 'tagwait.1',
  };
  const HEAD = 'Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n';
  function shake(
    route: SocketRoute,
    headers: object = {},
    { method = 'GET', url = '/status/socket', remoteAddress = '192.0.2.1', wire = new Wire() } = {},
  ): Wire & { taken: boolean } {
    const asked = {
      method,
      url,
      headers: { ...HEADERS, ...headers },
      socket: { remoteAddress },
    };
    const taken = route.upgrade(asked as unknown as IncomingMessage, wire, Buffer.alloc(0));
    return Object.assign(wire, { taken });
  }
  const json = (status: string, text: string, more = '') =>
    `HTTP/1.1 ${status}\r\n${HEAD}Content-Type: application/json; charset=utf-8\r\n${more}Connection: close\r\nContent-Length: ${text.length}\r\n\r\n${text}`;
  const BUSY = '{"code":-3,"message":"busy","retry":1500}';

  const UPGRADE_REQUIRED = `HTTP/1.1 426 Upgrade Required\r\n${HEAD}Content-Type: text/plain; charset=utf-8\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\nContent-Length: 54\r\n\r\nThis address is for WebSocket, subprotocol tagwait.1.\n`;
  const badRequest = (detail: string) =>
    json(
      '400 Bad Request',
      `{"code":-4,"message":"bad request","detail":"${detail}"}`,
      'Sec-WebSocket-Version: 13, 8\r\n',
    );

  type Refused = [what: string, headers: object, text: string, kind?: string, more?: { method: string }];
  test.each<Refused>([
    ['no upgrade', { upgrade: undefined }, UPGRADE_REQUIRED],
    ['another method', {}, UPGRADE_REQUIRED, undefined, { method: 'POST' }],
    [
      'another origin',
      { origin: 'https://evil.example' },
      json('403 Forbidden', '{"code":-5,"message":"forbidden"}'),
      'forbidden',
    ],
    ...['tagwait.2, tagwait', 'tagwait.1, tagwait.1', 'tagwait.1, (other', 'tagwait.1, other)'].map(
      offered =>
        [
          `the subprotocols ${offered}`,
          { 'sec-websocket-protocol': offered },
          badRequest('Sec-WebSocket-Protocol: give tagwait.1'),
          'badRequest',
        ] as Refused,
    ),
    ...[`${WS_KEY}x`, `x${WS_KEY}`].map(
      key =>
        [
          `the key ${key}`,
          { 'sec-websocket-key': key },
          badRequest('Sec-WebSocket-Key: give 16 random bytes in base64'),
          'badRequest',
        ] as Refused,
    ),
  ])('refused: %s', async (_, headers, text, kind, more) => {
    const { deps, counted, limits } = scripted({ origins: ['https://shop.example'] });
    const retain = vi.spyOn(limits, 'retain');
    const wire = shake(new SocketRoute(deps), headers, more);
    await turn();
    expect([wire.taken, wire.text, wire.destroyed]).toEqual([true, text, true]);
    expect(counted).toEqual(
      kind
        ? [
            ['asked', 'socket'],
            ['answered', 'socket', kind],
          ]
        : [],
    );
    expect(retain).not.toHaveBeenCalled();
  });

  test.each(['request', 'hold'] as const)('refused by a limit: %s', async which => {
    const { deps, counted, limits } = scripted();
    vi.spyOn(limits, which).mockReturnValue(1500);
    const wire = shake(new SocketRoute(deps));
    await turn();
    expect(wire.text).toBe(json('429 Too Many Requests', BUSY, 'Retry-After: 2\r\n'));
    expect(counted).toEqual([
      ['asked', 'socket'],
      ['answered', 'socket', 'busy'],
    ]);
  });

  test('a connection that fails while its refusal is written is destroyed', () => {
    const wire = new Wire();
    wire._write = () => {};
    shake(new SocketRoute(scripted().deps), { upgrade: undefined }, { wire });
    expect(wire.destroyed).toBe(false);
    wire.emit('error', new Error('reset'));
    expect(wire.destroyed).toBe(true);
  });

  test('behind a proxy it counts for the address that the proxy adds', () => {
    const route = new SocketRoute(scripted({ maxHeldPerIp: 1, trustProxy: 1 }).deps);
    const from = (address: string) => shake(route, { 'x-forwarded-for': address }).text.slice(9, 12);
    expect([from('198.51.100.1'), from('198.51.100.2'), from('198.51.100.1')]).toEqual(['101', '101', '429']);
  });

  test('refused while its node drains, and open sockets are closed', async () => {
    const { deps, counted, limits } = scripted();
    const release = vi.spyOn(limits, 'release');
    vi.spyOn(Math, 'random').mockReturnValue(0.5);
    const route = new SocketRoute(deps);
    const open = shake(route);
    expect(open.text).toMatch(
      /^HTTP\/1.1 101 Switching Protocols\r\n.*\r\nSec-WebSocket-Protocol: tagwait.1\r\n/s,
    );
    open.text = '';
    route.drain(3000);
    const reason = '{"code":-6,"message":"moved","retry":1500}';
    // a close frame: its length, the code, the reason
    expect(open.text).toBe(`\x88${String.fromCharCode(reason.length + 2)}\x03\xf4${reason}`);
    expect(release).toHaveBeenCalledTimes(1);
    const late = shake(route);
    await turn();
    expect(late.text).toBe(json('503 Service Unavailable', reason, 'Retry-After: 2\r\n'));
    expect(counted).toEqual([
      ['asked', 'socket'],
      ['answered', 'socket', 'moved'],
    ]);
  });

  test('close ends what is open, with the delay of a drain that has begun', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(0.5);
    const route = new SocketRoute(scripted().deps);
    const open = shake(route);
    route.close();
    expect(open.text).toMatch(/"moved","retry":1}$/);
    const drained = new SocketRoute(scripted().deps);
    drained.drain(2000);
    drained.close();
    const late = shake(drained);
    await turn();
    expect(late.text).toMatch(/"retry":1000}$/);
  });

  test('what the package refuses counts as none; a socket counts until it is closed', async () => {
    const { deps, limits } = scripted({ maxHeldPerIp: 1, origins: ['https://shop.example'] });
    const route = new SocketRoute(deps);
    const bad = shake(route, { 'sec-websocket-key': 'short' });
    expect(bad.text).toMatch(/^HTTP\/1.1 400 /);
    const good = shake(route, {
      origin: 'https://shop.example',
      'sec-websocket-protocol': 'other,  tagwait.1',
      'sec-websocket-extensions': 'permessage-deflate',
    });
    expect(good.text).toMatch(/^HTTP\/1.1 101 .*\r\nSec-WebSocket-Protocol: tagwait.1\r\n/s);
    expect(good.text).not.toContain('Extensions');
    expect(shake(route).text).toContain(' 429 ');
    expect(shake(route, {}, { remoteAddress: '198.51.100.1' }).text, 'another address').toContain(' 101 ');
    const release = vi.spyOn(limits, 'release');
    good.destroy();
    vi.useRealTimers();
    await vi.waitFor(() => expect(release).toHaveBeenCalledTimes(1));
    expect(shake(route, { 'sec-websocket-protocol': undefined }).text).toContain(' 101 ');
    const restart = vi.spyOn(SocketSession.prototype, 'restart');
    route.close();
    expect(restart.mock.calls.length, 'what has ended is not kept').toBe(2);
  });

  test.each([
    ['/status/socket', true],
    ['/status/socket?a', true],
    ['/status/sockets', false],
    ['/status/socket/', true],
    ['/status/socket/?a', true],
    ['/status/socket//', false],
    ['/', false],
  ])('of %s is ours: %s', (url, taken) => {
    const wire = shake(new SocketRoute(scripted().deps), {}, { url });
    expect([wire.taken, wire.text !== '']).toEqual([taken, taken]);
  });
});
