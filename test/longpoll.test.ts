/** Holding, without HTTP: what one hold costs, and the orders in which a store's replies and hints may come. */
import { expect, onTestFinished, test, vi } from 'vitest';
import type { Backlog, Broker, Entry, Events } from '../src/brokers/broker.js';
import { Unavailable } from '../src/brokers/broker.js';
import { MemoryBroker } from '../src/brokers/memory.js';
import { LongPoll, type Observer } from '../src/hold/longpoll.js';
import { type Answer, textOf } from '../src/protocol/answers.js';
import { until } from './harness.js';

async function started(broker: Broker, observer?: Observer): Promise<LongPoll> {
  const longpoll = new LongPoll(broker, { id: 'n', version: '0', ...(observer && { observer }) });
  await longpoll.start();
  onTestFinished(() => longpoll.close());
  return longpoll;
}

function ask(longpoll: LongPoll, since = '', hold = 10_000) {
  const answers: Answer[] = [];
  const waiter = longpoll.get({ key: 'a', since, hold }, { answer: answer => void answers.push(answer) });
  return { answers, leave: () => waiter && longpoll.leave(waiter) };
}

/** The object that a page is answered. */
const bodyOf = (answer: Answer | undefined) => (answer ? JSON.parse(textOf(answer)) : {});

test('holds that end together cost one timer, gone the moment the last ends, whatever ends it', async () => {
  const pass = virtualTime();
  const timers = () => vi.getTimerCount();
  const longpoll = await started(new MemoryBroker({ history: 4 }));
  const before = timers();
  const over = (how: string) => expect([timers(), longpoll.held], how).toEqual([before, 0]);
  const hold = async () => {
    const pages = Array.from({ length: 20 }, () => ask(longpoll));
    expect(timers()).toBeGreaterThan(before);
    expect(timers()).toBeLessThan(before + 20);
    expect(longpoll.held).toBe(20);
    await Promise.resolve();
    return pages;
  };
  for (const page of await hold()) page.leave();
  over('left');

  const answered = await hold();
  await longpoll.set('a', 1, { ttl: 1 });
  // until the key has expired too: the store has a timer for it
  await pass(10);
  expect(answered.every(page => page.answers.length === 1)).toBe(true);
  over('answered');

  const short = ask(longpoll, 'x-1', 20);
  await pass(40);
  expect(short.answers).toHaveLength(1);
  over('timed out');

  await hold();
  longpoll.drain(0);
  over('drained');
});

test('a history that is longer than a text of V8 can be is answered in parts', async () => {
  const longpoll = await started(new MemoryBroker({ history: 40 }));
  const stored: string[] = [];
  const heard: string[] = [];
  const value = `"${'x'.repeat(20_000_000)}"`;
  for (let count = 0; count < 40; count++)
    stored.push((await longpoll.setRendered('a', value, { ttl: 60_000, final: count === 39 })).cursor);
  for (let since = ''; heard.length < stored.length; ) {
    const { answers } = ask(longpoll, since, 0);
    const answer = await until(() => answers[0]);
    if (answer.kind !== 'success') throw new Error(answer.kind);
    expect(textOf(answer).endsWith(',"final":true}')).toBe(
      heard.length + answer.entries.length === stored.length,
    );
    // of 20 MB each, three fit in 64 MiB
    expect(answer.entries).toHaveLength(heard.length < 39 ? 3 : 1);
    heard.push(...answer.entries.map(({ cursor }) => cursor));
    since = answer.cursor;
  }
  expect(heard).toEqual(stored);
});

test('an answer comes once: leaving, draining and sets after it change nothing', async () => {
  const longpoll = await started(new MemoryBroker({ history: 4 }));
  const page = ask(longpoll);
  await longpoll.set('a', 1, { ttl: 1000 });
  await until(() => page.answers.length > 0);
  page.leave();
  await longpoll.set('a', 2, { ttl: 1000 });
  longpoll.drain(0);
  expect(page.answers.map(answer => bodyOf(answer).data)).toEqual([1]);
});

/**
 * A store whose replies and hints come when the test says so: a real one cannot be made to send them in a given order.
 */
class Scripted implements Broker {
  constructor(readonly lease = Number.POSITIVE_INFINITY) {}
  events!: Events;
  asked: { since: string; reply: (backlog: Backlog) => void; fail: (error: Error) => void }[] = [];
  async start(events: Events) {
    this.events = events;
  }
  subscribe(_: string, since: string) {
    return new Promise<Backlog>((reply, fail) => this.asked.push({ since, reply, fail }));
  }
  unsubscribed: string[] = [];
  unsubscribe(key: string) {
    this.unsubscribed.push(key);
  }
  verify = async (): Promise<string[]> => {
    throw new Unavailable('away');
  };
  status = () => ({ up: true, reconnects: 0 });
  async close() {}
  set = () => Promise.reject(new Error('not asked for here'));
  peek = this.set;
  nodes = this.set;
}

const entry = (number: number): Entry => ({
  value: String(number),
  cursor: `l-${number}`,
  prev: number === 1 ? '' : `l-${number - 1}`,
  final: false,
});
const backlog = (cursor: string, ...entries: Entry[]): Backlog => ({
  entries,
  lost: 0,
  cursor,
  final: false,
});
const settled = () => new Promise(resolve => setImmediate(resolve));

test('a hint that comes before the reply that does not know of it: the store is asked again', async () => {
  const broker = new Scripted();
  const page = ask(await started(broker));
  broker.events.entry('a', entry(1));
  broker.asked[0]?.reply(backlog(''));
  await until(() => broker.asked.length === 2);
  broker.asked[1]?.reply(backlog('l-1', entry(1)));
  await until(() => page.answers.length === 1);
  expect(bodyOf(page.answers[0])).toMatchObject({ data: 1, cursor: 'l-1' });
});

test('an entry of a key that nobody holds: a subscription was left over, and is taken back', async () => {
  const broker = new Scripted();
  const page = ask(await started(broker));
  broker.events.entry('a', entry(1));
  expect(broker.unsubscribed).toEqual([]);
  broker.events.entry('left', entry(1));
  expect(broker.unsubscribed).toEqual(['left']);
  page.leave();
  expect(broker.unsubscribed).toEqual(['left', 'a']);
});

test('a hint whose forerunner was missed is not handed over: what was missed comes first', async () => {
  const broker = new Scripted();
  const page = ask(await started(broker), 'l-1');
  broker.asked[0]?.reply(backlog('l-1'));
  await settled();
  broker.events.entry('a', entry(3));
  await until(() => broker.asked.length === 2);
  expect(page.answers).toEqual([]);
  broker.asked[1]?.reply(backlog('l-3', entry(2), entry(3)));
  await until(() => page.answers.length === 1);
  expect(bodyOf(page.answers[0])).toMatchObject({ data: 3, earlier: [2] });
});

test('a hint that comes twice answers nobody twice', async () => {
  const broker = new Scripted();
  const longpoll = await started(broker);
  const first = ask(longpoll);
  broker.asked[0]?.reply(backlog(''));
  await settled();
  broker.events.entry('a', entry(1));
  expect(first.answers).toHaveLength(1);
  const next = ask(longpoll, 'l-1');
  broker.events.entry('a', entry(1));
  expect(next.answers).toEqual([]);
  expect(broker.asked).toHaveLength(1);
});

test('while the node receives every entry, a further poll costs the store nothing', async () => {
  const broker = new Scripted();
  const longpoll = await started(broker);
  const first = ask(longpoll, 'l-1', 10);
  broker.asked[0]?.reply(backlog('l-1'));
  await until(() => first.answers.length === 1);
  for (let again = 0; again < 5; again++) {
    const page = ask(longpoll, 'l-1', 10);
    await until(() => page.answers.length === 1);
    expect(bodyOf(page.answers[0])).toEqual({ code: -1, message: 'timeout', cursor: 'l-1' });
  }
  expect(broker.asked).toHaveLength(1);
});

test('a poll finds a value that a held request missed: both get it', async () => {
  const broker = new Scripted();
  const longpoll = await started(broker);
  const silent = ask(longpoll, 'l-6');
  broker.asked[0]?.reply(backlog('l-6'));
  await settled();
  // the store was flushed, and another life began with 7, unseen
  const born = { value: '7', cursor: 'm-1', prev: '', final: false };
  const other = ask(longpoll);
  broker.asked[1]?.reply(backlog('m-1', born));
  await until(() => other.answers.length === 1 && broker.asked.length === 3);
  expect(broker.asked[2]?.since).toBe('l-6');
  broker.events.entry('a', { value: '8', cursor: 'm-2', prev: 'm-1', final: false });
  broker.asked[2]?.reply(backlog('m-1', born));
  await until(() => silent.answers.length === 1);
  expect(bodyOf(silent.answers[0])).toMatchObject({ data: 7 });
});

test('a gap: everything held is asked for again', async () => {
  const broker = new Scripted();
  const page = ask(await started(broker), 'l-1');
  broker.asked[0]?.reply(backlog('l-1'));
  await settled();
  broker.events.gap();
  await until(() => broker.asked.length === 2);
  broker.asked[1]?.reply(backlog('l-2', entry(2)));
  await until(() => page.answers.length === 1);
});

test('the store is away: the page stays held, hears when it is back, and never loses its place', async () => {
  const broker = new Scripted();
  const longpoll = await started(broker);
  const patient = ask(longpoll, 'l-1');
  broker.asked[0]?.fail(new Unavailable('away'));
  await settled();
  expect(patient.answers).toEqual([]);
  broker.events.gap();
  await until(() => broker.asked.length === 2);
  broker.asked[1]?.reply(backlog('l-2', entry(2)));
  await until(() => patient.answers.length === 1);

  const short = ask(longpoll, 'l-1', 20);
  broker.asked[2]?.fail(new Unavailable('away'));
  await until(() => short.answers.length === 1);
  expect(bodyOf(short.answers[0])).toEqual({
    code: -7,
    message: 'unavailable',
    retry: expect.any(Number),
  });
});

test('a page keeps its place in the life before, in case the store falls back to it', async () => {
  const broker = new Scripted();
  const longpoll = await started(broker);
  const cursorOf = async (page: ReturnType<typeof ask>) => {
    await until(() => page.answers.length === 1);
    return bodyOf(page.answers[0]).cursor as string;
  };
  // a master that restarted empty: nothing kept, then another life
  const empty = ask(longpoll, 'l-7', 20);
  broker.asked[0]?.reply(backlog(''));
  const waiting = await cursorOf(empty);
  const born = ask(longpoll, waiting);
  broker.events.entry('a', { value: '8', cursor: 'm-1', prev: '', final: false });
  const moved = await cursorOf(born);
  expect([waiting, moved]).toEqual(['.l-7', 'm-1.l-7']);

  // the same on a real store: the first place that is known counts
  const memory = new MemoryBroker({ history: 4 });
  const real = await started(memory);
  await real.set('a', 1, { ttl: 1000 });
  const { cursor } = await real.peek('a');
  await real.set('a', 2, { ttl: 1000 });
  for (const since of [`.${cursor}`, `m-1.${cursor}`, `${cursor}.m-9`])
    expect(
      memory.subscribe('a', since).entries.map(entry => entry.value),
      since,
    ).toEqual(['2']);
});

/** Time passes as the test says; what runs between timers runs by itself. */
function virtualTime(): (ms: number) => Promise<unknown> {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'] });
  onTestFinished(() => void vi.useRealTimers());
  return ms => vi.advanceTimersByTimeAsync(ms);
}
const codesOf = ({ answers }: ReturnType<typeof ask>) => answers.map(answer => bodyOf(answer).code);

test('what is known is believed for a lease from when the store was asked, and no longer', async () => {
  const pass = virtualTime();
  const broker = new Scripted(15_000);
  const longpoll = await started(broker);
  // not when all that is held is looked through, each second
  await pass(500);
  ask(longpoll, 'l-1', 60_000);
  await pass(9000);
  broker.asked[0]?.reply(backlog('l-1'));
  await pass(5900);
  const known = ask(longpoll, 'l-1', 0);
  expect(codesOf(known)).toEqual([-1]);
  expect(broker.asked).toHaveLength(1);
  await pass(101);
  const unknown = ask(longpoll, 'l-1', 0);
  await pass(0);
  expect(codesOf(unknown)).toEqual([]);
  expect(broker.asked).toHaveLength(2);
});

test('a hold that ends when the lease has: the page is not answered that nothing is new', async () => {
  const pass = virtualTime();
  const broker = new Scripted(15_000);
  const page = ask(await started(broker), 'l-1', 15_500);
  broker.asked[0]?.reply(backlog('l-1'));
  await pass(15_900);
  expect(codesOf(page)).toEqual([-7]);
});

test('a reply that was on its way when entries may have been missed is not believed', async () => {
  const broker = new Scripted();
  const page = ask(await started(broker), 'l-1');
  broker.events.gap();
  broker.asked[0]?.reply(backlog('l-1'));
  await until(() => broker.asked.length === 2);
  broker.asked[1]?.reply(backlog('l-2', entry(2)));
  await until(() => page.answers.length === 1);
});

test('a key stays watched for five seconds after an answer, and not for long after that', async () => {
  const pass = virtualTime();
  const broker = new Scripted();
  const longpoll = await started(broker);
  const page = ask(longpoll, 'l-1');
  broker.asked[0]?.reply(backlog('l-1'));
  await pass(0);
  broker.events.entry('a', entry(2));
  expect(codesOf(page)).toEqual([0]);
  await pass(4900);
  expect([broker.unsubscribed, longpoll.counts().watched]).toEqual([[], 1]);
  await pass(1200);
  expect([broker.unsubscribed, longpoll.counts().watched]).toEqual([['a'], 0]);
});

test('one value that is no longer kept is said, and counted, as well as several', async () => {
  const lost: number[] = [];
  const ignore = () => {};
  const broker = new Scripted();
  const longpoll = await started(broker, {
    delivered: ignore,
    lost: values => lost.push(values),
    subscribed: ignore,
    gap: ignore,
    repaired: ignore,
  });
  for (const [number, values] of [0, 1, 2].entries()) {
    const page = ask(longpoll, 'l-1');
    broker.asked[number]?.reply({ ...backlog('l-4', entry(4)), lost: values });
    await until(() => page.answers.length === 1);
    expect(bodyOf(page.answers[0]).lost).toBe([undefined, 1, 2][values]);
  }
  expect(lost).toEqual([1, 2]);
});

/** An observer that records its calls. */
function observing(): [Observer, string[]] {
  const calls: string[] = [];
  const tell = (name: string) => (number?: number) =>
    void calls.push(number === undefined ? name : `${name} ${number}`);
  return [
    {
      delivered: tell('delivered'),
      lost: tell('lost'),
      subscribed: () => {},
      gap: tell('gap'),
      repaired: tell('repaired'),
    },
    calls,
  ];
}

test('a node describes itself: its name, its version, how many it holds, and whole seconds since its start', async () => {
  const pass = virtualTime();
  const broker = new Scripted();
  const longpoll = await started(broker);
  const page = ask(longpoll, 'l-1', 60_000);
  await pass(2600);
  expect(longpoll.describe()).toEqual({ id: 'n', held: 1, version: '0', uptime: 2 });
  expect(broker.events.describe()).toEqual(longpoll.describe());
  expect([longpoll.heldFor('a'), longpoll.heldFor('b'), longpoll.counts()]).toEqual([
    1,
    0,
    { watched: 1, leases: 0 },
  ]);
  expect(broker.events.held('a')).toBe(0);
  broker.asked[0]?.reply(backlog('l-1'));
  await pass(0);
  expect([broker.events.held('a'), longpoll.counts()]).toEqual([1, { watched: 1, leases: 1 }]);
  expect([longpoll.ready(), longpoll.draining]).toEqual([true, false]);
  longpoll.drain(100);
  expect([longpoll.ready(), longpoll.draining, longpoll.held]).toEqual([false, true, 0]);
  expect(bodyOf(page.answers[0])).toMatchObject({ code: -6 });
  const late = bodyOf(ask(longpoll).answers[0]);
  expect(late.code).toBe(-6);
  expect(late.retry).toBeLessThanOrEqual(100);
});

test('the page that gives way keeps what it has seen: up to the position when that is known, else its own', async () => {
  const pass = virtualTime();
  const broker = new Scripted(15_000);
  const longpoll = await started(broker);
  longpoll.giveWay('a', () => true);
  const first = ask(longpoll, 'k-9', 60_000);
  const second = ask(longpoll, 'k-8', 60_000);
  longpoll.giveWay('a', () => false);
  longpoll.giveWay('a', () => true);
  expect(first.answers).toEqual([{ kind: 'timeout', cursor: 'k-9' }]);
  broker.asked[1]?.reply(backlog('l-1'));
  await pass(0);
  longpoll.giveWay('a', () => true);
  expect(second.answers).toEqual([{ kind: 'timeout', cursor: 'l-1.k-8' }]);
  const third = ask(longpoll, 'k-7', 60_000);
  broker.asked[2]?.reply(backlog('l-1'));
  broker.status = () => ({ up: false, reconnects: 0 });
  await pass(15_001);
  longpoll.giveWay('a', () => true);
  expect(third.answers, 'what was known is not believed any more').toEqual([
    { kind: 'timeout', cursor: 'k-7' },
  ]);
});

test('what the store could not say, or what is believed no more, is asked again each second, once it is up', async () => {
  const pass = virtualTime();
  const broker = new Scripted(15_000);
  const longpoll = await started(broker);
  ask(longpoll, 'l-1', 60_000);
  expect(ask(longpoll, 'l-1', 0).answers).toEqual([]);
  broker.status = () => ({ up: false, reconnects: 0 });
  for (const { fail } of broker.asked) fail(new Unavailable('away'));
  await pass(3500);
  expect(broker.asked).toHaveLength(2);
  broker.status = () => ({ up: true, reconnects: 0 });
  await pass(1000);
  expect(broker.asked).toHaveLength(3);
  await pass(2000);
  expect(broker.asked, 'while one answer is awaited nothing more is asked').toHaveLength(3);
  broker.asked[2]?.fail(new Unavailable('away'));
  await pass(1000);
  expect(broker.asked).toHaveLength(4);
  broker.asked[3]?.reply(backlog('l-1'));
  await pass(12_000);
  expect(broker.asked, 'caught up, and known for a lease').toHaveLength(4);
  await pass(5000);
  expect(broker.asked).toHaveLength(5);
});

test('a poll without a hold is answered unavailable at once while the store is away', async () => {
  const broker = new Scripted();
  const page = ask(await started(broker), 'l-1', 0);
  broker.asked[0]?.fail(new Unavailable('away'));
  await settled();
  const { code, retry } = bodyOf(page.answers[0]);
  expect(code).toBe(-7);
  expect(retry).toBeGreaterThanOrEqual(1000);
  expect(retry).toBeLessThanOrEqual(4000);
});

test('a gap of one key reads that key again; a gap of all keys is counted, and one of a key without waiters does nothing', async () => {
  const broker = new Scripted();
  const [observer, calls] = observing();
  const longpoll = await started(broker, observer);
  broker.events.gap();
  expect(calls, 'nothing was held').toEqual([]);
  ask(longpoll, 'l-1');
  longpoll.get({ key: 'b', since: 'b-1', hold: 10_000 }, { answer: () => {} });
  for (const { reply, since } of broker.asked) reply(backlog(since));
  await settled();
  broker.events.gap('b');
  broker.events.gap('c');
  await settled();
  expect(broker.asked.slice(2).map(({ since }) => since)).toEqual(['b-1']);
  expect(calls).toEqual([]);
  broker.asked[2]?.reply(backlog('b-1'));
  await settled();
  broker.events.gap();
  await settled();
  expect(broker.asked.slice(3).map(({ since }) => since)).toEqual(['l-1', 'b-1']);
  expect(calls).toEqual(['gap']);
});

test('many are asked for in batches of 200: a store that is away again ends it, one that answers gets the rest', async () => {
  const broker = new Scripted();
  const longpoll = await started(broker);
  for (let page = 0; page < 250; page++) ask(longpoll, 'l-1');
  for (const { reply } of broker.asked) reply(backlog('l-1'));
  await settled();
  const asked = () => broker.asked.splice(0);
  asked();
  broker.events.gap();
  await settled();
  const first = asked();
  expect(first).toHaveLength(200);
  first[0]?.fail(new Unavailable('away'));
  for (const { reply } of first.slice(1)) reply(backlog('l-1'));
  await settled();
  expect(asked(), 'the rest waits until the store is back').toHaveLength(0);
  broker.events.gap();
  await settled();
  for (const { reply } of asked()) reply(backlog('l-1'));
  await settled();
  expect(asked()).toHaveLength(50);
});

test('what is verified: what the store has otherwise is read again and counted, the rest is believed for a lease more', async () => {
  const pass = virtualTime();
  const broker = new Scripted(15_000);
  const [observer, calls] = observing();
  const longpoll = await started(broker, observer);
  for (const key of ['a', 'b', 'c', 'd', 'new'])
    longpoll.get({ key, since: 'l-1', hold: 60_000 }, { answer: () => {} });
  // of the last one nothing is known yet
  for (const { reply } of broker.asked.slice(0, 4)) reply(backlog('l-1'));
  const verified: string[][] = [];
  let answer = (_: string[]) => {};
  broker.verify = (...[known]: unknown[]) => {
    verified.push((known as { key: string }[]).map(({ key }) => key));
    return new Promise<string[]>(resolve => {
      answer = resolve;
    });
  };
  await pass(10_000);
  expect(verified).toEqual([['a', 'b', 'c', 'd']]);
  // an entry of c comes meanwhile, and its reply was made before
  broker.events.entry('c', entry(2));
  answer(['a', 'c', 'd']);
  await pass(0);
  expect(calls.filter(text => text.startsWith('repaired'))).toEqual(['repaired 2']);
  expect(broker.asked.slice(5).length).toBe(1);
  await pass(9900);
  expect(longpoll.counts().leases, 'b, beyond its first lease').toBe(1);
  broker.asked[5]?.reply(backlog('l-1'));
  await pass(0);
  expect(broker.asked.slice(6).length, 'one batch after the other').toBe(1);
});

test('an entry that comes while its key is verified: the key is believed for a lease more all the same', async () => {
  const pass = virtualTime();
  const broker = new Scripted(15_000);
  const longpoll = await started(broker);
  ask(longpoll, 'l-1', 60_000);
  broker.asked[0]?.reply(backlog('l-1'));
  let answer = () => {};
  broker.verify = () =>
    new Promise<string[]>(resolve => {
      answer = () => resolve([]);
    });
  await pass(10_000);
  broker.events.entry('a', entry(2));
  answer();
  await pass(2000);
  // its hold ends after the first lease
  const page = ask(longpoll, 'l-2', 3400);
  await pass(3500);
  expect(page.answers).toEqual([{ kind: 'timeout', cursor: 'l-2' }]);
  expect(broker.asked).toHaveLength(1);
});

test('a store whose subscriptions last is never asked to verify them', async () => {
  const pass = virtualTime();
  const broker = new Scripted(Number.POSITIVE_INFINITY);
  const verify = vi.fn(async () => []);
  broker.verify = verify;
  const longpoll = await started(broker);
  ask(longpoll, 'l-1', 600_000);
  broker.asked[0]?.reply(backlog('l-1'));
  await pass(300_000);
  expect([verify.mock.calls.length, broker.asked.length]).toEqual([0, 1]);
});

test('what was verified of a key says nothing of the pages that came to it since', async () => {
  const pass = virtualTime();
  const broker = new Scripted(15_000);
  const [observer, calls] = observing();
  const longpoll = await started(broker, observer);
  const before = ask(longpoll, 'l-1', 60_000);
  broker.asked[0]?.reply(backlog('l-1'));
  let answer = (_: string[]) => {};
  broker.verify = () =>
    new Promise<string[]>(resolve => {
      answer = resolve;
    });
  await pass(10_000);
  before.leave();
  await pass(7000);
  expect(longpoll.counts().watched).toBe(0);
  ask(longpoll, 'l-1', 60_000);
  broker.asked[1]?.reply(backlog('l-1'));
  await pass(0);
  answer(['a']);
  await pass(0);
  expect([broker.asked.length, calls.filter(text => text.startsWith('repaired'))]).toEqual([2, []]);
});

test('a hint whose forerunner was missed: each page asks at once, except one that is asking already', async () => {
  const pass = virtualTime();
  const broker = new Scripted();
  const longpoll = await started(broker);
  ask(longpoll, 'l-1', 60_000);
  broker.asked[0]?.reply(backlog('l-1'));
  await pass(0);
  ask(longpoll, 'k-9', 60_000);
  broker.events.entry('a', entry(3));
  await pass(0);
  expect(broker.asked.map(({ since }) => since)).toEqual(['l-1', 'k-9', 'l-1']);
});

test('what a page was handed is measured from its set, when that time is known; it is never below 0', async () => {
  const broker = new Scripted();
  const [observer, calls] = observing();
  const longpoll = await started(broker, observer);
  ask(longpoll, '', 60_000);
  broker.asked[0]?.reply(backlog(''));
  await settled();
  broker.events.entry('a', entry(1));
  expect(calls).toEqual([]);
  ask(longpoll, 'l-1', 60_000);
  // the other node's clock is ahead
  broker.events.entry('a', { ...entry(2), at: Date.now() + 60_000 });
  expect(calls).toEqual(['delivered 0']);
});

test('what is missed while many are asked for asks for no more of them at the same time', async () => {
  const broker = new Scripted();
  const longpoll = await started(broker);
  for (let page = 0; page < 250; page++) ask(longpoll, 'l-1');
  for (const { reply } of broker.asked.splice(0)) reply(backlog('l-1'));
  await settled();
  broker.events.gap();
  broker.events.gap();
  await settled();
  expect(broker.asked).toHaveLength(200);
});

test('what is missed while a page is asked for: it is asked for again after that reply, and not at the same time', async () => {
  const broker = new Scripted();
  const longpoll = await started(broker);
  ask(longpoll, 'l-1');
  broker.events.gap();
  await settled();
  expect(broker.asked).toHaveLength(1);
  broker.asked[0]?.reply(backlog('l-1'));
  await settled();
  expect(broker.asked).toHaveLength(2);
});

test('when the store has all that is known, nothing is counted as repaired', async () => {
  const pass = virtualTime();
  const broker = new Scripted(15_000);
  const [observer, calls] = observing();
  const longpoll = await started(broker, observer);
  ask(longpoll, 'l-1', 60_000);
  broker.asked[0]?.reply(backlog('l-1'));
  const verify = vi.fn(async () => []);
  broker.verify = verify;
  await pass(10_000);
  expect([verify.mock.calls.length, calls]).toEqual([1, []]);
});
