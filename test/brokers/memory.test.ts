import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { type Entry, RECEIPTS, Unavailable } from '../../src/brokers/broker.js';
import { brokerContract, HISTORY } from '../../src/brokers/contract/contract.js';
import { MemoryBroker } from '../../src/brokers/memory.js';

describe('the embedded store keeps the promises of a broker', () => {
  test.each(brokerContract(1))('$name', ({ run }) => run(() => new MemoryBroker({ history: HISTORY })));
});

test('the contract accepts that an entry is missed when a gap is reported, and only then', async () => {
  const check = brokerContract(1).find(({ name }) => name.startsWith('many sets at once'));
  const lossy = (reports: boolean) => () => {
    const broker = new MemoryBroker({ history: HISTORY });
    const start = broker.start.bind(broker);
    broker.start = events =>
      start({
        ...events,
        entry(key, entry) {
          if (entry.value !== '20') events.entry(key, entry);
          else if (reports) events.gap(key);
        },
      });
    return broker;
  };
  await check?.run(lossy(true));
  await expect(check?.run(lossy(false))).rejects.toThrow('1 times entries were missed, 0 gaps reported');
});

test('a key keeps the receipts of its newest sets, and forgets those before', async () => {
  const broker = new MemoryBroker({ history: HISTORY });
  onTestFinished(() => broker.close());
  const set = (id: string) => broker.set('k', '1', { ttl: 60_000, id });
  for (let number = 0; number < RECEIPTS + 1; number++) await set(`set-${number}`);
  expect((await set('set-1')).repeated).toBe(true);
  expect((await set('set-0')).repeated).toBe(undefined);
});

const DAY = 86_400_000;
/** A started store in virtual time. */
async function store(options: { history?: number; maxKeys?: number } = {}) {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'] });
  onTestFinished(() => void vi.useRealTimers());
  const delivered: [string, Entry][] = [];
  let held = 0;
  const broker = new MemoryBroker({ history: HISTORY, ...options });
  const describe = () => ({ id: 'me', held: 9, version: '1', uptime: 2 });
  await broker.start({
    entry: (key, entry) => delivered.push([key, entry]),
    gap() {},
    held: key => (key === 'k' ? held : 0),
    drop() {},
    describe,
  });
  onTestFinished(() => broker.close());
  const entries = async (key = 'k') => (await broker.peek(key)).entries.map(({ value }) => value);
  const hold = (count: number) => {
    held = count;
  };
  return { broker, delivered, entries, hold, set: (ttl: number, key = 'k') => broker.set(key, '1', { ttl }) };
}

test('a key that lives for longer than a timer of Node.js lives for that long', async () => {
  const { set, entries } = await store();
  await set(60 * DAY);
  await vi.advanceTimersByTimeAsync(60 * DAY - 1);
  expect(await entries()).toEqual(['1']);
  await vi.advanceTimersByTimeAsync(1);
  expect(await entries()).toEqual([]);
  expect(vi.getTimerCount()).toBe(0);
});

test('the newest set says how long a key lives, be it longer or shorter', async () => {
  const { broker, set, entries } = await store();
  await set(1000);
  await vi.advanceTimersByTimeAsync(900);
  await set(5000);
  expect(vi.getTimerCount(), 'one timer for each key').toBe(1);
  await vi.advanceTimersByTimeAsync(4999);
  expect(await broker.peek('k')).toMatchObject({ ttl: 1, entries: [{}, {}] });
  await set(100_000);
  await set(300);
  expect(vi.getTimerCount()).toBe(1);
  expect((await broker.peek('k')).ttl).toBe(300);
  await vi.advanceTimersByTimeAsync(299);
  expect(await entries()).toHaveLength(HISTORY);
  await vi.advanceTimersByTimeAsync(1);
  expect(await broker.peek('k')).toEqual({ entries: [], cursor: '', final: false, ttl: 0, waiters: {} });
});

test('the wall clock jumps: keys live as long as they should, and entries have its time', async () => {
  const { broker, set, entries } = await store();
  await set(1000);
  vi.setSystemTime(Date.now() + DAY);
  await set(1000);
  expect(await entries()).toHaveLength(2);
  const [first, second] = (await broker.peek('k')).entries as [Entry, Entry];
  expect((second.at as number) - (first.at as number)).toBe(DAY);
  expect((await broker.peek('k')).ttl).toBe(1000);
});

test('a full store refuses new keys with the setting to change, takes sets of others, and has room when one expires', async () => {
  const { set, entries } = await store({ maxKeys: 2 });
  await set(1000, 'a');
  await set(2000, 'b');
  const refused = set(1000, 'c');
  await expect(refused).rejects.toBeInstanceOf(Unavailable);
  await expect(refused).rejects.toThrow('the embedded store keeps 2 keys at most (TAGWAIT_MAX_KEYS)');
  await set(1000, 'a');
  await vi.advanceTimersByTimeAsync(1000);
  await set(1000, 'c');
  expect([await entries('a'), await entries('b'), await entries('c')]).toEqual([[], ['1'], ['1']]);
  const unlimited = await store({ maxKeys: 0 });
  for (let key = 0; key < 100; key++) await unlimited.set(1000, `k${key}`);
});

test('a key has its history and not more, and only keys that are subscribed to deliver', async () => {
  const { broker, set, entries, delivered } = await store({ history: 2 });
  for (let count = 0; count < 2; count++) await set(1000);
  expect(await entries()).toHaveLength(2);
  broker.subscribe('k', '');
  const { watched, cursor } = await set(1000);
  expect([watched, await entries()]).toEqual([true, ['1', '1']]);
  broker.unsubscribe('k');
  expect((await set(1000)).watched).toBe(false);
  expect(delivered.map(([key, entry]) => [key, entry.cursor])).toEqual([['k', cursor]]);
});

test('what waits, the node itself and its state are reported as they are', async () => {
  const { broker, set, hold } = await store();
  await set(1000);
  expect((await broker.peek('k')).waiters).toEqual({});
  hold(2);
  expect((await broker.peek('k')).waiters).toEqual({ me: 2 });
  expect((await broker.peek('other')).waiters).toEqual({});
  expect(await broker.nodes()).toEqual([{ id: 'me', held: 9, version: '1', uptime: 2 }]);
  expect([broker.status(), broker.lease]).toEqual([{ up: true, reconnects: 0 }, Number.POSITIVE_INFINITY]);
});

test('a store that is closed has forgotten its keys and has no timer left', async () => {
  const { broker, set, entries } = await store();
  for (const key of ['k', 'l']) await set(1000, key);
  await broker.close();
  expect([vi.getTimerCount(), await entries('k'), await entries('l')]).toEqual([0, [], []]);
});
