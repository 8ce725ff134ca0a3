/** Checks of delivery: to one node, and between two nodes with one store. */
import assert from 'node:assert/strict';
import { type Broker, type Entry, Unavailable } from '../broker.js';
import { type Checks, EMPTY, HISTORY, type Node, TTL, until, values, valuesOf } from './nodes.js';

export const delivering: Checks = {
  'a subscribed node gets each entry, and each entry names the one before': async ({ key, node }) => {
    const one = await node();
    assert.deepEqual(await one.broker.subscribe(key, ''), EMPTY);
    const first = await one.broker.set(key, '1', { ttl: TTL });
    const second = await one.broker.set(key, '2', { ttl: TTL, final: true });
    assert.ok(first.watched && second.watched, 'both sets say that the key is watched');
    await until(() => one.delivered.length === 2, 'both entries are delivered');
    const [[, before], [, after]] = one.delivered as [[string, Entry], [string, Entry]];
    assert.deepEqual(
      { ...before, at: 0 },
      { value: '1', cursor: first.cursor, prev: '', final: false, at: 0 },
    );
    assert.deepEqual(
      { ...after, at: 0 },
      { value: '2', cursor: second.cursor, prev: first.cursor, final: true, at: 0 },
    );
    assert.deepEqual(await one.broker.subscribe(key, second.cursor), {
      ...EMPTY,
      cursor: second.cursor,
      final: true,
    });
  },

  'a key that was unsubscribed is not watched': async ({ key, node }) => {
    const { broker } = await node();
    await broker.subscribe(key, '');
    broker.unsubscribe(key);
    await until(async () => !(await broker.set(key, '1', { ttl: TTL })).watched, 'the key is not watched');
  },

  'an unsubscribe never cancels a later subscribe': async ({ key, node }) => {
    const one = await node();
    const keys = Array.from({ length: 50 }, (_, number) => `${key}-${number}`);
    await Promise.all(keys.map(each => one.broker.subscribe(each, '')));
    for (let turn = 0; turn < 3; turn++) {
      for (const each of keys) one.broker.unsubscribe(each);
      if (turn === 1) await new Promise(resolve => setImmediate(resolve));
      await Promise.all(keys.map(each => one.broker.subscribe(each, '')));
    }
    const receipts = await Promise.all(keys.map(each => one.broker.set(each, '1', { ttl: TTL })));
    assert.ok(
      receipts.every(({ watched }) => watched),
      'every key is watched',
    );
    await until(() => one.delivered.length >= keys.length, 'every entry is delivered');
  },

  'peek shows entries, their cursors and the requests held': async ({ key, node }) => {
    const { broker } = await node('here');
    await broker.subscribe(key, '');
    const { cursor } = await broker.set(key, '{"a":1}', { ttl: TTL });
    const peek = await broker.peek(key);
    assert.deepEqual(
      peek.entries.map(({ value, cursor }) => ({ value, cursor })),
      [{ value: '{"a":1}', cursor }],
    );
    assert.equal(peek.cursor, cursor);
    assert.equal(peek.final, false);
    assert.deepEqual(peek.waiters, { here: 1 });
    assert.equal((await broker.nodes())[0]?.id, 'here');
  },

  'many sets at once: every entry is delivered, in order, or a gap is reported': async ({ key, node }) => {
    const one = await node();
    await one.broker.subscribe(key, '');
    one.gaps.length = 0;
    const sets = Array.from({ length: 40 }, (_, value) => one.broker.set(key, `${value}`, { ttl: TTL }));
    await Promise.all(sets);
    const { cursor: newest, entries } = await one.broker.peek(key);
    await until(() => one.delivered.at(-1)?.[1].cursor === newest, 'the newest entry is delivered');
    let before = '';
    let missed = 0;
    for (const [, { prev, cursor }] of one.delivered) {
      if (prev !== before) missed++;
      before = cursor;
    }
    assert.ok(
      one.gaps.length >= missed,
      `${missed} times entries were missed, ${one.gaps.length} gaps reported`,
    );
    if (missed > 0) return;
    assert.equal(one.delivered.length, 40);
    assert.deepEqual(values(entries), valuesOf(one).slice(-HISTORY));
  },

  'a subscribe at the time of a set reads the entry or gets it delivered': async ({ key, node }) => {
    const one = await node();
    await race(key, one, one.broker);
  },

  'a closed broker throws no other error than Unavailable, and close takes a second at most': async ({
    key,
    node,
  }) => {
    const { broker } = await node();
    const { cursor } = await broker.set(key, '1', { ttl: TTL });
    const before = performance.now();
    await broker.close();
    assert.ok(performance.now() - before < 1500, 'close takes a second at most');
    broker.unsubscribe(key);
    broker.drop?.(key, 'name', '127.0.0.1');
    broker.prove?.(key, cursor);
    assert.equal(typeof broker.status().up, 'boolean', 'status says whether the store can be reached');
    const calls: Record<string, () => unknown> = {
      set: () => broker.set(key, '2', { ttl: TTL }),
      subscribe: () => broker.subscribe(key, ''),
      verify: () => broker.verify?.([{ key, position: cursor }]),
      peek: () => broker.peek(key),
      nodes: () => broker.nodes(),
    };
    await Promise.all(
      Object.entries(calls).map(([method, call]) =>
        (async () => call())().catch(error =>
          assert.ok(error instanceof Unavailable, `${method}: ${error} is an Unavailable`),
        ),
      ),
    );
  },

  'with a finite lease, verify returns the keys with a loss and no others': async ({ key, node }) => {
    const { broker } = await node();
    assert.ok(broker.lease > 0, 'the lease is in ms');
    if (broker.lease === Number.POSITIVE_INFINITY) return;
    assert.ok(broker.verify, 'a finite lease needs verify');
    const { cursor } = await broker.set(key, '1', { ttl: TTL });
    await broker.subscribe(key, cursor);
    assert.deepEqual(await broker.verify([{ key, position: cursor }]), []);
    assert.deepEqual(await broker.verify([{ key, position: '' }]), [key]);
    assert.deepEqual(await broker.verify([{ key: `${key}-unknown`, position: '' }]), [`${key}-unknown`]);
    // on a Cluster, some of them are on one server and in different slots
    const many = Array.from({ length: 12 }, (_, number) => ({ key: `${key}-${number}`, position: '' }));
    await Promise.all(many.map(other => broker.subscribe(other.key, '')));
    assert.deepEqual(await broker.verify(many), [], 'many keys in one call');
    assert.deepEqual(await broker.verify([...many, { key, position: '' }]), [key]);
  },
};

/** Checks that need two nodes with one store. */
export const sharing: Checks = {
  'held on one node, set on the other: each entry arrives once': async ({ key, node }) => {
    const [left, right] = [await node('left'), await node('right')];
    await left.broker.subscribe(key, '');
    assert.equal((await right.broker.set(key, '1', { ttl: TTL })).watched, true);
    await right.broker.subscribe(key, '');
    const { cursor } = await left.broker.set(key, '2', { ttl: TTL });
    await until(() => left.delivered.length === 2 && right.delivered.length >= 1, 'both nodes get the entry');
    assert.deepEqual(valuesOf(left), ['1', '2']);
    assert.equal((await right.broker.peek(key)).cursor, cursor);
    assert.deepEqual((await left.broker.peek(key)).waiters, { left: 1, right: 1 });
    const ids = async () => (await right.broker.nodes()).map(({ id }) => id).join();
    await until(async () => (await ids()) === 'right,left', 'each node lists both, itself first');
  },

  'two nodes watch a key and one unsubscribes: the other still gets its entries': async ({ key, node }) => {
    const [left, right] = [await node('left'), await node('right')];
    await Promise.all([left.broker.subscribe(key, ''), right.broker.subscribe(key, '')]);
    left.broker.unsubscribe(key);
    await until(async () => {
      const before = left.delivered.length;
      const reached = right.delivered.length;
      const { watched } = await left.broker.set(key, '1', { ttl: TTL });
      assert.equal(watched, true, 'the other node still watches');
      await until(() => right.delivered.length > reached, 'the entry is delivered to the other node');
      return left.delivered.length === before;
    }, 'the entries stop at the node that unsubscribed');
  },

  'a subscribe on one node at the time of a set on the other misses nothing': async ({ key, node }) => {
    await race(key, await node('left'), (await node('right')).broker);
  },

  'a closed node is no longer listed, and its keys are not watched': async ({ key, node }) => {
    const [left, right] = [await node('left'), await node('right')];
    await left.broker.subscribe(key, '');
    await left.broker.close();
    await until(
      async () => !(await right.broker.set(key, '1', { ttl: TTL })).watched,
      'the key is not watched',
    );
    assert.deepEqual(
      (await right.broker.nodes()).map(({ id }) => id),
      ['right'],
    );
  },
};

/** Sets and subscribes to 300 keys at once, each set delayed by 0 to 3 turns of the event loop. */
async function race(key: string, { broker, delivered }: Node, setter: Broker): Promise<void> {
  const keys = Array.from({ length: 300 }, (_, number) => `${key}-${number}`);
  const missed = new Set(keys);
  await Promise.all(
    keys.map(async (each, number) => {
      const set = async () => {
        for (let turn = 0; turn < number % 4; turn++) await new Promise(resolve => setImmediate(resolve));
        await setter.set(each, '1', { ttl: TTL });
      };
      const [backlog] = await Promise.all([broker.subscribe(each, ''), set()]);
      if (backlog.entries.length > 0) missed.delete(each);
    }),
  );
  await until(() => {
    for (const [each] of delivered) missed.delete(each);
    return missed.size === 0;
  }, 'every key was read or delivered');
}
