/** When a key begins another epoch in a real Redis, and what a cursor of the one before is worth then. */
import { expect, onTestFinished, test } from 'vitest';
import { Conflict } from '../../src/brokers/broker.js';
import { RedisBroker } from '../../src/brokers/redis/redis.js';
import { until } from '../harness.js';
import { type RedisServer, redisServer } from '../redis.js';

const log = { info() {}, warn() {} };
const TTL = 600_000;
const QUICK = ['--repl-diskless-sync-delay', '0'];

async function brokerOf(redis: RedisServer): Promise<RedisBroker> {
  const store = { kind: 'server', url: redis.url } as const;
  const made = new RedisBroker({ store, prefix: 'tagwait', history: 16, wait: 0, node: 'n', log });
  const events = { entry() {}, gap() {}, held: () => 0, drop() {} };
  await made.start({ ...events, describe: () => ({ id: 'n', held: 0, version: '0', uptime: 0 }) });
  onTestFinished(() => made.close());
  return made;
}

/** Sets a value as soon as Redis accepts it. @returns the cursor */
const stored = async (broker: RedisBroker, value: string, expect?: string) => {
  const options = { ttl: TTL, ...(expect === undefined ? {} : { expect }) };
  return (await until(() => broker.set('k', value, options).catch(() => undefined))).cursor;
};
const after = async (broker: RedisBroker, cursor: string) => {
  const { entries, lost } = await until(() => broker.subscribe('k', cursor).catch(() => undefined));
  return { values: entries.map(({ value }) => value), lost };
};
const epochOf = (cursor: string) => cursor.split('-')[0];

async function follow(replica: RedisServer, master: RedisServer): Promise<void> {
  await replica.client.replicaof('127.0.0.1', master.port);
  await until(async () => (await replica.client.info('replication')).includes('master_link_status:up'));
}
const promote = (server: RedisServer) => server.client.replicaof('NO', 'ONE');
async function restart(server: RedisServer): Promise<void> {
  await server.kill();
  await server.start();
}

interface Event {
  args?: string[];
  before?(server: RedisServer): Promise<unknown>;
  happens(server: RedisServer): Promise<unknown>;
  begins: boolean;
}
const replicaConnects = async (server: RedisServer) => follow(await redisServer(QUICK), server);

test.each<[string, Event]>([
  ['nothing happens', { happens: async () => {}, begins: false }],
  ['the first replica connects', { happens: replicaConnects, begins: true }],
  ['another replica connects', { before: replicaConnects, happens: replicaConnects, begins: false }],
  [
    'a restart with an append-only file',
    { args: ['--appendonly', 'yes', '--appendfsync', 'always'], happens: restart, begins: true },
  ],
  [
    'a restart with a snapshot',
    {
      async happens(server) {
        await server.client.call('SAVE');
        await restart(server);
      },
      begins: true,
    },
  ],
  [
    'the same process is demoted and promoted again',
    {
      async happens(server) {
        await server.client.replicaof('127.0.0.1', 1);
        await promote(server);
      },
      begins: true,
    },
  ],
])('%s: nothing is lost and nothing repeated', async (_, { args = [], before, happens, begins }) => {
  const redis = await redisServer([...QUICK, ...args]);
  await before?.(redis);
  const broker = await brokerOf(redis);
  const first = await stored(broker, 'v1');
  await happens(redis);
  const second = await stored(broker, 'v2', first);
  expect(epochOf(second) !== epochOf(first)).toBe(begins);
  expect(await after(broker, first)).toEqual({ values: ['v2'], lost: 0 });
  expect(await after(broker, second)).toEqual({ values: [], lost: 0 });
});

test.each([1, 2, 3])(
  'failover to a replica that is %s values behind, and back: a cursor of a lost value hears all that is stored since',
  async behind => {
    const [one, two] = [await redisServer(QUICK), await redisServer(QUICK)];
    await follow(two, one);
    const broker = await brokerOf(one);
    const kept = await stored(broker, 'kept');
    await until(async () => (await two.client.hget('tagwait:1:{k}', 'n')) === '1');
    // no master there: it keeps what it has
    await two.client.replicaof('127.0.0.1', 1);
    let lost = kept;
    for (let count = 0; count < behind; count++) lost = await stored(broker, `lost ${count}`);
    await promote(two);
    await follow(one, two);
    await promote(one);
    const since: string[] = [];
    for (let count = 0; count < behind + 1; count++) {
      const cursor = await stored(broker, `new ${count}`);
      since.push(`new ${count}`);
      expect(await after(broker, lost)).toEqual({ values: since, lost: 0 });
      expect(await after(broker, cursor)).toEqual({ values: [], lost: 0 });
      expect(cursor).not.toBe(lost);
      await expect(broker.set('k', 'expects a lost one', { ttl: TTL, expect: lost })).rejects.toThrow(
        Conflict,
      );
    }
    expect(await after(broker, kept)).toEqual({ values: since, lost: 0 });
  },
);
