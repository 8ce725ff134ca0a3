/** Checks of storage: entries, cursors, final values, conflicts, repeated ids and time to live. */
import assert from 'node:assert/strict';
import { Conflict, type Peek } from '../broker.js';
import { type Checks, EMPTY, TTL, until, values, valuesOf } from './nodes.js';

const expired = ({ entries }: Peek) => entries.length === 0;

const conflict = (reason: 'final' | 'expect', cursor: string) => (error: unknown) => {
  assert.ok(error instanceof Conflict, `${error} is a Conflict`);
  assert.deepEqual({ reason: error.reason, cursor: error.cursor }, { reason, cursor });
  return true;
};

export const keeping: Checks = {
  'a value that is set while no request waits is kept': async ({ key, node }) => {
    const { broker, delivered } = await node();
    const { cursor, watched } = await broker.set(key, '1', { ttl: TTL });
    assert.equal(watched, false);
    assert.deepEqual(delivered, []);
    const backlog = await broker.subscribe(key, '');
    assert.deepEqual(values(backlog.entries), ['1']);
    assert.deepEqual({ ...backlog, entries: [] }, { ...EMPTY, cursor });
    assert.deepEqual(
      backlog.entries.map(({ cursor, prev, final }) => ({ cursor, prev, final })),
      [{ cursor, prev: '', final: false }],
    );
  },

  'a cursor gets the newer entries, and the number of newer entries that are no longer kept': async ({
    key,
    node,
  }) => {
    const { broker } = await node();
    const cursors = [''];
    for (const value of ['1', '2', '3', '4', '5', '6'])
      cursors.push((await broker.set(key, value, { ttl: TTL })).cursor);
    const since = async (number: number) => {
      const { entries, lost } = await broker.subscribe(key, cursors[number] as string);
      return [...values(entries), `lost ${lost}`];
    };
    assert.deepEqual(await since(0), ['3', '4', '5', '6', 'lost 2']);
    assert.deepEqual(await since(1), ['3', '4', '5', '6', 'lost 1']);
    assert.deepEqual(await since(2), ['3', '4', '5', '6', 'lost 0']);
    assert.deepEqual(await since(5), ['6', 'lost 0']);
    assert.deepEqual(await since(6), ['lost 0']);
  },

  'a cursor of an earlier epoch, or a made-up one, counts as none': async ({ key, node }) => {
    const { broker } = await node();
    const old = await broker.set(key, '"old"', { ttl: 40 });
    await until(async () => expired(await broker.peek(key)), 'the key has expired');
    assert.deepEqual(await broker.subscribe(key, old.cursor), EMPTY);
    const young = await broker.set(key, '"new"', { ttl: TTL });
    assert.notEqual(young.cursor, old.cursor);
    for (const cursor of [old.cursor, 'x', '-', 'x-1', 'x-', '.-9', '__proto__', '0', '1', '1-1-1'])
      assert.deepEqual(values((await broker.subscribe(key, cursor)).entries), ['"new"'], cursor);
  },

  'an offset beyond the newest has seen everything, and gets the next entry': async ({ key, node }) => {
    const one = await node();
    const { cursor } = await one.broker.set(key, '1', { ttl: TTL });
    const backlog = await one.broker.subscribe(key, cursor.replace(/\w+$/, '9'));
    assert.deepEqual(backlog, { ...EMPTY, cursor });
    await one.broker.set(key, '2', { ttl: TTL });
    await until(() => valuesOf(one).includes('2'), 'the next value is delivered');
  },

  'after a final entry every set is a conflict, with the newest cursor': async ({ key, node }) => {
    const { broker } = await node();
    const { cursor } = await broker.set(key, '1', { ttl: TTL, final: true });
    for (const more of [{}, { final: true }, { expect: cursor }, { id: 'a' }])
      await assert.rejects(broker.set(key, '2', { ttl: TTL, ...more }), conflict('final', cursor));
    assert.deepEqual(values((await broker.peek(key)).entries), ['1']);
  },

  'with the same expect, one of two sets succeeds, also if final': async ({ key, node }) => {
    const { broker } = await node();
    const set = (value: string, final: boolean) => broker.set(key, value, { ttl: TTL, expect: '', final });
    const both = await Promise.allSettled([set('"a"', false), set('"b"', false)]);
    assert.deepEqual(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
    const { cursor, entries } = await broker.peek(key);
    assert.equal(entries.length, 1);
    await assert.rejects(set('"c"', true), conflict('expect', cursor));
    await assert.rejects(broker.set(key, '"d"', { ttl: TTL, expect: 'x-1' }), conflict('expect', cursor));
    const next = await broker.set(key, '"e"', { ttl: TTL, expect: cursor, final: true });
    assert.equal((await broker.peek(key)).cursor, next.cursor);
  },

  'a second set with the same id stores nothing and returns the first receipt': async ({ key, node }) => {
    const { broker } = await node();
    await broker.subscribe(key, '');
    const first = await broker.set(key, '1', { ttl: TTL, id: 'a', expect: '' });
    await broker.set(key, '2', { ttl: TTL, id: '__proto__', final: true });
    broker.unsubscribe(key);
    const again = await broker.set(key, '1', { ttl: TTL, id: 'a', expect: '' });
    assert.deepEqual(again, { ...first, repeated: true });
    assert.deepEqual(values((await broker.peek(key)).entries), ['1', '2']);
  },

  'the id of a refused set can be used again': async ({ key, node }) => {
    const { broker } = await node();
    await assert.rejects(broker.set(key, '1', { ttl: TTL, id: 'a', expect: 'x-1' }), conflict('expect', ''));
    await broker.set(key, '1', { ttl: TTL, id: 'a', expect: '' });
    assert.deepEqual(values((await broker.peek(key)).entries), ['1']);
  },

  'ttl counts from the last set, for all entries of the key': async ({ key, node }) => {
    const { broker } = await node();
    await broker.set(key, '1', { ttl: 200 });
    await broker.set(key, '2', { ttl: TTL });
    const { ttl, entries } = await broker.peek(key);
    assert.ok(ttl > TTL - 5000 && ttl <= TTL, `${ttl} ms are left`);
    assert.equal(entries.length, 2);
    await broker.set(key, '3', { ttl: 30 });
    await until(async () => expired(await broker.peek(key)), 'the key has expired');
    const { waiters: _, ...rest } = await broker.peek(key);
    assert.deepEqual(rest, { entries: [], cursor: '', final: false, ttl: 0 });
  },

  'unusual but valid keys work like any other': async ({ node }) => {
    const { broker } = await node();
    const valid = ['__proto__', 'constructor', '.', '..', 'a:b', '~', '-', 'hasOwnProperty', 'x'.repeat(128)];
    for (const key of valid) {
      await broker.subscribe(key, '');
      await broker.set(key, `"${key.length}"`, { ttl: 500 });
      assert.equal(values((await broker.peek(key)).entries).at(-1), `"${key.length}"`);
    }
  },
};
