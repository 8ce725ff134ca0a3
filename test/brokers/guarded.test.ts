/** A broker of the app's behind its guard, each method by itself, in virtual time. Together: failing.test.ts. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import {
  type Backlog,
  type Broker,
  Conflict,
  type Entry,
  type Events,
  type Receipt,
  Unavailable,
  WrongStore,
} from '../../src/brokers/broker.js';
import { brokerContract } from '../../src/brokers/contract/contract.js';
import { GuardedBroker } from '../../src/brokers/guarded.js';
import { MemoryBroker } from '../../src/brokers/memory.js';
import { createTagwait, Misconfigured } from '../../src/index.js';
import { LIMIT, never, Whole } from './whole.js';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
});
afterEach(() => void vi.useRealTimers());

describe('each call', () => {
  const nothing: Events = {
    entry() {},
    gap() {},
    held: () => 1,
    drop() {},
    receipt() {},
    describe: () => ({ id: 'n', held: 0, version: '0', uptime: 0 }),
  };
  function guarded(own: object = {}) {
    const broker = Object.assign(new Whole({ history: 4 }), own);
    const lines: { method: string; times: number; err: Error }[] = [];
    const error = (fields: object, message: string) => {
      expect(message).toBe('the broker failed');
      lines.push(fields as never);
    };
    const logged = () => lines.splice(0).map(({ method, times, err }) => `${method} ${times} ${err.message}`);
    return { broker, logged, lines, guard: new GuardedBroker(broker, { error } as never) };
  }
  const refusal = (work: Promise<unknown>) =>
    work.then(
      () => undefined,
      error => error as Error,
    );

  test('keeps the promises of a broker', async () => {
    vi.useRealTimers();
    for (const { run } of brokerContract(1))
      await run(() => guarded({ lease: Number.POSITIVE_INFINITY }).guard);
  });

  test('passes the errors of a broker where a method may throw them, without a log line', async () => {
    const conflict = new Conflict('expect', 'a-1');
    const away = new Unavailable('away');
    const { guard, logged } = guarded({
      set: () => Promise.reject(conflict),
      peek: () => Promise.reject(away),
      start: () => Promise.reject(new WrongStore('wrong')),
    });
    expect(await refusal(guard.set('k', '1', { ttl: 1 }))).toBe(conflict);
    expect(await refusal(guard.peek('k'))).toBe(away);
    expect(await refusal(guard.start(nothing))).toBeInstanceOf(WrongStore);
    expect(logged()).toEqual([]);
  });

  test('makes any other error an Unavailable with its cause, and logs each kind once a minute', async () => {
    let cause: unknown = new TypeError('first\nsecond');
    const { guard, lines, logged } = guarded({
      set: () => {
        throw cause;
      },
      peek: () => Promise.reject(new Conflict('expect', 'a-1')),
    });
    const failed = async (error: unknown, message: string) => {
      cause = error;
      expect(await refusal(guard.set('k', '1', { ttl: 1 }))).toMatchObject({
        name: 'Unavailable',
        message: `the broker failed: set: ${message}`,
        cause: error,
      });
    };
    await failed(cause, 'first');
    await failed(new TypeError('next'), 'next');
    expect(lines[0]?.err).toBeInstanceOf(TypeError);
    expect(logged()).toEqual(['set 1 first\nsecond']);
    await failed(Object.assign(new Error(''), { code: 'ECONNREFUSED' }), 'ECONNREFUSED');
    await failed(Object.assign(new Error('too'), { code: 'ECONNREFUSED' }), 'too');
    await failed(new Error(''), 'an error without a message');
    await failed(undefined, 'undefined instead of an error');
    await failed(5, 'number instead of an error');
    await failed(null, 'null instead of an error');
    await failed('text\nmore', 'text');
    await failed({ message: 5 }, 'an error without a message');
    // the empty message is that of the error itself; what is no error is logged as one
    expect(logged()).toEqual(['set 1 ', 'set 1 ', 'set 1 undefined instead of an error']);
    vi.advanceTimersByTime(60_000);
    await failed(new TypeError('later'), 'later');
    expect(logged()).toEqual(['set 2 later']);
    expect(await refusal(guard.peek('k'))).toBeInstanceOf(Unavailable);
    expect(logged()).toEqual(['peek 1 another value was set first']);
  });

  test.each(['set', 'subscribe', 'verify', 'peek', 'nodes'] as const)('%s has ten seconds', async method => {
    const { guard, logged } = guarded({ [method]: never });
    const failure = refusal((guard[method] as (...given: unknown[]) => Promise<unknown>)('k', '1', {}));
    await vi.advanceTimersByTimeAsync(LIMIT - 1);
    expect(logged()).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(await failure).toMatchObject({
      name: 'Unavailable',
      message: `the broker failed: ${method}: no answer within 10000 ms`,
    });
    expect(logged()).toEqual([`${method} 1 no answer within 10000 ms`]);
  });

  test('close has a second, and its errors end there', async () => {
    const { guard, logged } = guarded({ close: never });
    const closed = guard.close();
    await vi.advanceTimersByTimeAsync(1000);
    await closed;
    expect(logged()).toEqual(['close 1 no answer within 1000 ms']);
    const thrown = () => {
      throw new Error('c');
    };
    for (const close of [async () => thrown(), thrown]) {
      const failing = guarded({ close });
      await failing.guard.close();
      expect(failing.logged()).toEqual(['close 1 c']);
    }
  });

  test('start has ten seconds, then it goes on; what it says late is logged', async () => {
    let fail = (_: Error) => {};
    const { guard, logged } = guarded({
      start: () =>
        new Promise((_, reject) => {
          fail = reject;
        }),
    });
    const started = guard.start(nothing);
    await vi.advanceTimersByTimeAsync(LIMIT);
    await started;
    expect(logged()).toEqual(['start 1 no answer within 10000 ms']);
    fail(new WrongStore('wrong'));
    await vi.advanceTimersByTimeAsync(1);
    expect(logged()).toEqual(['start 1 wrong']);
    expect(
      await refusal(guarded({ start: () => Promise.reject(new Error('raw')) }).guard.start(nothing)),
    ).toMatchObject({ code: 'TAGWAIT_UNAVAILABLE', message: 'the broker failed: start: raw' });
  });

  test('calls of a key take effect in their order', () => {
    const calls: string[] = [];
    const { guard } = guarded({
      subscribe: (key: string) => calls.push(`subscribe ${key}`),
      unsubscribe: (key: string) => calls.push(`unsubscribe ${key}`),
    });
    void refusal(guard.subscribe('k', ''));
    guard.unsubscribe('k');
    void refusal(guard.subscribe('k', ''));
    expect(calls).toEqual(['subscribe k', 'unsubscribe k', 'subscribe k']);
  });

  test('an optional method that the broker does not have', async () => {
    const { guard, logged } = guarded({ prove: undefined, verify: undefined, drop: undefined });
    expect(guard.prove).toBe(undefined);
    expect(await guard.verify([])).toEqual([]);
    guard.drop('k', 'name', 'from');
    await vi.advanceTimersByTimeAsync(1);
    expect(logged()).toEqual([]);
    const proved: string[] = [];
    guarded({ prove: (...given: string[]) => proved.push(...given) }).guard.prove?.('k', 'a-1');
    expect(proved).toEqual(['k', 'a-1']);
  });

  test('a status that fails is a store that is away', async () => {
    let status: () => unknown = () => ({ up: true, reconnects: 3 });
    const { guard, logged } = guarded({ status: () => status() });
    expect(guard.status()).toEqual({ up: true, cause: undefined, reconnects: 3 });
    const away = (cause: string) => ({
      up: false,
      cause: `the broker failed: status: ${cause}`,
      reconnects: 3,
    });
    status = () => {
      throw new Error('s');
    };
    expect(guard.status()).toEqual(away('s'));
    for (const given of [undefined, null, 5]) {
      status = () => given;
      expect(guard.status()).toEqual(
        away(`the status: give an object, not ${given === null ? 'null' : typeof given}`),
      );
    }
    status = () => Promise.reject(new Error('s'));
    expect(guard.status()).toEqual(away('up: give true or false'));
    status = () => ({ up: false, cause: 'first\nsecond' });
    expect(guard.status()).toEqual({ up: false, cause: 'first', reconnects: 0 });
    status = () => ({ up: false, cause: new Error('an error') });
    expect(guard.status().cause).toBe('an error');
    status = () => ({ up: true, reconnects: 'x' });
    expect(guard.status().cause).toBe('the broker failed: status: reconnects: give a number');
    status = () => ({ up: false, cause: null });
    expect(guard.status().cause).toBe(undefined);
    expect(logged()).toEqual(['status 1 s', 'status 1 the status: give an object, not undefined']);
  });

  const ENTRY: Entry = {
    value: '{"a":1}',
    cursor: 'a-2',
    prev: 'a-1',
    final: false,
    receipt: undefined,
    at: undefined,
  };
  const BACKLOG: Backlog = { entries: [ENTRY], lost: 0, cursor: 'a-2', final: false };
  const RECEIPT: Receipt = { cursor: 'a-1', watched: true };
  const PEEK = {
    entries: [{ value: '1', cursor: 'a-1' }],
    cursor: 'a-1',
    final: true,
    ttl: 1,
    waiters: { n: 1 },
  };
  const NODE = { id: 'n', held: 0, version: '0', uptime: 1 };
  const odd = (good: object, ...fields: string[]) =>
    fields.flatMap(field => [null, 'x', Number.NaN, {}].map(one => ({ ...good, [field]: one })));
  const oddEntries = [
    ...odd(ENTRY, 'value', 'cursor', 'prev', 'final', 'receipt', 'at'),
    { ...ENTRY, value: '</script>' },
    { ...ENTRY, value: '{"__proto__":1}' },
    { ...ENTRY, cursor: '' },
    { ...ENTRY, cursor: 'a-1.b-2' },
    null,
  ];

  const POSITION = 'give a position such as "k3-2"';
  const FLAG = 'give true or false';
  const OBJECT = 'give an object, not';
  test.each<[keyof Broker, good: unknown[], bad: unknown[], messages: string[]]>([
    [
      'set',
      [RECEIPT, { ...RECEIPT, repeated: true, received: false }],
      [...odd(RECEIPT, 'cursor', 'watched', 'repeated', 'received'), { watched: true }, 5, null],
      [
        `cursor: ${POSITION}`,
        ...['watched', 'repeated', 'received'].map(flag => `${flag}: ${FLAG}`),
        ...['number', 'null'].map(kind => `the receipt: ${OBJECT} ${kind}`),
      ],
    ],
    [
      'subscribe',
      [BACKLOG, { ...BACKLOG, entries: [], cursor: '', wanted: ['a-1'] }],
      [
        ...odd(BACKLOG, 'entries', 'lost', 'cursor', 'final', 'wanted'),
        { ...BACKLOG, wanted: ['x'] },
        null,
        ...oddEntries.map(entry => ({ ...BACKLOG, entries: [entry] })),
      ],
      [
        'entries: give an array',
        'lost: give a number',
        `cursor: ${POSITION}`,
        `final: ${FLAG}`,
        'wanted: give an array',
        `wanted: ${POSITION}`,
        `the backlog: ${OBJECT} null`,
        'value: give the JSON text that was set',
        ...['cursor', 'prev'].map(field => `${field} of an entry: ${POSITION}`),
        ...['final', 'receipt'].map(field => `${field} of an entry: ${FLAG}`),
        'at of an entry: give a number',
        `an entry: ${OBJECT} null`,
      ],
    ],
    [
      'peek',
      [PEEK, { ...PEEK, entries: [], cursor: '', waiters: {} }],
      [
        null,
        ...odd(PEEK, 'entries', 'cursor', 'final', 'ttl'),
        ...[null, { n: 'x' }].map(waiters => ({ ...PEEK, waiters })),
        ...[...odd(PEEK.entries[0] as object, 'value', 'cursor'), null].map(entry => ({
          ...PEEK,
          entries: [entry],
        })),
      ],
      [
        `what peek returns: ${OBJECT} null`,
        'entries: give an array',
        `cursor: ${POSITION}`,
        `final: ${FLAG}`,
        'ttl: give a number',
        `waiters: ${OBJECT} null`,
        'waiters: give a number',
        'value: give the JSON text that was set',
        `cursor of an entry: ${POSITION}`,
        `an entry: ${OBJECT} null`,
      ],
    ],
    [
      'nodes',
      [[NODE], []],
      [
        ...odd(NODE, 'held', 'uptime').map(one => [one]),
        ...['id', 'version'].map(field => [{ ...NODE, [field]: 5 }]),
        {},
        [null],
      ],
      [
        ...['held', 'uptime'].map(field => `${field} of a node: give a number`),
        ...['id', 'version'].map(field => `${field} of a node: give a text`),
        'the nodes: give an array',
        `a node: ${OBJECT} null`,
      ],
    ],
    ['verify', [[], ['k']], [undefined, [5], 'k', {}], ['the keys: give an array', 'a key: give a text']],
  ])('%s returns the types of a broker, or it has failed', async (method, good, bad, messages) => {
    let given: unknown;
    const { guard, lines } = guarded({ [method]: () => given });
    const call = () => (guard[method] as (...args: unknown[]) => Promise<unknown>)('k', '', {});
    for (given of good) expect(await call()).toEqual(given);
    expect(lines).toEqual([]);
    const said = new Set<string>();
    for (given of bad) {
      const error = await refusal(call());
      expect(error, JSON.stringify(given)).toBeInstanceOf(Unavailable);
      said.add(error?.message ?? '');
    }
    expect([...said]).toEqual(messages.map(message => `the broker failed: ${method}: ${message}`));
  });

  test.each(['unsubscribe', 'drop', 'prove'] as const)('%s ends with a log line at most', async method => {
    let work: () => unknown = () => undefined;
    const given: unknown[] = [];
    const { guard, logged } = guarded({
      [method]: (...all: unknown[]) => {
        given.push(...all);
        return work();
      },
    });
    const call = async () => {
      (guard[method] as (...args: string[]) => void)('k', 'a-1', 'from');
      await vi.advanceTimersByTimeAsync(60_000);
    };
    await call();
    expect(given).toEqual(['k', 'a-1', 'from'].slice(0, { unsubscribe: 1, prove: 2, drop: 3 }[method]));
    expect(logged()).toEqual([]);
    const thrown = () => {
      throw new Error('c');
    };
    for (work of [thrown, async () => thrown()]) {
      await call();
      expect(logged()).toEqual([`${method} 1 c`]);
    }
  });

  test('a subscribe during which something was reported leaves a turn to other work', async () => {
    let report = (_: Events) => {};
    const { broker, guard } = guarded({
      subscribe: () => {
        report(broker.events);
        return BACKLOG;
      },
    });
    await guard.start(nothing);
    const turns = async () => {
      let others = 0;
      setImmediate(() => others++);
      await guard.subscribe('k', '');
      return others;
    };
    expect(await turns()).toBe(0);
    report = events => events.gap('k');
    expect(await turns()).toBe(1);
    report = events => events.entry('k', ENTRY);
    expect(await turns()).toBe(1);
  });

  test.each<[string, (events: Events) => void]>([
    ['events.entry 1 key: give a text', events => events.entry(5 as never, ENTRY)],
    ['events.gap 1 key: give a text', events => events.gap(5 as never)],
    ['events.drop 1 key: give a text', events => events.drop(5 as never, 'name', 'from')],
    ['events.drop 1 name: give a text', events => events.drop('k', 5 as never, 'from')],
    ['events.receipt 1 key: give a text', events => events.receipt?.(5 as never, 'a-1', 'wanted')],
    [`events.receipt 1 position: ${POSITION}`, events => events.receipt?.('k', 'x', 'wanted')],
    [
      'events.receipt 1 state: give "wanted" or "proved"',
      events => events.receipt?.('k', 'a-1', 'x' as never),
    ],
  ])('a wrong report is logged: %s', async (line, report) => {
    const { broker, guard, logged } = guarded();
    const gaps: unknown[] = [];
    await guard.start({ ...nothing, gap: key => void gaps.push(key) });
    report(broker.events);
    expect(logged()).toEqual([line]);
    await guard.close();
    report(broker.events);
    broker.events.entry('k', undefined as never);
    vi.advanceTimersByTime(60_000);
    expect(logged()).toEqual([]);
    expect(gaps).toEqual([]);
  });

  test('nothing is read again for what is reported after close', async () => {
    const { broker, guard } = guarded();
    const gaps: unknown[] = [];
    await guard.start({ ...nothing, gap: key => void gaps.push(key) });
    await guard.close();
    broker.events.entry('k', undefined as never);
    vi.advanceTimersByTime(60_000);
    expect(gaps).toEqual([]);
  });

  test('what may be left out has a default', async () => {
    const { guard } = guarded({
      subscribe: () => ({ entries: [{ value: '1', cursor: 'a-1', prev: '' }], cursor: 'a-1' }),
      peek: () => ({ entries: [], cursor: '', ttl: 0 }),
    });
    expect(await guard.subscribe('k', '')).toEqual({
      ...BACKLOG,
      cursor: 'a-1',
      entries: [{ ...ENTRY, value: '1', cursor: 'a-1', prev: '' }],
    });
    expect(await guard.peek('k')).toEqual({ entries: [], cursor: '', final: false, ttl: 0, waiters: {} });
  });

  test('values are rendered again, and keep their digits', async () => {
    const big = '12345678901234567168';
    let value = '["<", "\u2028"]';
    const { guard } = guarded({
      subscribe: () => ({ ...BACKLOG, entries: [{ ...ENTRY, value }] }),
      peek: () => ({ ...PEEK, entries: [{ value, cursor: 'a-1' }] }),
    });
    const values = async () => [
      (await guard.subscribe('k', '')).entries[0]?.value,
      (await guard.peek('k')).entries[0]?.value,
    ];
    expect(await values()).toEqual(['["\\u003c","\\u2028"]', '["\\u003c","\\u2028"]']);
    value = big;
    expect(await values()).toEqual([big, big]);
  });

  test('reports are checked; the key of a refused entry is read again after a second, once', async () => {
    const heard: unknown[][] = [];
    const hear =
      (name: string) =>
      (...given: unknown[]) =>
        void heard.push([name, ...given]);
    const events = {
      ...nothing,
      entry: hear('entry'),
      gap: hear('gap'),
      drop: hear('drop'),
      receipt: hear('receipt'),
    };
    const { broker, guard, logged } = guarded();
    await guard.start(events as Events);
    const { events: said } = broker;
    const all = () => heard.splice(0);
    said.entry('k', { ...ENTRY, value: '"<"', receipt: true, at: 5 });
    said.gap();
    said.gap('k');
    said.drop('k', 'name', 'from');
    said.receipt?.('k', 'a-1', 'wanted');
    said.receipt?.('k', 'a-1', 'proved');
    expect(all()).toEqual([
      ['entry', 'k', { ...ENTRY, value: '"\\u003c"', receipt: true, at: 5 }],
      ['gap'],
      ['gap', 'k'],
      ['drop', 'k', 'name', 'from'],
      ['receipt', 'k', 'a-1', 'wanted'],
      ['receipt', 'k', 'a-1', 'proved'],
    ]);
    expect([said.held('k'), said.describe().id]).toEqual([1, 'n']);
    expect(logged()).toEqual([]);

    for (const entry of oddEntries) said.entry('k', entry as never);
    said.drop('k', 'name', 5 as never);
    for (const given of [
      [5, 'a-1', 'wanted'],
      ['k', 'x', 'wanted'],
      ['k', 'a-1', 'other'],
    ])
      said.receipt?.(...(given as [string, string, 'wanted']));
    expect(logged()).toEqual([
      'events.entry 1 value: give the JSON text that was set',
      'events.drop 1 from: give a text',
      'events.receipt 1 key: give a text',
    ]);
    vi.advanceTimersByTime(999);
    expect(all()).toEqual([]);
    said.entry('other', undefined as never);
    vi.advanceTimersByTime(1);
    expect(all()).toEqual([
      ['gap', 'k'],
      ['gap', 'other'],
    ]);
    said.entry('k', undefined as never);
    said.entry(5 as never, ENTRY);
    vi.advanceTimersByTime(1000);
    expect(all()).toEqual([['gap', undefined]]);
    said.gap(5 as never);
    vi.advanceTimersByTime(1000);
    expect(all()).toEqual([['gap', undefined]]);
    vi.advanceTimersByTime(5000);
    said.entry('k', undefined as never);
    await guard.close();
    said.entry('k', ENTRY);
    said.entry('k', undefined as never);
    said.gap();
    said.drop('k', 'name', 'from');
    said.receipt?.('k', 'a-1', 'wanted');
    vi.advanceTimersByTime(1000);
    expect(all()).toEqual([]);
  });
});

test.each<[string, unknown, RegExp]>([
  ['null', null, /^broker: null is no broker; give an object with the methods/],
  ['a number', 5, /^broker: number is no broker/],
  ['a class', MemoryBroker, /^broker: a function or class is no broker/],
  ['an empty object', {}, /lacks start;[\s\S]*lacks subscribe;[\s\S]*lacks lease, in ms above 0/],
  [
    'a lease that is a text',
    Object.assign(new Whole({ history: 1 }), { lease: '900' }),
    /^broker: lacks lease/,
  ],
  [
    'a lease of a month',
    Object.assign(new Whole({ history: 1 }), { lease: 2 ** 31 }),
    /^broker: lacks lease/,
  ],
  ['no verify', Object.assign(new Whole({ history: 1 }), { verify: undefined }), /^broker: lacks verify/],
  [
    'optional methods that are none',
    Object.assign(new Whole({ history: 1 }), { prove: true, drop: null, verify: 5 }),
    /^broker: verify is no function[\s\S]*drop is no function[\s\S]*prove is no function/,
  ],
])('createTagwait refuses a broker that is none, and names what is wrong: %s', async (_, broker, message) => {
  const made = createTagwait({ broker: broker as Broker, logLevel: 'silent' });
  await expect(made).rejects.toBeInstanceOf(Misconfigured);
  await expect(made).rejects.toThrow(message);
});

test('a lease of 24 days is allowed', async () => {
  const broker = Object.assign(new Whole({ history: 1 }), { lease: 2 ** 31 - 1 });
  await (await createTagwait({ broker, logLevel: 'silent' })).close();
});
