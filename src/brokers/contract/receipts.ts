/** Checks of receipts. A broker without `prove` passes them: it knows of no receipts. */
import assert from 'node:assert/strict';
import { type Checks, HISTORY, TTL, until } from './nodes.js';

export const proving: Checks = {
  'a proved entry is reported to the node whose set waits, once, and to its repeats': async ({
    key,
    node,
  }) => {
    const { broker, delivered, receipts } = await node();
    if (!broker.prove) return;
    const options = { ttl: TTL, id: 'one', receipt: 1000 };
    await broker.subscribe(key, '');
    const { cursor, received } = await broker.set(key, '1', options);
    assert.ok(!received, 'nothing is proved yet');
    await until(() => delivered.length === 1, 'the entry is delivered');
    assert.equal(delivered[0]?.[1].receipt, true, 'the delivered entry says that a receipt is wanted');
    const read = await broker.subscribe(key, '');
    assert.deepEqual([read.wanted, read.entries[0]?.receipt], [[cursor], true]);
    const again = await broker.set(key, '1', options);
    assert.deepEqual([again.repeated, again.received ?? false], [true, false]);
    await until(
      () => receipts.length === 1,
      'a repeat asks for the proof of an entry that was delivered before',
    );
    broker.prove(key, cursor);
    broker.prove(key, cursor);
    await until(() => receipts.length === 2, 'the proof is reported');
    assert.deepEqual(receipts, [`wanted ${cursor}`, `proved ${cursor}`]);
    const late = await broker.set(key, '1', options);
    assert.deepEqual([late.cursor, late.received], [cursor, true]);
    assert.deepEqual((await broker.subscribe(key, cursor)).wanted ?? [], []);
    assert.equal(receipts.length, 2);
  },

  'no proof of an entry that no set waits for, or that is no longer kept': async ({ key, node }) => {
    const { broker, receipts } = await node();
    if (!broker.prove) return;
    const plain = await broker.set(key, '1', { ttl: TTL });
    broker.prove(key, plain.cursor);
    const options = { ttl: TTL, id: 'one', receipt: 1000 };
    const lost = await broker.set(key, '2', options);
    for (let value = 0; value < HISTORY; value++) await broker.set(key, `${value}`, { ttl: TTL });
    broker.prove(key, lost.cursor);
    const again = await broker.set(key, '2', options);
    assert.deepEqual([again.repeated, again.received ?? false], [true, false]);
    assert.deepEqual((await broker.subscribe(key, '')).wanted ?? [], []);
    assert.deepEqual(receipts, []);
  },
};

/** Checks that need two nodes with one store. */
export const provingElsewhere: Checks = {
  'a proof on one node is reported to the other, whose set waits': async ({ key, node }) => {
    const [left, right] = [await node('left'), await node('right')];
    if (!left.broker.prove) return;
    const { cursor } = await right.broker.set(key, '1', { ttl: TTL, receipt: 1000 });
    assert.deepEqual((await left.broker.subscribe(key, cursor)).wanted, [cursor]);
    left.broker.prove(key, cursor);
    await until(() => right.receipts.length === 1, 'the proof is reported');
    assert.deepEqual([left.receipts, right.receipts], [[], [`proved ${cursor}`]]);
  },
};
