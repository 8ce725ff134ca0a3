/** What the hold decides without a store: which proof settles which set, and what a request for several keys is answered. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, onTestFinished, test, vi } from 'vitest';
import { type Backlog, type Broker, Unavailable } from '../src/brokers/broker.js';
import { MemoryBroker } from '../src/brokers/memory.js';
import { Hub } from '../src/hold/hub.js';
import { LongPoll, type Observer } from '../src/hold/longpoll.js';
import { Receipts } from '../src/hold/receipts.js';
import { SeveralKeys } from '../src/hold/several.js';
import { type Answer, textOf } from '../src/protocol/answers.js';

function virtualTime() {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  return (ms: number) => vi.advanceTimersByTimeAsync(ms);
}

/** Receipts of a store that passes proofs on, and the proofs. */
function receipts(max?: number) {
  const proofs: string[] = [];
  const broker = { prove: (key: string, position: string) => void proofs.push(`${key} ${position}`) };
  const all = new Receipts(broker as unknown as Broker, max);
  const stored = (position: string) => async () => ({ cursor: position, watched: true, final: false });
  /** Settles with whether the value was received. */
  const set = async (position: string, wait: number) =>
    (await all.await('k', wait, stored(position) as never)).received;
  return { proofs, all, set };
}

test('as many sets wait as may; the next is answered at once, and one that has ended makes room', async () => {
  const pass = virtualTime();
  const { all, set } = receipts(1);
  const first = set('a-1', 1000);
  await pass(0);
  expect(await set('a-2', 1000)).toBe(false);
  await pass(1000);
  expect(await first).toBe(false);
  const third = set('a-3', 1000);
  await pass(10);
  all.proved('k', 'a-3');
  expect(await third).toBe(true);
});

test('a proof settles the set of its position alone, also when it comes before the reply of the store', async () => {
  const pass = virtualTime();
  const { all, set } = receipts();
  const [one, two] = [set('a-1', 1000), set('a-2', 2000)];
  all.proved('k', 'a-1');
  await pass(0);
  expect(await one).toBe(true);
  all.proved('other', 'a-2');
  all.proved('k', 'a-3');
  await pass(2000);
  expect(await two).toBe(false);
});

test('a set that ends takes nothing from another of its key', async () => {
  const pass = virtualTime();
  const { all, set } = receipts();
  const [short, long] = [set('a-1', 10), set('a-2', 2000)];
  await pass(10);
  expect(await short).toBe(false);
  all.proved('k', 'a-2');
  expect(await long).toBe(true);
});

test('sets that have ended leave nothing in memory, whatever their keys were', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const { all } = receipts();
  const store = async () => ({ cursor: 'a-1', watched: true, final: false });
  const used = () => {
    collect();
    return process.memoryUsage().heapUsed;
  };
  const before = used();
  for (let key = 0; key < 50_000; key++) await all.await(`k${key}`, 0, store as never);
  // a set of each of these keys would be 10 MB
  expect(used() - before).toBeLessThan(4_000_000);
  expect(all).toBeInstanceOf(Receipts);
});

test('each wanted position is proved once, by the first cursor that has seen it', () => {
  const { all, proofs } = receipts();
  const watch = new Hub().park('k', '', { answer() {} }).watch;
  for (const position of ['a-1', 'a-2', 'a-2', 'a-3']) all.want(watch, position);
  all.noticePoll(watch, '');
  all.noticePoll(watch, 'a-1');
  expect(proofs).toEqual(['k a-1']);
  all.noticePoll(watch, 'a-3');
  all.noticePoll(watch, 'a-3');
  expect(proofs).toEqual(['k a-1', 'k a-2', 'k a-3']);
});

test('a drain ends what waits after its time, and lets nothing wait longer; closed, nothing waits', async () => {
  const pass = virtualTime();
  const { all, set } = receipts();
  const ended: (boolean | undefined)[] = [];
  const note = (received: boolean | undefined) => void ended.push(received);
  void set('a-1', 10_000).then(note);
  await pass(0);
  all.drain(100);
  await pass(99);
  void set('a-2', 10_000).then(note);
  expect(ended).toEqual([]);
  await pass(1);
  expect(ended).toEqual([false, false]);
  all.close();
  expect(await set('a-3', 10_000)).toBe(false);
});

test('a drain while nothing waits: later sets wait for its time at most', async () => {
  const pass = virtualTime();
  const { all, set } = receipts();
  all.drain(100);
  await pass(50);
  let ended = false;
  void set('a-1', 10_000).then(() => (ended = true));
  await pass(99);
  expect(ended).toBe(false);
  await pass(1);
  expect(ended).toBe(true);
});

async function started(broker: Broker, observer?: Partial<Observer>): Promise<LongPoll> {
  const longpoll = new LongPoll(broker, {
    id: 'n',
    version: '0',
    ...(observer && { observer: observer as Observer }),
  });
  await longpoll.start();
  onTestFinished(() => longpoll.close());
  return longpoll;
}
/** An observer that counts receipts, or nothing. */
const observers = (receipt?: (received: boolean) => void) => ({
  delivered() {},
  lost() {},
  subscribed() {},
  gap() {},
  repaired() {},
  ...(receipt && { receipt }),
});

test('a receipt is counted as what it is, by an observer that counts them', async () => {
  const counted: boolean[] = [];
  for (const observer of [observers(received => counted.push(received)), observers(), undefined]) {
    const longpoll = await started(new MemoryBroker({ history: 2 }), observer);
    const answers: Answer[] = [];
    longpoll.get({ key: 'k', since: '', hold: 1000 }, { answer: answer => void answers.push(answer) });
    const stored = longpoll.set('k', 1, { ttl: 60_000, receipt: 5000 });
    await vi.waitFor(() => expect(answers).toHaveLength(1));
    const { cursor } = JSON.parse(textOf(answers[0] as Answer));
    longpoll.get({ key: 'k', since: cursor, hold: 0 }, { proves: true, answer() {} });
    expect((await stored).received).toBe(true);
    expect((await longpoll.set('k', 2, { ttl: 60_000, receipt: 1 })).received).toBe(false);
  }
  expect(counted).toEqual([true, false]);
});

test('a poll that a drop ends is let go before it is answered, also when nothing else waits with it', async () => {
  const longpoll = await started(new MemoryBroker({ history: 2 }));
  const events: string[] = [];
  const responder = (name: string, more = {}) => ({
    isNamed: (wanted: string, from: string) => wanted === name && from === 'here',
    answer: () => void events.push(`${name} ${longpoll.held}`),
    ...more,
  });
  longpoll.get({ key: 'k', since: '', hold: 1000 }, responder('one'));
  longpoll.get(
    { key: 'k', since: '', hold: 1000 },
    responder('two', { abandon: () => void events.push('abandoned') }),
  );
  longpoll.drop('k', 'one', 'elsewhere');
  longpoll.drop('k', 'three', 'here');
  expect(events).toEqual([]);
  longpoll.drop('k', 'two', 'here');
  expect(events).toEqual(['abandoned', 'two 1']);
  longpoll.drop('k', 'one', 'here');
  expect(events).toEqual(['abandoned', 'two 1', 'one 0']);
});

test('what waits without a name, as a stream does, is not dropped', async () => {
  const dropped: string[] = [];
  const broker = Object.assign(new MemoryBroker({ history: 2 }), {
    drop: (...what: string[]) => void dropped.push(what.join(' ')),
  });
  const longpoll = await started(broker);
  const answers: Answer[] = [];
  longpoll.get({ key: 'k', since: '', hold: 1000 }, { answer: answer => void answers.push(answer) });
  longpoll.drop('k', 'one', 'here');
  expect([answers, dropped]).toEqual([[], ['k one here']]);
});

test('a drop of a poll that is held here goes no further; of another, to the store', async () => {
  const dropped: string[] = [];
  const broker = Object.assign(new MemoryBroker({ history: 2 }), {
    drop: (...what: string[]) => void dropped.push(what.join(' ')),
  });
  const longpoll = await started(broker);
  longpoll.get({ key: 'k', since: '', hold: 1000 }, { isNamed: name => name === 'one', answer() {} });
  longpoll.drop('k', 'one', 'here');
  expect(dropped).toEqual([]);
  longpoll.drop('k', 'one', 'here');
  expect(dropped).toEqual(['k one here']);
});

/** A store that cannot say what the key `away` has. */
class Partly extends MemoryBroker {
  override subscribe(key: string, since: string): Backlog {
    if (key === 'away') throw new Unavailable('away');
    return super.subscribe(key, since);
  }
}

/** Asks once for these keys, and what the request is answered. */
function several(longpoll: LongPoll, keys: string[], hold: number, more = {}, since = '') {
  const answers: { code: number; key: string | undefined; cursor?: string; cursors?: string[] }[] = [];
  const poll = new SeveralKeys(
    longpoll,
    keys.map(key => ({ key, since })),
    hold,
    {
      answer: (answer, key) => void answers.push({ ...JSON.parse(textOf(answer)), key }),
      ...more,
    },
  );
  return { answers, poll };
}

test('several keys: the value of one is the answer although the store is away for another; without a value, that it is away', async () => {
  const longpoll = await started(new Partly({ history: 2 }));
  await longpoll.set('here', 1, { ttl: 60_000 });
  for (let run = 0; run < 20; run++) {
    const { answers } = several(longpoll, ['away', 'here', 'empty'], 0);
    await vi.waitFor(() => expect(answers).toMatchObject([{ code: 0, key: 'here' }]));
    const none = several(longpoll, ['empty', 'away'], 0);
    await vi.waitFor(() => expect(none.answers).toMatchObject([{ code: -7 }]));
    expect(longpoll.held).toBe(0);
  }
});

test('several keys: each part is the poll of its request, by name, address and what it proves', async () => {
  const longpoll = await started(new MemoryBroker({ history: 2 }));
  const named = {
    isNamed: (name: string, from: string) => name === 'n' && from === 'here',
    isFrom: (from: string) => from === 'here',
    proves: true,
  };
  const { answers } = several(longpoll, ['a', 'b'], 10_000, named);
  const plain = several(longpoll, ['a', 'b'], 10_000);
  await vi.waitFor(() =>
    expect([longpoll.held, longpoll.heldFor('a'), longpoll.heldFor('b')]).toEqual([2, 2, 2]),
  );
  for (const key of ['a', 'b']) longpoll.giveWay(key, responder => responder.isFrom?.('there') ?? false);
  longpoll.drop('b', 'n', 'there');
  expect([answers, plain.answers]).toEqual([[], []]);
  longpoll.giveWay('b', responder => responder.isFrom?.('here') ?? false);
  expect(answers).toMatchObject([{ code: -1 }]);
  expect(longpoll.held).toBe(1);
  plain.poll.leave();
  plain.poll.leave();
  expect([longpoll.held, longpoll.heldFor('a'), plain.answers]).toEqual([0, 0, []]);
});

test('several keys: a time-out has the place of each, of those without the timer too', async () => {
  const pass = virtualTime();
  const longpoll = await started(new MemoryBroker({ history: 2 }));
  const { answers } = several(longpoll, ['a', 'b', 'c'], 1000, {}, 'e-1');
  await pass(1020);
  // the store has nothing of them: the place in its life before is kept
  expect(answers).toMatchObject([{ code: -1, cursors: ['.e-1', '.e-1', '.e-1'] }]);
});

test('several keys: the next poll proves what one brought, and a request that proves nothing does not', async () => {
  const longpoll = await started(new MemoryBroker({ history: 2 }));
  for (const proves of [true, undefined]) {
    const { answers } = several(longpoll, ['a', 'b'], 10_000);
    const stored = longpoll.set('b', 1, { ttl: 60_000, receipt: proves ? 5000 : 50 });
    await vi.waitFor(() => expect(answers).toHaveLength(1));
    const next = several(longpoll, ['a', 'b'], 10_000, { proves }, answers[0]?.cursor);
    expect((await stored).received).toBe(proves ?? false);
    next.poll.leave();
  }
});
