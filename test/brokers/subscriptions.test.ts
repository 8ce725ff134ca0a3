/** What is sent to Redis of subscriptions, against commands that the test answers: orders that a real one rarely shows. */
import { expect, test } from 'vitest';
import { Unavailable } from '../../src/brokers/broker.js';
import { type PendingSubscribe, Subscriptions } from '../../src/brokers/redis/subscriptions.js';

/** Twice: what one turn schedules is done in the next. */
const settled = () => new Promise(resolve => setImmediate(() => setImmediate(resolve)));
const NOTHING = { entries: [], lost: 0, cursor: '', final: false };

function scripted() {
  const sent: string[] = [];
  const open: { what: string; succeed(): void; fail(): void }[] = [];
  let ready = true;
  const command = (what: string, succeed: () => void, fail: () => void) =>
    new Promise<void>((resolve, reject) => {
      sent.push(what);
      const end = (settle: () => void, result: () => void) => () => {
        settle();
        result();
      };
      const failed = () => (what.startsWith('-') ? reject(new Unavailable('away')) : resolve());
      open.push({ what, succeed: end(succeed, resolve), fail: end(fail, failed) });
    });
  const subscriptions: Subscriptions = new Subscriptions(
    {
      subscribe: pending =>
        command(
          pending.map(({ key }) => `+${key}`).join(),
          () => {
            for (const { resolve } of pending) resolve(NOTHING);
          },
          () => {
            for (const { reject } of pending) reject(new Unavailable('away'));
          },
        ),
      unsubscribe: keys =>
        command(
          keys.map(key => `-${key}`).join(),
          () => {},
          () => {},
        ),
      batches: items => (items.length > 0 ? [[...items]] : []),
    },
    () => void setImmediate(() => subscriptions.flush(ready)),
  );
  const pending = (key: string): PendingSubscribe => ({ key, since: '', resolve() {}, reject() {} });
  return {
    sent,
    subscribe: (key: string) => subscriptions.subscribe(pending(key)),
    unsubscribe: (key: string) => subscriptions.unsubscribe(key),
    away() {
      ready = false;
    },
    back() {
      ready = true;
      subscriptions.resume();
    },
    async answer(what: 'succeed' | 'fail' = 'succeed') {
      await settled();
      for (const one of open.splice(0)) one[what]();
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
