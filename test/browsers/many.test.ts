/** Several keys on one page, with client/many.js: one poll for all of them, on a page made by hand with its own clock. */
import { describe, expect, test } from 'vitest';
import { Page, type Values } from './virtual.js';

const page = () => new Page({}, {}, undefined, 'many');
const cursors = (...all: string[]) => ({ code: -1, message: 'timeout', cursors: all });

/** Watches each key. @returns what each has heard, by key, and its watch */
function watchAll(on: Page, keys: string[], options: (key: string) => Values = () => ({})) {
  const heard: Record<string, unknown[]> = {};
  const watches = keys.map(key => {
    const values: unknown[] = [];
    heard[key] = values;
    return on.watch(
      key,
      {
        onvalue: (value: unknown, info: Values) => values.push(value, info),
        onend: (reason: string) => values.push(reason),
        onerror: (error: Values) => values.push(error.code),
        ...options(key),
      },
      0,
    );
  });
  on.pass(100);
  return { heard, watches };
}
const keysOf = (on: Page) => on.asked.getAll('key');

test('ten keys, one poll, whose lists have one entry for each', () => {
  const on = page();
  const keys = Array.from({ length: 10 }, (_, i) => `k${i}`);
  watchAll(on, keys, key => ({ proof: `19.${key}`, since: key === 'k3' ? 'e-3' : undefined }));
  expect(on.polls).toHaveLength(1);
  expect(keysOf(on)).toEqual(keys);
  expect(on.asked.getAll('proof')).toEqual(keys.map(key => `19.${key}`));
  expect(on.asked.getAll('since')).toEqual(keys.map(key => (key === 'k3' ? 'e-3' : '')));
  expect(on.newest.src).toMatch(/^https:\/\/status\.example\.com\/status\/get\?/);
});

test('a value goes to its key alone, with its own cursor, and the next poll has all keys', () => {
  const on = page();
  const { heard } = watchAll(on, ['a', 'b']);
  on.answer(cursors('a-1', 'b-1'));
  on.pass(1500);
  expect(on.asked.getAll('since')).toEqual(['a-1', 'b-1']);
  on.answer({ code: 0, key: 'b', data: 3, earlier: [1, 2], lost: 4, cursor: 'b-4' });
  expect(on.asked.getAll('since')).toEqual(['a-1', 'b-4']);
  expect(heard.a).toEqual([]);
  expect(heard.b).toEqual([
    1,
    { cursor: 'b-1', lost: 4, final: false },
    2,
    { cursor: 'b-1', lost: 0, final: false },
    3,
    { cursor: 'b-4', lost: 0, final: false },
  ]);
});

test.each([
  ['a key', 'b c', {}],
  ['an empty key', '', {}],
  ['a key that is too long', 'b'.repeat(129), {}],
  ['a cursor', 'b', { since: 'e 1' }],
  ['a proof', 'b', { proof: '1&hold=0' }],
])('%s that the service refuses goes alone, and ends its watch alone', (_, key, more) => {
  const on = page();
  const { heard } = watchAll(on, ['a', key, 'c'], name => (name === key ? more : {}));
  expect(on.polls).toHaveLength(2);
  const odd = on.polls.find(({ src }) => !/&key=a&key=c$/.test(src)) as (typeof on.polls)[0];
  const query = new URL(odd.src).searchParams;
  expect([query.getAll('key'), query.getAll('since'), query.getAll('proof')]).toEqual([
    [key],
    [(more as Values).since ?? ''],
    [(more as Values).proof ?? ''],
  ]);
  on.answer({ code: -4, message: 'bad request' }, odd);
  expect(heard).toEqual({ a: [], [key]: [-4, 'bad request'], c: [] });
});

test('a final value, an end and a wrong proof end their key alone', async () => {
  const on = page();
  const { heard, watches } = watchAll(on, ['a', 'b', 'c', 'd']);
  on.answer({ code: 0, key: 'b', data: 1, cursor: 'b-1', final: true });
  on.pass(100);
  expect(heard.b).toEqual([1, { cursor: 'b-1', lost: 0, final: true }, 'final']);
  expect(keysOf(on)).toEqual(['a', 'c', 'd']);
  on.answer({ code: -2, message: 'expired', key: 'a' });
  on.pass(100);
  expect(keysOf(on)).toEqual(['c', 'd']);
  on.answer({ code: -5, message: 'forbidden', key: 'd' });
  on.pass(100);
  expect(keysOf(on)).toEqual(['c']);
  expect([heard.a, heard.d]).toEqual([['expired'], [-5, 'forbidden']]);
  expect(on.drops, 'they were answered').toEqual([]);
  // the last is an ordinary poll
  on.answer({ code: 0, data: 1, cursor: 'c-1', final: true });
  on.pass(60_000);
  expect(heard.c).toEqual([1, { cursor: 'c-1', lost: 0, final: true }, 'final']);
  expect(await Promise.all(watches.map(({ ended }) => ended))).toEqual([
    'expired',
    'final',
    'final',
    'forbidden',
  ]);
  const polls = on.polls.length;
  on.pass(120_000);
  expect(on.polls).toHaveLength(polls);
});

test('stop() leaves the others; what was held is dropped; the last stop asks no more', () => {
  const on = page();
  const { heard, watches } = watchAll(on, ['a', 'b']);
  watches[0]?.stop();
  on.pass(100);
  expect(on.drops).toHaveLength(1);
  expect(keysOf(on)).toEqual(['b']);
  watches[1]?.stop();
  const polls = on.polls.length;
  on.pass(120_000);
  expect([on.drops.length, on.polls.length]).toEqual([2, polls]);
  expect(heard).toEqual({ a: [], b: [] });
});

test('stopped by a handler while values are delivered: it hears none of the rest, and other watches lose nothing', () => {
  const on = page();
  const { heard, watches } = watchAll(on, ['a', 'b'], key =>
    key === 'a' ? { onvalue: () => watches[0]?.stop() } : {},
  );
  on.answer({ code: 0, key: 'a', data: 2, earlier: [1], cursor: 'a-2' });
  on.pass(100);
  expect(keysOf(on)).toEqual(['b']);
  on.answer({ code: 0, data: 5, cursor: 'b-1' });
  expect(heard.b).toEqual([5, { cursor: 'b-1', lost: 0, final: false }]);
});

test('a key that comes later joins the poll, with what the others have heard', () => {
  const on = page();
  watchAll(on, ['a', 'b']);
  on.answer({ code: 0, key: 'a', data: 1, cursor: 'a-1' });
  watchAll(on, ['c']);
  expect(keysOf(on)).toEqual(['a', 'b', 'c']);
  expect(on.asked.getAll('since')).toEqual(['a-1', '', '']);
});

test('more than 16 keys, the same key again, and another service: polls of their own', () => {
  const on = page();
  const keys = Array.from({ length: 17 }, (_, i) => `k${i}`);
  watchAll(on, keys);
  expect(on.polls.map(({ src }) => new URL(src).searchParams.getAll('key').length)).toEqual([16, 1]);
  watchAll(on, ['k0']);
  expect(keysOf(on)).toEqual(['k16', 'k0']);
  watchAll(on, ['k1'], () => ({ url: 'https://other.example' }));
  expect(on.newest.src).toMatch(/^https:\/\/other\.example\//);
});

test('as many long keys as the 2,048 bytes of a query hold, with cursors of usual length', () => {
  const on = page();
  watchAll(
    on,
    Array.from({ length: 16 }, (_, i) => `${i}`.padEnd(100, 'x')),
    () => ({ proof: `1900000000.${'p'.repeat(43)}`, since: 'c'.repeat(40) }),
  );
  expect(on.polls.length).toBeGreaterThan(1);
  for (const { src } of on.polls) expect(new URL(src).search.length).toBeLessThan(2048);
});

describe('tickets', () => {
  const proofs: Record<string, string> = { a: '1900000090.p', b: '1900000100.p', c: '' };

  test('each ends by its own clock, when nothing answers any more', () => {
    const on = page();
    const { heard, watches } = watchAll(on, ['a', 'b', 'c'], key => ({ proof: proofs[key] }));
    on.answer({ ...cursors('', '', ''), left: 90 });
    expect(watches.map(({ expires }) => expires && Math.round(expires - on.now))).toEqual([
      90_000,
      100_000,
      undefined,
    ]);
    const end = on.now + 90_000;
    const fail = (until: number) => {
      for (let asked = 0; on.now < until; on.pass(100))
        while (on.polls.length > asked) on.polls[asked++]?.onerror();
    };
    fail(end + 5000);
    expect(heard.a?.at(-1)).toBe('expired');
    expect(heard.b?.at(-1)).not.toBe('expired');
    fail(end + 15_000);
    expect(heard.b?.at(-1)).toBe('expired');
    expect(heard.c).not.toContain('expired');
  });

  test('`left` with a key is that of the key', () => {
    const on = page();
    const { watches } = watchAll(on, ['a', 'b', 'c'], key => ({ proof: proofs[key] }));
    on.answer({ code: 0, key: 'b', data: 1, cursor: 'b-1', left: 50 });
    expect(watches.map(({ expires }) => expires && Math.round(expires - on.now))).toEqual([
      40_000,
      50_000,
      undefined,
    ]);
  });
});

test('a final value whose set waits for a receipt: the next poll still has the key, with its cursor', () => {
  const on = page();
  const { heard } = watchAll(on, ['a', 'b']);
  on.answer({ code: 0, key: 'a', data: 1, cursor: 'a-1', final: true, receipt: true });
  expect(heard.a?.at(-1)).toBe('final');
  expect([keysOf(on), on.asked.getAll('since')]).toEqual([
    ['a', 'b'],
    ['a-1', ''],
  ]);
  on.answer({ code: -2, message: 'expired', key: 'a' });
  on.pass(100);
  expect(keysOf(on)).toEqual(['b']);
  expect(heard.a?.filter(what => what === 'final' || what === 'expired')).toEqual(['final']);
});

test('a key that joins while the line is offline is no news to the others: an answer is', () => {
  const on = page();
  const states: string[] = [];
  const options = (key: string) => ({ onstate: (state: string) => states.push(key + state) });
  watchAll(on, ['a'], options);
  for (let failures = 0; failures < 2; failures++) {
    on.newest.onerror();
    on.pass(2000);
  }
  expect(states).toEqual(['awaiting', 'aoffline']);
  watchAll(on, ['b'], options);
  expect(states.slice(2)).toEqual(['bwaiting']);
  on.answer(cursors('', ''));
  expect(states.slice(3)).toEqual(['awaiting']);
});

test.each([
  ['an element', { id: 'Zone' }],
  ['a function of the page', () => {}],
])('a Zone that is %s is no zone', (_, Zone) => {
  const on = new Page({}, { Zone }, undefined, 'many');
  const { heard } = watchAll(on, ['a']);
  on.answer({ code: 0, data: 1, cursor: 'a-1' });
  expect(heard.a?.[0]).toBe(1);
});

test('what is about all keys goes to all', () => {
  const on = page();
  const states: string[] = [];
  const { heard } = watchAll(on, ['a', 'b'], key => ({
    onstate: (state: string) => states.push(key + state),
  }));
  on.answer({ code: -3, message: 'busy', retry: 1000 });
  on.pass(3000);
  on.answer(cursors('', ''));
  on.pass(1000);
  expect(states).toEqual(['awaiting', 'bwaiting', 'abusy', 'bbusy', 'awaiting', 'bwaiting']);
  on.answer({ code: -5, message: 'forbidden' });
  expect(heard).toEqual({ a: [-3, -5, 'forbidden'], b: [-3, -5, 'forbidden'] });
  expect(states.slice(-2)).toEqual(['aended', 'bended']);
  const polls = on.polls.length;
  on.pass(60_000);
  expect(on.polls).toHaveLength(polls);
});

test('the script of one key has nothing of it', () => {
  const on = new Page();
  watchAll(on, ['a', 'b']);
  expect(on.polls).toHaveLength(2);
});
