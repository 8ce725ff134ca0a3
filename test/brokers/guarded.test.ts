/** A broker of the app's that fails, in every method and in every way, and what requests are answered meanwhile. */
import { createServer, request } from 'node:http';
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import {
  type Backlog,
  type Broker,
  Conflict,
  type Entry,
  type Events,
  type Known,
  type Receipt,
  Unavailable,
  WrongStore,
} from '../../src/brokers/broker.js';
import { brokerContract, HISTORY } from '../../src/brokers/contract/contract.js';
import { GuardedBroker } from '../../src/brokers/guarded.js';
import { MemoryBroker } from '../../src/brokers/memory.js';
import { createTagwait, Misconfigured, type Tagwait } from '../../src/index.js';
import { listen } from '../harness.js';

/** A store in memory with all methods of a broker. */
class Whole extends MemoryBroker {
  override readonly lease: number = 900;
  events!: Events;
  override start(events: Events) {
    this.events = events;
    return super.start(events);
  }
  async verify(_known: readonly Known[]): Promise<string[]> {
    return [];
  }
  drop(_key: string, _name: string, _from: string): void {}
}

const never = () => new Promise<never>(() => {});
const LIMIT = 10_000;
const WAYS: Record<string, (this: Whole, work: () => unknown) => unknown> = {
  'throws a TypeError': () => {
    throw new TypeError('no such thing');
  },
  'throws undefined': () => {
    throw undefined;
  },
  'rejects with a TypeError': () => Promise.reject(new TypeError('no such thing')),
  'rejects with undefined': () => Promise.reject(undefined),
  'rejects with a text': () => Promise.reject('text'),
  'rejects with another error of a broker': () => Promise.reject(new WrongStore('wrong')),
  'rejects with an object of no class': () => Promise.reject(Object.create(null)),
  'throws a Conflict': () => {
    throw new Conflict('expect', 'a-1');
  },
  'returns undefined': () => undefined,
  'returns a number': async () => 5,
  'returns an empty object': async () => ({}),
  'returns null in its fields': async () => ({ cursor: null, entries: null, up: null, watched: null }),
  'returns a list of nothing': async () => [null],
  hangs: never,
  'answers late': work => new Promise(resolve => setTimeout(resolve, 12_000)).then(work),
  'reports garbage': function (work) {
    garble(this.events);
    return work();
  },
};
const METHODS = [
  ...[
    'start',
    'set',
    'subscribe',
    'unsubscribe',
    'verify',
    'drop',
    'prove',
    'peek',
    'nodes',
    'status',
    'close',
  ],
] as (keyof Broker)[];

/** Calls everything that a broker may call, with what it may not. */
function garble(events: Events): void {
  const odd = [undefined, null, 5, {}, 'k', [], () => {}] as never[];
  const entry = { value: '1', cursor: 'a-1', prev: '', final: false };
  for (const one of odd) {
    events.entry(one, one);
    events.entry('held', one);
    events.entry('held', { ...entry, value: one });
    events.entry('held', { ...entry, cursor: one });
    events.entry('held', { ...entry, prev: one });
    events.gap(one);
    events.held(one);
    events.drop(one, one, one);
    events.receipt?.(one, one, one);
    events.receipt?.('held', one, 'wanted');
  }
  events.entry('held', { ...entry, value: '</script>' });
}

const real = setTimeout;
/** requests and responses that are between a client and its server: time waits for them */
let onTheWay = 0;
/** Lets virtual time pass until the promise is settled, with some of the real time for sockets. */
async function pass<T>(promise: Promise<T>): Promise<T> {
  let settled = false;
  const mark = () => {
    settled = true;
  };
  promise.then(mark, mark);
  for (let steps = 0; !settled && steps < 2000; steps++) {
    do await new Promise(resolve => real(resolve, 1));
    while (onTheWay > 0);
    await vi.advanceTimersByTimeAsync(50);
  }
  if (!settled) throw new Error('not settled');
  return promise;
}

const unhandled: unknown[] = [];
const note = (error: unknown) => void unhandled.push(error);
beforeEach(() => {
  unhandled.length = 0;
  process.on('unhandledRejection', note);
  process.on('uncaughtException', note);
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
  process.off('unhandledRejection', note);
  process.off('uncaughtException', note);
});

/** One server for each port; the first part of a path is the number of the case. */
async function ports() {
  const apps: Tagwait[] = [];
  const at = async (side: 'publicListener' | 'internalListener') => {
    const server = createServer((incoming, response) => {
      const [, number, path] = /^\/(\d+)(.*)$/.exec(incoming.url ?? '') ?? [];
      incoming.url = path ?? '';
      onTheWay--;
      response.on('finish', () => onTheWay++);
      apps[Number(number)]?.[side](incoming, response);
    });
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    return listen(server);
  };
  return { apps, publicUrl: await at('publicListener'), internalUrl: await at('internalListener') };
}

interface Answered {
  status: number;
  text: string;
  body: Record<string, unknown>;
  /** virtual ms */
  took: number;
}
function ask(url: string, body?: object): Promise<Answered> {
  const from = performance.now();
  onTheWay++;
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json' };
    const sent = request(url, { agent: false, method: body ? 'POST' : 'GET', headers }, async response => {
      let text = '';
      for await (const part of response) text += part;
      onTheWay--;
      const parsed = text.startsWith('{') ? JSON.parse(text) : {};
      resolve({ status: response.statusCode as number, text, body: parsed, took: performance.now() - from });
    });
    sent.on('error', reject).end(body && JSON.stringify(body));
  });
}

/** What is wrong with an answer. */
function wrong(what: string, answer: Answered, statuses: number[], limit: number): string[] {
  const faults: string[] = [];
  if (!statuses.includes(answer.status)) faults.push(`${what}: ${answer.status} ${answer.text.slice(0, 80)}`);
  if (answer.took > limit + 1000) faults.push(`${what}: answered after ${answer.took} ms`);
  if (answer.status === 200 && what === 'set' && !/^[a-z0-9]+-\d+$/.test(String(answer.body.cursor)))
    faults.push(`set: stored at ${answer.body.cursor}`);
  return faults;
}

/** One case: a held poll, then the failure with requests of every kind, then a set that is heard, and the end. */
async function faultsOf(
  method: keyof Broker,
  way: keyof typeof WAYS,
  urls: { pub: string; own: string },
  mount: (app: Tagwait) => void,
): Promise<string[]> {
  const broker = new Whole({ history: 4 });
  let bad = method === 'start';
  const whole = (broker as unknown as Record<string, (...given: unknown[]) => unknown>)[method]?.bind(broker);
  const odd = (...given: unknown[]) => {
    if (method === 'start') broker.events = given[0] as Events;
    return bad ? WAYS[way]?.call(broker, () => whole?.(...given)) : whole?.(...given);
  };
  Object.assign(broker, { [method]: odd });
  const made = await createTagwait({ broker, logLevel: 'silent', hold: 25 }).catch(error => error as Error);
  if (made instanceof Error) {
    const { code, name } = made as NodeJS.ErrnoException;
    return method === 'start' && name && code?.startsWith('TAGWAIT_') ? [] : [`createTagwait: ${made}`];
  }
  const faults: string[] = [];
  mount(made);
  if (method === 'start') await whole?.(broker.events);
  const held = ask(`${urls.pub}/status/get?key=held&hold=5`);
  await ask(`${urls.pub}/status/get?key=other&hold=1`);
  bad = true;
  const [polled, atOnce, dropped, stored, taken, ...looks] = await Promise.all([
    ask(`${urls.pub}/status/get?key=new&hold=3`),
    ask(`${urls.pub}/status/get?key=new&hold=0`),
    ask(`${urls.pub}/status/get?key=new&hold=0.5&drop=gone`),
    ask(`${urls.own}/status/set`, { key: 'new', value: 1 }),
    ask(`${urls.own}/status/set`, { key: 'new', value: 2, receipt: 1 }),
    ...['/readyz', '/metrics', '/nodes', '/status/peek?key=new'].map(path => ask(`${urls.own}${path}`)),
  ]);
  faults.push(...wrong('held poll', await held, [200, 503], 5000));
  faults.push(...wrong('poll', polled, [200, 503], 3000));
  faults.push(...wrong('poll at once', atOnce, [200, 503], LIMIT));
  faults.push(...wrong('poll that drops', dropped, [200, 503], 500));
  for (const one of [stored, taken])
    faults.push(...wrong('set', one, method === 'set' ? [200, 503, 409] : [200, 503], LIMIT + 1000));
  for (const [at, one] of looks.entries()) faults.push(...wrong(`look ${at}`, one, [200, 503], LIMIT));
  if (looks[1]?.status !== 200) faults.push(`/metrics: ${looks[1]?.status}`);
  const [ready] = looks;
  if (
    method === 'status' &&
    way !== 'reports garbage' &&
    !/the broker failed: status/.test(ready?.text ?? '')
  )
    faults.push(`/readyz: ${ready?.text}`);
  bad = false;
  if (way === 'reports garbage') garble(broker.events);
  faults.push(...(await recovered(broker, urls)));
  bad = true;
  const from = performance.now();
  await made.close().catch(error => faults.push(`close: ${error}`));
  if (performance.now() - from > 1500) faults.push(`close: took ${performance.now() - from} ms`);
  garble(broker.events);
  broker.events.entry('held', { value: '1', cursor: 'a-1', prev: '', final: false });
  return faults;
}

/** The broker works again: a poll hears a set. */
async function recovered(broker: Whole, urls: { pub: string; own: string }): Promise<string[]> {
  const poll = ask(`${urls.pub}/status/get?key=again&hold=8`);
  await new Promise(resolve => setTimeout(resolve, 500));
  const again = await ask(`${urls.own}/status/set`, { key: 'again', value: 'heard' });
  const heard = await poll;
  const ready = await ask(`${urls.own}/readyz`);
  return [
    ...wrong('set', again, [200], 1000),
    ...(heard.body.data === 'heard' ? [] : [`the poll did not hear: ${heard.text}`]),
    ...(heard.took < 2000 ? [] : [`the poll heard after ${heard.took} ms`]),
    ...(ready.status === 200 ? [] : [`/readyz: ${ready.text}`]),
    ...(broker.status().up ? [] : ['not up']),
  ];
}

test('whatever a method does, every request is answered in time, nothing is unhandled, and a set is heard afterwards', async () => {
  const { apps, publicUrl, internalUrl } = await ports();
  const cases = METHODS.flatMap(method => Object.keys(WAYS).map(way => [method, way] as const));
  const all = Promise.all(
    cases.map(async ([method, way], number) => {
      const urls = { pub: `${publicUrl}/${number}`, own: `${internalUrl}/${number}` };
      const mount = (app: Tagwait) => {
        apps[number] = app;
      };
      const faults = await faultsOf(method, way, urls, mount);
      return faults.map(fault => `${method} ${way}: ${fault}`);
    }),
  );
  expect((await pass(all)).flat()).toEqual([]);
  expect(unhandled).toEqual([]);
}, 60_000);

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

  test.each<[keyof Broker, unknown[], unknown[]]>([
    [
      'set',
      [RECEIPT, { ...RECEIPT, repeated: true, received: false }],
      [
        ...odd(RECEIPT, 'cursor', 'watched', 'repeated', 'received'),
        { watched: true },
        { cursor: 'a-1' },
        5,
        null,
      ],
    ],
    [
      'subscribe',
      [BACKLOG, { ...BACKLOG, entries: [], cursor: '', wanted: ['a-1'] }],
      [
        ...odd(BACKLOG, 'entries', 'lost', 'cursor', 'final', 'wanted'),
        { ...BACKLOG, wanted: ['x'] },
        ...oddEntries.map(entry => ({ ...BACKLOG, entries: [entry] })),
      ],
    ],
    [
      'peek',
      [PEEK, { ...PEEK, entries: [], cursor: '', waiters: {} }],
      [
        ...odd(PEEK, 'entries', 'cursor', 'final', 'ttl'),
        ...[null, 'x', 5, { n: 'x' }].map(waiters => ({ ...PEEK, waiters })),
        ...odd(PEEK.entries[0] as object, 'value', 'cursor').map(entry => ({ ...PEEK, entries: [entry] })),
      ],
    ],
    [
      'nodes',
      [[NODE], []],
      [
        ...odd(NODE, 'held', 'uptime').map(one => [one]),
        [{ ...NODE, id: 5 }],
        [{ ...NODE, version: 5 }],
        {},
        [null],
      ],
    ],
    ['verify', [[], ['k']], [[5], 'k', {}]],
  ])('%s returns the types of a broker, or it has failed', async (method, good, bad) => {
    let given: unknown;
    const { guard, lines } = guarded({ [method]: async () => given });
    const call = () => (guard[method] as (...args: unknown[]) => Promise<unknown>)('k', '', {});
    for (given of good) expect(await call()).toEqual(given);
    expect(lines).toEqual([]);
    for (given of bad) {
      const error = await refusal(call());
      expect(error, JSON.stringify(given)).toBeInstanceOf(Unavailable);
      expect(error?.message).toMatch(/: give /);
      expect(error?.message).not.toContain('script');
    }
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
  const broker = Object.assign(new Whole({ history: HISTORY }), { lease: 2 ** 31 - 1 });
  await (await createTagwait({ broker, logLevel: 'silent' })).close();
});
