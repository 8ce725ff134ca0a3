/** Polls: admission, refusals, the hold and its end, each compared as a whole, with what is counted and logged. */
import { afterEach, describe, expect, test, vi } from 'vitest';
import { Unavailable } from '../../src/brokers/broker.js';
import { MemoryBroker } from '../../src/brokers/memory.js';
import { shortHash } from '../../src/log.js';
import { NAME_ALLOWED } from '../../src/protocol/names.js';
import { proofOf } from '../../src/protocol/ticket.js';
import { Expiry } from '../../src/routes/expiry.js';
import { Origins } from '../../src/routes/origins.js';
import { SeveralPoll } from '../../src/routes/responders.js';
import { isFor } from '../../src/wire/exchange.js';
import { Asked, SECRET, turn, world } from './world.js';

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const COMMON = {
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
  'Cross-Origin-Resource-Policy': 'cross-origin',
  'Referrer-Policy': 'no-referrer',
};
const PLAIN = { ...COMMON, 'Content-Type': 'text/plain; charset=utf-8' };
const SCRIPT = {
  ...COMMON,
  'Content-Type': 'text/javascript; charset=utf-8',
  'Content-Disposition': 'attachment; filename=f.txt',
};
const OF_JSON = { ...COMMON, 'Content-Type': 'application/json; charset=utf-8' };
const FOR_ALL = { ...OF_JSON, 'Access-Control-Allow-Origin': '*' };
const FOR_NONE = { ...OF_JSON, Vary: 'Origin' };
const SHOP = 'https://shop.example';
const FOR_SHOP = { ...OF_JSON, 'Access-Control-Allow-Origin': SHOP, Vary: 'Origin' };

const NONE = '{"code":-1,"message":"timeout","cursor":""}';
const FORBIDDEN = '{"code":-5,"message":"forbidden"}';
const EXPIRED = '{"code":-2,"message":"expired"}';
const BUSY = '{"code":-3,"message":"busy","retry":N}';
const bad = (detail: string) => `{"code":-4,"message":"bad request","detail":"${detail}"}`;
const call = (text: string) => `/**/typeof cb=="function"&&cb(${text});`;
const NO_BODY = 'the body: give none';
const ORIGINS = { origins: [SHOP] };
const TICKETS = { secret: [SECRET] };
const LIMITED = { maxPollsPerIp: 1 };

/** A random or measured number as N: delays, and what is left of a ticket. */
const withoutNumbers = (text: string) =>
  text.replace(/("retry"|"left"|after)(:| )\d+(\.\d+)?/g, (_, name, mark) => `${name}${mark}N`);

type Row = [
  what: string,
  options: Parameters<typeof world>[0],
  query: string,
  headers: ConstructorParameters<typeof Asked>[1],
  status: number,
  fields: object,
  text: string,
  counted: [mode: string, answer: string],
  closes?: boolean,
];

const ROWS: Row[] = [
  ['nothing is set', {}, 'key=k', {}, 200, FOR_ALL, NONE, ['json', 'timeout']],
  ['as a call', {}, 'key=k&callback=cb', {}, 200, SCRIPT, call(NONE), ['callback', 'timeout']],
  ['as a variable', {}, 'key=k&var=cb', {}, 200, SCRIPT, `/**/window.cb=${NONE};`, ['var', 'timeout']],
  ['for curl', ORIGINS, 'key=k', {}, 200, FOR_NONE, NONE, ['json', 'timeout']],
  ['for a page', ORIGINS, 'key=k', { origin: SHOP }, 200, FOR_SHOP, NONE, ['json', 'timeout']],
  ['another origin', ORIGINS, 'key=k', { origin: 'null' }, 403, FOR_NONE, FORBIDDEN, ['json', 'forbidden']],
  ...(
    [
      ['script', undefined, NONE],
      ['empty', 'no-cors', NONE],
      ['empty', 'cors', FORBIDDEN],
      ['empty', undefined, FORBIDDEN],
      ['image', 'no-cors', FORBIDDEN],
      ['document', 'navigate', FORBIDDEN],
    ] as const
  ).map(
    ([dest, mode, text]): Row => [
      `a script for ${dest}, ${mode}`,
      {},
      'key=k&callback=cb',
      { 'sec-fetch-dest': dest, ...(mode && { 'sec-fetch-mode': mode }) },
      200,
      SCRIPT,
      call(text),
      ['callback', text === NONE ? 'timeout' : 'forbidden'],
    ],
  ),
  ...(
    [
      [{}, NONE],
      [{ referer: SHOP }, NONE],
      [{ referer: `${SHOP}/a//b?c` }, NONE],
      [{ referer: 'https://evil.example/https://shop.example/' }, FORBIDDEN],
      [{ referer: `${SHOP}.evil.example/` }, FORBIDDEN],
      [{ origin: SHOP }, NONE],
      [{ origin: 'https://evil.example', referer: SHOP }, FORBIDDEN],
    ] as const
  ).map(
    ([headers, text]): Row => [
      `a script for a page, ${JSON.stringify(headers)}`,
      ORIGINS,
      'key=k&callback=cb',
      headers,
      200,
      SCRIPT,
      call(text),
      ['callback', text === NONE ? 'timeout' : 'forbidden'],
    ],
  ),
  [
    'a bad name',
    {},
    'key=k&callback=a+b',
    {},
    400,
    PLAIN,
    `callback: ${NAME_ALLOWED}\n`,
    ['text', 'badRequest'],
  ],
  [
    'a bad key',
    {},
    'key=a+b',
    {},
    400,
    FOR_ALL,
    /"detail":"key: give 1 to 128/.source,
    ['json', 'badRequest'],
  ],
  [
    'a body',
    {},
    'key=k',
    { 'content-length': '5' },
    400,
    FOR_ALL,
    bad(NO_BODY),
    ['json', 'badRequest'],
    true,
  ],
  ['an empty body', {}, 'key=k', { 'content-length': '0' }, 200, FOR_ALL, NONE, ['json', 'timeout']],
  [
    'a body in chunks',
    {},
    'key=k&key=l',
    { 'transfer-encoding': 'chunked' },
    400,
    FOR_ALL,
    bad(NO_BODY),
    ['json', 'badRequest'],
    true,
  ],
  [
    'a key twice',
    {},
    'key=k&key=k',
    {},
    400,
    FOR_ALL,
    bad('key: give each key once'),
    ['json', 'badRequest'],
  ],
  [
    'two keys',
    {},
    'key=k&key=l',
    {},
    200,
    FOR_ALL,
    '{"code":-1,"message":"timeout","cursors":["",""]}',
    ['json', 'timeout'],
  ],
  ['no proof', TICKETS, 'key=k', {}, 403, FOR_ALL, FORBIDDEN, ['json', 'forbidden']],
  [
    'no proof of one key',
    TICKETS,
    'key=k&key=l',
    {},
    403,
    FOR_ALL,
    '{"code":-5,"message":"forbidden","key":"k"}',
    ['json', 'forbidden'],
  ],
  [
    'an ended ticket',
    TICKETS,
    `key=k&proof=${proofOf(SECRET, 'k', 1)}`,
    {},
    410,
    FOR_ALL,
    EXPIRED,
    ['json', 'expired'],
  ],
  [
    'a ticket',
    TICKETS,
    `key=k&proof=${proofOf(SECRET, 'k', 4e9)}`,
    {},
    200,
    FOR_ALL,
    '{"code":-1,"message":"timeout","cursor":"","left":N}',
    ['json', 'timeout'],
  ],
];

describe('a poll that does not wait', () => {
  test.each(ROWS)('%s', async (_, options, query, headers, status, fields, text, counted, closes = false) => {
    const { ask, counted: all, limits, longpoll } = await world({ ...options, maxHeldPerIp: 1 });
    const release = vi.spyOn(limits, 'release');
    const asked = await ask(`${query}&hold=0`, headers);
    expect([asked.status, asked.fields, asked.closes]).toEqual([status, fields, closes]);
    if (text.startsWith('"detail"')) expect(asked.text).toMatch(new RegExp(text));
    else expect(withoutNumbers(asked.text)).toBe(text);
    expect(all).toEqual([
      ['asked', counted[0]],
      ['answered', ...counted],
    ]);
    expect([longpoll.held, release.mock.calls.length], 'nothing is held or let go').toEqual([0, 0]);
  });

  test.each([
    ['key=k', 429, FOR_ALL, BUSY, ['json', 'busy']],
    ['key=k&callback=cb', 200, SCRIPT, call(BUSY), ['callback', 'busy']],
    ['key=k&callback=a+b', 429, PLAIN, 'busy: ask again after N ms\n', ['text', 'busy']],
  ])('over the rate limit: %s', async (query, status, fields, text, counted) => {
    for (const sharedPort of [false, true]) {
      const { ask, counted: all } = await world({ ...LIMITED, sharedPort });
      await ask('key=k&hold=0');
      all.length = 0;
      const asked = await ask(query);
      expect([asked.status, asked.fields, withoutNumbers(asked.text)]).toEqual([status, fields, text]);
      expect(asked.closes, 'another process may have room').toBe(sharedPort);
      expect(all).toEqual([
        ['asked', counted[0]],
        ['answered', ...counted],
      ]);
    }
  });

  test.each([
    ['key=k', 503, FOR_ALL, /^{"code":-6,"message":"moved","retry":\d{1,4}}$/],
    ['key=k&callback=a+b', 400, PLAIN, /^callback: /],
  ])('while its node drains: %s', async (query, status, fields, text) => {
    const { ask, longpoll } = await world();
    longpoll.drain(1000);
    const asked = await ask(query);
    expect(asked).toMatchObject({ status, fields, closes: true, text: expect.stringMatching(text) });
  });

  test('of HEAD, and one behind another response, too', async () => {
    const { ask } = await world();
    for (const more of [{ method: 'HEAD' }, { headOfLine: false }])
      for (const query of ['key=k', 'key=k&key=l'])
        expect((await ask(query, {}, more)).status, query).toBe(200);
  });

  test('of a client that has disconnected holds nothing', async () => {
    const { ask, longpoll } = await world();
    for (const query of ['key=k', 'key=k&key=l'])
      expect((await ask(query, {}, { closed: true })).status).toBe(0);
    expect(longpoll.held).toBe(0);
  });
});

test('the routes are found by method and path', async () => {
  const { poll, set } = await world();
  expect(isFor(poll, 'GET', '/status/get?key=k')).toBe(true);
  expect(isFor(set, 'POST', '/status/set')).toBe(true);
});

describe('the hold', () => {
  test('a value answers it, keeps the connection, and makes room for the next', async () => {
    for (const options of [{}, { sharedPort: true }])
      for (const query of ['key=k', 'key=k&key=l']) {
        const { ask, longpoll, counted } = await world({ maxHeldPerIp: 1, ...options });
        const asked = await ask(query);
        expect([asked.status, asked.closes, longpoll.held]).toEqual([0, false, 1]);
        const { cursor } = await longpoll.set('k', 'v', { ttl: 1000 });
        const its = query.includes('l') ? ',"key":"k"' : '';
        expect(asked.text).toBe(`{"code":0,"message":"success"${its},"data":"v","cursor":"${cursor}"}`);
        expect(asked.closes).toBe(false);
        const next = await ask(query.replace('=k', '=m'));
        expect([next.status, longpoll.held]).toEqual([0, 1]);
        next.leave();
        expect(longpoll.held).toBe(0);
        expect((await ask('key=n')).status, 'there is room again').toBe(0);
        expect(counted).toEqual([
          ['asked', 'json'],
          ['answered', 'json', 'success'],
          ['asked', 'json'],
          ['asked', 'json'],
        ]);
      }
  });

  test.each<[what: string, options: NonNullable<Row[1]>, closes: boolean]>([
    ['of its key', { maxHeldPerKey: 1 }, false],
    ['of its address', { maxHeldPerIp: 1 }, false],
    ['of its node', { maxHeld: 1 }, true],
    ['of its key, where others share the port', { maxHeldPerKey: 1, sharedPort: true }, true],
  ])('a limit %s refuses, and closes the connection where that helps', async (_, options, closes) => {
    for (const query of ['key=k', 'key=l&key=k']) {
      const { ask, counted } = await world(options);
      const first = await ask('key=k', {}, options.maxHeldPerIp ? {} : { address: '198.51.100.1' });
      const second = await ask(query.replace('=k', options.maxHeldPerIp ? '=m' : '=k'));
      expect([first.status, second.status, withoutNumbers(second.text)]).toEqual([0, 429, BUSY]);
      expect([first.closes, second.closes]).toEqual([false, closes]);
      expect(counted.slice(2)).toEqual([['answered', 'json', 'busy']]);
      first.leave();
      expect((await ask(query)).status).toBe(0);
    }
  });

  test('behind a proxy a poll counts for the address that the proxy adds', async () => {
    const { ask } = await world({ maxHeldPerIp: 1, trustProxy: 1 });
    const from = (address: string) => ask('key=k', { 'x-forwarded-for': address });
    const asked = [await from('198.51.100.1'), await from('198.51.100.2'), await from('198.51.100.1')];
    expect(asked.map(({ status }) => status)).toEqual([0, 0, 429]);
  });

  test('a newer value is given even over the limit', async () => {
    const { ask, longpoll } = await world({ maxHeld: 1 });
    await longpoll.set('k', 1, { ttl: 1000 });
    await ask('key=other');
    expect((await ask('key=k')).text).toContain('"data":1');
    expect((await ask('key=k&key=l')).text).toContain('"data":1');
  });

  test('at the limit of a key the oldest poll of the same address gives way, and no other', async () => {
    for (const query of ['key=k', 'key=l&key=k']) {
      const { ask, longpoll } = await world({ maxHeldPerKey: 2 });
      const stranger = await ask('key=k', {}, { address: '198.51.100.1' });
      const mine = await ask('key=k');
      const newest = await ask(query);
      expect([stranger.status, mine.text, newest.status]).toEqual([0, NONE, 0]);
      expect(longpoll.heldFor('k')).toBe(2);
    }
  });

  test('neither does what is no poll', async () => {
    for (const query of ['key=k', 'key=l&key=k']) {
      const { ask, longpoll } = await world({ maxHeldPerKey: 1 });
      const answers: unknown[] = [];
      longpoll.get(
        { key: 'k', since: '', hold: Number.POSITIVE_INFINITY },
        { answer: answer => answers.push(answer) },
      );
      await turn();
      expect((await ask(query)).status).toBe(429);
      expect(answers).toEqual([]);
    }
  });

  test('a poll is dropped by its name from its own address, and the request that does so counts as none', async () => {
    for (const query of ['key=k', 'key=k&key=l']) {
      const { ask, longpoll } = await world({ maxHeldPerIp: 1 });
      const held = await ask(`${query}&poll=mine`);
      const none = query.includes('l') ? '{"code":-1,"message":"timeout","cursors":["",""]}' : NONE;
      expect((await ask(`${query}&drop=other`)).text).toBe(none);
      expect((await ask(`${query}&drop=mine`, {}, { address: '198.51.100.1' })).text).toBe(none);
      expect(held.status, 'another name, another address').toBe(0);
      expect((await ask(`${query}&drop=mine`)).text).toBe(none);
      expect([held.text, longpoll.held]).toEqual([none, 0]);
      // had it been counted, there would be no room
      expect((await ask(query)).status).toBe(0);
    }
  });

  test('a drop is answered with the cursor that it came with', async () => {
    const { ask } = await world();
    expect((await ask('key=k&since=e-1&drop=a')).text).toContain('"cursor":"e-1"');
    expect((await ask('key=k&key=l&since=&since=e-2&drop=a')).text).toContain('"cursors":["","e-2"]');
  });
});

describe('while the store is away', () => {
  class Away extends MemoryBroker {
    override subscribe(): never {
      throw new Unavailable('away');
    }
  }
  const away = (options = {}) => world(options, new Away({ history: 1 }));
  const UNAVAILABLE = '{"code":-7,"message":"unavailable","retry":N}';

  test('a poll that waits not at all is unavailable', async () => {
    const { ask, counted } = await away();
    const asked = await ask('key=k&hold=0');
    expect([asked.status, withoutNumbers(asked.text)]).toEqual([503, UNAVAILABLE]);
    expect(counted[1]).toEqual(['answered', 'json', 'unavailable']);
  });

  test('one over the limit is busy', async () => {
    const { ask, counted } = await away({ maxHeld: 1 });
    await ask('key=other');
    for (const query of ['key=k', 'key=k&key=l']) expect(withoutNumbers((await ask(query)).text)).toBe(BUSY);
    expect(counted.slice(1).filter(([name]) => name === 'answered')).toEqual([
      ['answered', 'json', 'busy'],
      ['answered', 'json', 'busy'],
    ]);
  });

  test('one whose ticket ends meanwhile has expired, one whose hold does is unavailable', async () => {
    vi.useFakeTimers({ now: 1_000_000_000_000 });
    const { poll } = await away(TICKETS);
    const proof = proofOf(SECRET, 'k', 1_000_000_002);
    const [ended, held] = [1, 3].map(hold => new Asked(`/status/get?key=k&proof=${proof}&hold=${hold}`));
    for (const asked of [ended, held]) poll.handle(asked as Asked);
    await vi.advanceTimersByTimeAsync(4000);
    expect(withoutNumbers(ended?.text ?? '')).toBe(UNAVAILABLE.replace('}', ',"left":N}'));
    expect([held?.status, held?.text]).toEqual([410, EXPIRED]);
  });
});

describe('the end of a ticket', () => {
  const END = 1_000_000_060;
  const at = (ms: number) => vi.useFakeTimers({ toFake: ['Date'], now: END * 1000 + ms });
  const query = `key=k&proof=${proofOf(SECRET, 'k', END)}`;

  test('a value is given until then, and not then', async () => {
    const { ask, longpoll } = await world(TICKETS);
    await longpoll.set('k', 1, { ttl: 1000 });
    for (const more of ['', `&key=l&proof=${proofOf(SECRET, 'l', END)}`]) {
      at(-1);
      expect((await ask(query + more)).text).toMatch(/"data":1,.*"left":0.001}$/);
      at(0);
      const ended = await ask(query + more);
      expect([ended.status, ended.text]).toEqual([410, more ? EXPIRED.replace('}', ',"key":"k"}') : EXPIRED]);
    }
  });

  test('a poll that comes after it proves what its page has taken', async () => {
    const { ask, longpoll } = await world(TICKETS);
    at(-1000);
    const asked = await ask(query);
    const set = longpoll.set('k', 1, { ttl: 60_000, receipt: 60_000 });
    await asked.answered;
    at(0);
    const { cursor } = JSON.parse(asked.text) as { cursor: string };
    expect((await ask(`${query}&since=${cursor}`)).status).toBe(410);
    expect(await set).toMatchObject({ received: true });
  });

  test('so does any other poll with its cursor, and one of several keys', async () => {
    for (const more of ['', '&key=l&since=']) {
      const { ask, longpoll } = await world();
      const asked = await ask('key=k');
      const set = longpoll.set('k', 1, { ttl: 60_000, receipt: 60_000 });
      await asked.answered;
      const { cursor } = JSON.parse(asked.text) as { cursor: string };
      expect((await ask(`key=k&since=${cursor}${more}`)).status).toBe(0);
      expect(await set).toMatchObject({ received: true });
    }
  });

  test('what is left: of the key that the answer is for, or of the first ticket to end', async () => {
    const { ask, longpoll } = await world(TICKETS);
    at(-9000);
    const query = `key=k&proof=${proofOf(SECRET, 'k', END)}&key=l&proof=${proofOf(SECRET, 'l', END + 5)}`;
    expect((await ask(`${query}&hold=0`)).text).toBe(
      '{"code":-1,"message":"timeout","cursors":["",""],"left":9}',
    );
    await longpoll.set('l', 1, { ttl: 60_000 });
    expect((await ask(query)).text).toMatch(/"key":"l","data":1,.*"left":14}$/);
  });

  test('a poll without a proof proves nothing', async () => {
    const { ask, longpoll } = await world(TICKETS);
    at(-1000);
    await ask(query);
    const noticed = vi.spyOn(longpoll, 'noticePoll');
    expect((await ask('key=k&since=e-1')).status).toBe(403);
    expect(noticed).not.toHaveBeenCalled();
  });

  test('of several, the first to end answers with its key', async () => {
    vi.useFakeTimers({ now: END * 1000 });
    const { poll } = await world(TICKETS);
    const [k, l] = [proofOf(SECRET, 'k', END + 9), proofOf(SECRET, 'l', END + 2)];
    const asked = new Asked(`/status/get?key=k&proof=${k}&key=l&proof=${l}`);
    poll.handle(asked);
    await vi.advanceTimersByTimeAsync(1900);
    expect(asked.status).toBe(0);
    await vi.advanceTimersByTimeAsync(500);
    expect(asked.text).toBe('{"code":-2,"message":"expired","key":"l"}');
  });
});

describe('the log', () => {
  test.each([
    ['key=secret', { key: shortHash('secret'), hold: 60_000 }],
    ['key=secret&hold=2', { key: shortHash('secret'), hold: 2000 }],
    ['key=secret&key=l', { keys: [shortHash('secret'), shortHash('l')], hold: 60_000 }],
  ])('at debug has a line for %s', async (query, fields) => {
    const { ask, lines } = await world({ logLevel: 'debug' });
    await ask(query);
    expect(lines).toEqual([{ level: 20, time: expect.any(String), node: 'n', msg: 'asked', ...fields }]);
    const quiet = await world({ logLevel: 'info' });
    await quiet.ask(query);
    expect(quiet.lines).toEqual([]);
  });
});

test('headers of at most 1,000 origins are kept, and answers stay right after that', async () => {
  const { poll } = await world({ origins: ['https://*.shop.example'] });
  const clear = vi.spyOn(Map.prototype, 'clear');
  for (const at of [...Array(1001).keys(), 0, 1000]) {
    const origin = `https://a${at}.shop.example`;
    const asked = new Asked('/status/get?key=a+b', { origin });
    poll.handle(asked);
    expect(asked.fields['Access-Control-Allow-Origin']).toBe(origin);
    expect(clear.mock.calls.length).toBe(at < 1000 && clear.mock.calls.length === 0 ? 0 : 1);
  }
});

test('a poll of several keys that is answered for one says what is left of its ticket', () => {
  const asked = new Asked('');
  const deps = { longpoll: { draining: false }, metrics: { answered() {} } } as never;
  const poll = new SeveralPoll(deps, asked, { mode: 'json', name: '' }, { list: [], lines: '' }, 'n');
  poll.refuse({ kind: 'forbidden' }, 'k');
  expect(asked.text).toBe('{"code":-5,"message":"forbidden","key":"k"}');
});

describe('the end of something, by the wall clock', () => {
  const began = (left: number) => {
    vi.useFakeTimers({ now: 1_000_000 });
    let ends = 0;
    const expiry = new Expiry(1_000_000 + left, () => ends++);
    return { expiry, ends: () => ends };
  };
  test.each([1, 1000, 2 ** 31 - 1, 2 ** 31, 5_184_000_000])('%d ms away: on the millisecond, once', left => {
    const { ends } = began(left);
    vi.advanceTimersByTime(left - 1);
    expect(ends()).toBe(0);
    vi.advanceTimersByTime(1);
    expect([ends(), vi.getTimerCount()]).toEqual([1, 0]);
  });

  test('one that has passed is reported after the constructor has returned', () => {
    for (const left of [0, -5]) {
      const { ends } = began(left);
      expect(ends()).toBe(0);
      vi.runAllTimers();
      expect(ends()).toBe(1);
    }
  });

  test('one that is cancelled leaves nothing behind', () => {
    const { expiry, ends } = began(1000);
    expiry.cancel();
    expect(vi.getTimerCount()).toBe(0);
    vi.advanceTimersByTime(2000);
    expect(ends()).toBe(0);
  });
});

describe('origins', () => {
  const given = ['https://one.example', 'https://*.example.com', 'http://*.dev.example:8080'];
  /** 270 characters */
  const longest = `https://${'a'.repeat(250)}.example.com`;
  test.each([
    ['https://one.example', true],
    ['https://a.example.com', true],
    ['https://a.b-c.example.com', true],
    ['https://-.example.com', true],
    ['https://a_b.example.com', true],
    ['https://1.example.com', true],
    ['http://a.dev.example:8080', true],
    [longest, true],
    [longest.replace('a', 'aa'), false],
    ['https://a.dev.example:8080', false],
    ['http://a.dev.example', false],
    ['http://a.example.com', false],
    ['https://example.com', false],
    ['https://.example.com', false],
    ['https://..example.com', false],
    ['https://.a.example.com', false],
    ['https://a b.example.com', false],
    ['https://a\n.example.com', false],
    ['https:// a.example.com', false],
    ['https://evil.example/.example.com', false],
    ['https://evil.example:1.example.com', false],
    ['https://evil.example?.example.com', false],
    ['https://a.example.com.evil.example', false],
    ['https://aXexample.com', false],
    ['https://*.example.com', false],
    ['https://one.example.com:1', false],
    ['https://one.exampleundefined', false],
    ['ttps://a.example.com', false],
    ['', false],
  ])('%s: %s', (origin, allowed) => {
    const origins = new Origins(given);
    expect([origins.all, origins.allows(origin)]).toEqual([false, allowed]);
    expect(new Origins([]).all && new Origins([]).allows(origin)).toBe(true);
    expect(new Origins(['https://one.example']).allows(origin)).toBe(origin === 'https://one.example');
  });
});
