/** What is sent to Redis of subscriptions, against commands that the test answers: orders that a real one rarely shows. */
import { expect, test } from 'vitest';
import { Unavailable } from '../../src/brokers/broker.js';
import { Keys } from '../../src/brokers/redis/keys.js';
import { type Read, Subscriptions } from '../../src/brokers/redis/subscriptions.js';

/** Twice: what one turn schedules is done in the next. */
const settled = () => new Promise(resolve => setImmediate(() => setImmediate(resolve)));
const NOTHING = { entries: [], lost: 0, cursor: '', final: false };

/** @param server of a key @param most keys that one command takes @param clustered whether they must be of one slot */
function scripted(server: (key: string) => string = () => '', most = 10, clustered = false) {
  const keys = new Keys('tagwait', 0, clustered);
  const sent: string[] = [];
  const limits: number[] = [];
  /** what requests were answered: "key since entries", or "key since" and the error */
  const answered: string[] = [];
  const open: { succeed(): void; fail(): void; part(): void }[] = [];
  let ready = true;
  const subscribe = (reads: readonly Read[], limit: number) =>
    new Promise<Read[]>(resolve => {
      sent.push(reads.map(({ key, from }) => `+${key}${from}`).join());
      limits.push(limit);
      const succeed = (done: readonly Read[], rest: Read[] = []) => {
        for (const { requests, entries } of done)
          for (const request of requests) request.resolve({ ...NOTHING, entries });
        resolve(rest);
      };
      open.push({
        succeed: () => succeed(reads),
        fail() {
          for (const { requests } of reads)
            for (const { reject } of requests) reject(new Unavailable('away'));
          resolve([]);
        },
        // of the first read one entry, of the others nothing
        part() {
          const [first] = reads as [Read];
          first.entries.push({ value: '1', cursor: `${first.from}*`, prev: '', final: false });
          first.from += '*';
          succeed([], [...reads]);
        },
      });
    });
  const unsubscribe = (keys: readonly string[]) =>
    new Promise<void>((resolve, reject) => {
      sent.push(keys.map(key => `-${key}`).join());
      open.push({ succeed: resolve, fail: () => reject(new Unavailable('away')), part: resolve });
    });
  const subscriptions: Subscriptions = new Subscriptions(
    {
      subscribe,
      unsubscribe,
      batches: items => keys.batches(items, most),
      take: queue => keys.take(queue, most),
      server,
    },
    () => void setImmediate(() => subscriptions.flush(ready)),
  );
  return {
    sent,
    limits,
    answered,
    subscribe: (key: string, since = '') =>
      subscriptions.subscribe({
        key,
        since,
        resolve: ({ entries }) => answered.push(`${key}${since} ${entries.length}`),
        reject: ({ message }) => answered.push(`${key}${since} ${message}`),
      }),
    unsubscribe: (key: string) => subscriptions.unsubscribe(key),
    away() {
      ready = false;
    },
    back() {
      ready = true;
      subscriptions.resume();
    },
    /** @param count of the commands that are open; the oldest first */
    async answer(what: 'succeed' | 'fail' | 'part' = 'succeed', count = open.length) {
      await settled();
      for (const one of open.splice(0, count || open.length)) one[what]();
      await settled();
    },
  };
}

test('a key that is unsubscribed while Redis is away is unsubscribed when it is back', async () => {
  const { sent, subscribe, unsubscribe, away, back, answer } = scripted();
  subscribe('a');
  await answer();
  away();
  unsubscribe('a');
  await answer();
  expect(sent).toEqual(['+a']);
  back();
  await answer();
  expect(sent).toEqual(['+a', '-a']);
  back();
  await answer();
  expect(sent, 'once').toEqual(['+a', '-a']);
});

test('an unsubscribe that failed is sent again when Redis is back, unless the key is wanted again', async () => {
  const { sent, subscribe, unsubscribe, back, answer } = scripted();
  for (const key of ['a', 'b']) subscribe(key);
  await answer();
  for (const key of ['a', 'b']) unsubscribe(key);
  await answer('fail');
  subscribe('b');
  await answer();
  back();
  await answer();
  expect(sent).toEqual(['+a,+b', '-a,-b', '+b', '-a']);
});

test('a key that is given up and asked for again in one turn stays subscribed', async () => {
  const { sent, subscribe, unsubscribe, answer } = scripted();
  subscribe('a');
  await answer();
  unsubscribe('a');
  subscribe('a');
  await answer();
  expect(sent).toEqual(['+a', '+a']);
});

test('one command for a key is under way at a time, and what was wanted last is sent last', async () => {
  const { sent, subscribe, unsubscribe, answer } = scripted();
  subscribe('a');
  await settled();
  unsubscribe('a');
  await settled();
  expect(sent).toEqual(['+a']);
  await answer();
  expect(sent).toEqual(['+a', '-a']);
  subscribe('a');
  await settled();
  expect(sent).toEqual(['+a', '-a']);
  await answer();
  expect(sent).toEqual(['+a', '-a', '+a']);
  await answer();
  expect(sent).toEqual(['+a', '-a', '+a']);
});

test('a key that is given up again while it is unsubscribed is unsubscribed once', async () => {
  const { sent, subscribe, unsubscribe, back, answer } = scripted();
  subscribe('a');
  await answer();
  unsubscribe('a');
  await settled();
  unsubscribe('a');
  await answer();
  back();
  await answer();
  expect(sent).toEqual(['+a', '-a']);
});

test('a key that is asked for and given up while it is unsubscribed is read, then unsubscribed', async () => {
  const { sent, subscribe, unsubscribe, answer } = scripted();
  subscribe('a');
  await answer();
  unsubscribe('a');
  await settled();
  subscribe('a');
  unsubscribe('a');
  for (let count = 0; count < 4; count++) await answer();
  expect(sent).toEqual(['+a', '-a', '+a', '-a']);
});

test('requests for the same are one read, those from another cursor are another one', async () => {
  const { sent, subscribe, answered, answer } = scripted();
  for (const since of ['', '1', '']) subscribe('a', since);
  subscribe('b');
  await answer();
  expect(sent).toEqual(['+a,+a1,+b']);
  expect(answered.sort()).toEqual(['a 0', 'a 0', 'a1 0', 'b 0']);
});

test('what a reply had no room for is read next, before what came later, and is one answer', async () => {
  const { sent, subscribe, answered, answer } = scripted(undefined, 2);
  for (const key of ['a', 'b', 'c']) subscribe(key);
  await settled();
  await answer('part', 1);
  expect(sent).toEqual(['+a,+b', '+c', '+a*,+b']);
  expect(answered).toEqual([]);
  await answer();
  expect(answered).toEqual(['c 0', 'a 1', 'b 0']);
  await answer();
  expect(sent).toHaveLength(3);
});

test('a request joins a read that goes on, also one that came while a part was on its way', async () => {
  const { sent, subscribe, answered, answer } = scripted();
  subscribe('a');
  await settled();
  subscribe('a');
  subscribe('a', '1');
  await answer('part');
  expect(sent).toEqual(['+a', '+a*,+a1']);
  await answer();
  expect(answered).toEqual(['a 1', 'a 1', 'a1 0']);
  subscribe('a');
  await answer();
  expect(sent).toEqual(['+a', '+a*,+a1', '+a']);
});

test('a key that is given up while it is read in parts is unsubscribed after the last one', async () => {
  const { sent, subscribe, unsubscribe, answer } = scripted();
  subscribe('a');
  await settled();
  unsubscribe('a');
  await answer('part');
  await answer();
  await answer();
  expect(sent).toEqual(['+a', '+a*', '-a']);
});

test('16 commands are on their way to a server; more wait for a reply, and go in few', async () => {
  const { sent, limits, subscribe, answer } = scripted(key => (key.startsWith('x') ? 'x' : ''));
  for (let number = 0; number < 20; number++) {
    subscribe(`${number}`);
    await settled();
  }
  expect(sent).toHaveLength(16);
  expect(new Set(limits)).toEqual(new Set([256 * 1024]));
  subscribe('x');
  await settled();
  expect(sent.slice(16), 'another server').toEqual(['+x']);
  await answer('succeed', 1);
  expect(sent.slice(17)).toEqual(['+16,+17,+18,+19']);
  await answer();
  expect(sent).toHaveLength(18);
});

test('on a Cluster, the keys of one slot go in one command, whatever lies between them', async () => {
  // a hash tag stands for the slot
  const { subscribe, sent, answer } = scripted(() => '', 3, true);
  for (const key of ['{a}1', '{b}1', '{a}2', '{b}2', '{a}3', '{b}3', '{a}4']) subscribe(key);
  await answer();
  expect(sent).toEqual(['+{a}1,+{a}2,+{a}3', '+{b}1,+{b}2,+{b}3', '+{a}4']);
});

test('while Redis is away, what cannot be sent now fails at once', async () => {
  const { sent, subscribe, unsubscribe, answered, away, back, answer } = scripted(undefined, 1);
  for (let number = 0; number < 18; number++) subscribe(`${number}`);
  away();
  await settled();
  expect(sent).toHaveLength(16);
  expect(answered).toEqual(['16', '17'].map(key => `${key} Redis: too many reads wait for it`));
  unsubscribe('16');
  await answer('fail');
  expect(answered).toHaveLength(18);
  back();
  await answer();
  expect(sent.slice(16), 'no read is left').toEqual(['-16']);
  subscribe('17');
  await answer();
  expect(sent.slice(17)).toEqual(['+17']);
});
