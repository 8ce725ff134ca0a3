/** The batches of keys that one script may use. */
import slotOf from 'cluster-key-slot';
import { expect, test } from 'vitest';
import { Keys } from '../../src/brokers/redis/keys.js';

const named = (...keys: string[]) => keys.map(key => ({ key }));
/** Two keys of one slot. */
function twins(): [string, string] {
  const seen = new Map<number, string>();
  for (let number = 0; ; number++) {
    const key = `k${number}`;
    const before = seen.get(slotOf(key));
    if (before !== undefined) return [before, key];
    seen.set(slotOf(key), key);
  }
}

test('from a queue, so many keys are taken as one command may have', () => {
  const keys = new Keys('tagwait', 0, false);
  const queue = named('a', 'b', 'c');
  expect(keys.take(queue, 2)).toEqual(named('a', 'b'));
  expect(keys.take(queue, 2)).toEqual(named('c'));
  expect(queue).toEqual([]);
});

test('on a Cluster, those of one slot that follow each other', () => {
  const keys = new Keys('tagwait', 0, true);
  const [one, two] = twins();
  const queue = named(one, two, 'other', one, two, one);
  expect(keys.take(queue, 200)).toEqual(named(one, two));
  expect(keys.take(queue, 200)).toEqual(named('other'));
  expect(keys.take(queue, 2)).toEqual(named(one, two));
  expect(keys.take(queue, 2)).toEqual(named(one));
});
