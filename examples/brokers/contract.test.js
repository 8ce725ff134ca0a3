/**
 * The contract test of tagwait, over the brokers of this folder:
 *
 *   POSTGRES_URL=postgres://… ZOOKEEPER=127.0.0.1:2181 node --test examples/brokers/
 *
 * It makes 300 sets at once: on a busy machine, the last of them wait long for a connection.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { brokerContract, HISTORY } from 'tagwait/broker-contract';
import { PostgresBroker } from './postgres.js';
import { ZookeeperBroker } from './zookeeper.js';

const { POSTGRES_URL: url, ZOOKEEPER: servers } = process.env;
const stores = [
  url && {
    name: 'PostgreSQL',
    create: node => new PostgresBroker({ url, node, history: HISTORY, timeout: 20_000 }),
  },
  servers && { name: 'ZooKeeper', create: node => new ZookeeperBroker({ servers, node, history: HISTORY }) },
].filter(Boolean);
assert.ok(stores.length > 0, 'POSTGRES_URL or ZOOKEEPER: give at least one');

for (const { name, create } of stores)
  for (const check of brokerContract(2)) test(`${name}: ${check.name}`, () => check.run(create));

test('PostgreSQL: a value that is too large for a notification is announced as a gap of its key', {
  skip: !url,
}, async () => {
  const gaps = [];
  const broker = new PostgresBroker({ url, node: 'large', history: HISTORY });
  await broker.start({
    entry: () => gaps.push('an entry'),
    gap: key => key && gaps.push(key),
    held: () => 1,
    drop() {},
    describe: () => ({ id: 'large', held: 1, version: '0', uptime: 0 }),
  });
  await broker.subscribe('large', '');
  const value = JSON.stringify('x'.repeat(10_000));
  await broker.set('large', value, { ttl: 60_000 });
  while (gaps.length === 0) await new Promise(resolve => setTimeout(resolve, 10));
  assert.deepEqual(gaps, ['large']);
  assert.equal((await broker.subscribe('large', '')).entries[0].value, value);
  await broker.close();
});
