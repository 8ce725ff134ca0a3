/** The Redis broker keeps the promises of a broker over the store of the deterministic run: its TypeScript, in a second. */
import slotOf from 'cluster-key-slot';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { type Broker, Conflict, type Events, RECEIPTS, Unavailable } from '../../src/brokers/broker.js';
import { brokerContract, HISTORY } from '../../src/brokers/contract/contract.js';
import { RedisBroker } from '../../src/brokers/redis/redis.js';
import { isCurrent } from '../../src/brokers/redis/verifier.js';
import { Random } from '../chaos/random.js';
import { until } from '../wait.js';
import { FakeCluster, fakeConnections } from './clients.js';
import { Line, Server } from './server.js';

const log = { info() {}, warn() {} };
const TTL = { ttl: 60_000 };

function servers(count: number): Server[] {
  const all = Array.from({ length: count }, (_, index) => new Server(7001 + index));
  for (const one of all) one.others = all.filter(other => other !== one);
  return all;
}

function brokerOn(
  all: Server[],
  node = 'n',
  { wait = 0, lease = undefined as number | undefined, database = 0 } = {},
) {
  const store =
    all.length > 1
      ? ({ kind: 'cluster', nodes: all.map(({ port }) => `fake:${port}`) } as const)
      : ({ kind: 'server', url: `redis://fake:7001/${database}` } as const);
  return new RedisBroker({ store, prefix: 'tagwait', history: HISTORY, wait, node, lease, log }, () =>
    fakeConnections(new Line(new Random(1), 0.2), all, all.length > 1),
  );
}

describe.each([
  ['one server', servers(1)],
  ['a Cluster', servers(3)],
])('Redis, %s, keeps the promises of a broker', (_, all) => {
  test.each(brokerContract(2))('$name', ({ run }) => run(node => brokerOn(all, node)));
});

const quiet: Events = {
  entry() {},
  gap() {},
  held: () => 1,
  drop() {},
  describe: () => ({ id: 'n', held: 0, version: '0', uptime: 0 }),
};
async function started<T extends Broker>(broker: T, events: Partial<Events> = {}): Promise<T> {
  onTestFinished(() => broker.close());
  await broker.start({ ...quiet, ...events });
  await until(() => broker.status().up);
  return broker;
}
const refusal = async (work: Promise<unknown>) => {
  const error = (await work.then(
    () => undefined,
    error => error,
  )) as Error;
  expect(error).toBeInstanceOf(Unavailable);
  return error.message;
};

test('the sets of a tick go in scripts of 50, one of one key alone', async () => {
  const [server] = servers(1) as [Server];
  const broker = await started(brokerOn([server]));
  server.refusals.set('wait', 'ERR there are no replicas to wait for');
  const scripts = vi.spyOn(server.store, 'set');
  const set = (count: number) =>
    Promise.all(Array.from({ length: count }, (_, number) => broker.set(`k${number}`, '1', TTL)));
  await set(120);
  expect(scripts.mock.calls.map(([names]) => names.length / 2)).toEqual([50, 50, 20]);
  const [, args] = scripts.mock.calls[0] as unknown as [string[], string[]];
  expect(args.slice(0, 2)).toEqual([String(HISTORY), String(RECEIPTS)]);
  const epochs = scripts.mock.calls.map(([, [, , epoch]]) => epoch);
  expect(new Set(epochs).size).toBe(3);
});

test('a set lives for a millisecond at least, whatever its time to live is rounded to', async () => {
  const [server] = servers(1) as [Server];
  const broker = await started(brokerOn([server]));
  const scripts = vi.spyOn(server.store, 'set');
  for (const ttl of [0.2, 1.6]) await broker.set('k', '"v"', { ttl });
  expect(scripts.mock.calls.map(([, args]) => args[args.indexOf('"v"') + 1])).toEqual(['1', '2']);
});

test.each(['tagwaitSet', 'tagwaitSetMany', 'tagwaitSubscribe', 'tagwaitPeek', 'tagwaitRenew'])(
  'a refused %s is unavailable, with the words of Redis',
  async command => {
    const [server] = servers(1) as [Server];
    const broker = await started(brokerOn([server]));
    server.refusals.set(command, 'OOM command not allowed');
    const work: Record<string, () => Promise<unknown>> = {
      tagwaitSet: () => broker.set('k', '1', TTL),
      tagwaitSetMany: () => Promise.all([broker.set('k', '1', TTL), broker.set('l', '1', TTL)]),
      tagwaitSubscribe: () => broker.subscribe('k', ''),
      tagwaitPeek: () => broker.peek('k'),
      tagwaitRenew: () => broker.verify([{ key: 'k', position: '' }]),
    };
    expect(await refusal(work[command]?.() as Promise<unknown>)).toBe('Redis: OOM command not allowed');
    server.refusals.clear();
    await work[command]?.();
  },
);

test('a script that is refused fails each of its sets', async () => {
  const [server] = servers(1) as [Server];
  const broker = await started(brokerOn([server]));
  server.refusals.set('tagwaitSetMany', 'OOM');
  const sets = ['a', 'b', 'c'].map(key => refusal(broker.set(key, '1', TTL)));
  expect(await Promise.all(sets)).toEqual(['Redis: OOM', 'Redis: OOM', 'Redis: OOM']);
});

test('a set that is refused says nothing of another set of the same tick', async () => {
  const all = servers(3);
  const broker = await started(brokerOn(all));
  all[0]?.refusals.set('tagwaitSet', 'OOM');
  const results = await Promise.allSettled(
    Array.from({ length: 12 }, (_, number) => `k${number}`).map(key => broker.set(key, '1', TTL)),
  );
  expect(new Set(results.map(({ status }) => status))).toEqual(new Set(['fulfilled', 'rejected']));
});

test.each([
  ['for a key is a number', [42]],
  ['has none for a key', []],
  ['has read none of the keys', [null]],
])('a reply that %s drops the connection, and the next subscribe goes through', async (_, reply) => {
  const [server] = servers(1) as [Server];
  const broker = await started(brokerOn([server]));
  const odd = vi.spyOn(server.store, 'subscribe').mockReturnValue(reply);
  expect(await refusal(broker.subscribe('k', ''))).toMatch(/^Redis: an unexpected reply: \S/);
  odd.mockRestore();
  await until(() => broker.status().up && broker.status().reconnects === 1);
  expect(await broker.subscribe('k', '')).toMatchObject({ entries: [] });
});

test('a reply that no script gives drops the connection to that server of a Cluster, and the next subscribe goes through', async () => {
  const all = servers(3);
  const broker = await started(brokerOn(all));
  const odd = all.map(({ store }) => vi.spyOn(store, 'subscribe').mockReturnValue([42]));
  expect(await refusal(broker.subscribe('k', ''))).toMatch(/^Redis: an unexpected reply: \S/);
  for (const one of odd) one.mockRestore();
  expect(await refusal(broker.subscribe('k', ''))).toBe('Redis: there is no connection');
  expect(await until(() => broker.subscribe('k', '').catch(() => undefined))).toMatchObject({ entries: [] });
});

test('a reply that no script gives is an error, also when the Cluster knows no server of the slot any more', async () => {
  const all = servers(3);
  const broker = await started(brokerOn(all));
  for (const { store } of all) vi.spyOn(store, 'subscribe').mockReturnValue([42]);
  const none = vi.spyOn(FakeCluster.prototype, 'nodes').mockReturnValue([]);
  onTestFinished(() => none.mockRestore());
  expect(await refusal(broker.subscribe('k', ''))).toMatch(/^Redis: an unexpected reply: \S/);
});

test('each entry has the cursor of its set, also when Redis was restarted in between, and the last one is final', async () => {
  const [server] = servers(1) as [Server];
  const broker = await started(brokerOn([server]));
  const cursors: string[] = [];
  for (const final of [false, false, true]) {
    cursors.push((await broker.set('k', '1', { ...TTL, final })).cursor);
    server.restart();
  }
  expect(new Set(cursors.map(cursor => cursor.split('-')[0])).size).toBe(3);
  const [first, second, third] = cursors;
  const expected = [
    { cursor: first, prev: '', final: false },
    { cursor: second, prev: first, final: false },
    { cursor: third, prev: second, final: true },
  ];
  expect((await broker.subscribe('k', '')).entries).toMatchObject(expected);
  expect((await broker.peek('k')).entries).toMatchObject(expected);
});

test('only the entries whose sets wait for a receipt ask the page for one', async () => {
  const [server] = servers(1) as [Server];
  const broker = await started(brokerOn([server]));
  await broker.set('k', '1', TTL);
  const { cursor } = await broker.set('k', '2', { ...TTL, receipt: 1000 });
  await broker.set('k', '3', TTL);
  const { entries, wanted } = await broker.subscribe('k', '');
  expect(entries.map(({ value, receipt }) => [value, receipt])).toEqual([
    ['1', undefined],
    ['2', true],
    ['3', undefined],
  ]);
  expect(wanted).toEqual([cursor]);
});

test('an entry that someone has deleted in Redis counts as lost, and the others are read', async () => {
  const [server] = servers(1) as [Server];
  const broker = await started(brokerOn([server]));
  for (const value of ['1', '2', '3']) await broker.set('k', value, TTL);
  server.store.hash('tagwait:1:{k}')?.delete('2');
  const { entries, lost } = await broker.subscribe('k', '');
  expect([entries.map(({ value }) => value), lost]).toEqual([['1', '3'], 1]);
});

test('with `wait` a set is acknowledged when enough replicas have it, and is refused after a second without', async () => {
  const [server] = servers(1) as [Server];
  const broker = await started(brokerOn([server], 'n', { wait: 2 }));
  const waits: string[][] = [];
  let confirmed = 2;
  const execute = server.execute.bind(server);
  server.execute = (connection, name, names, args) => {
    if (name !== 'wait') return execute(connection, name, names, args);
    waits.push([...args]);
    return confirmed;
  };
  expect(await broker.set('k', '1', TTL)).toMatchObject({ watched: false });
  expect(waits).toEqual([['2', '1000']]);
  confirmed = 1;
  expect(await refusal(broker.set('k', '2', TTL))).toBe('stored, but on 1 of 2 replicas within a second');
  // a conflict waits for nobody
  waits.length = 0;
  await expect(broker.set('k', '3', { ...TTL, expect: 'x-1' })).rejects.toBeInstanceOf(Conflict);
  expect(waits).toEqual([]);
});

test('with `wait` the sets of the next tick start when those before are done', async () => {
  const [server] = servers(1) as [Server];
  const broker = await started(brokerOn([server], 'n', { wait: 1 }));
  const order: string[] = [];
  const execute = server.execute.bind(server);
  server.execute = (connection, name, names, args) => {
    if (name.startsWith('tagwaitSet') || name === 'wait') order.push(name);
    return execute(connection, name, names, args);
  };
  const first = broker.set('a', '1', TTL);
  await new Promise(resolve => setImmediate(resolve));
  const next = ['b', 'c'].map(key => broker.set(key, '1', TTL));
  await Promise.all([first, ...next]);
  expect(order).toEqual(['tagwaitSet', 'wait', 'tagwaitSetMany', 'wait']);
});

test('the names in Redis, which every version uses', async () => {
  const [server] = servers(1) as [Server];
  const broker = await started(brokerOn([server]));
  const scripts = vi.spyOn(server.store, 'set');
  await broker.subscribe('k', '');
  await broker.set('k', '1', TTL);
  expect(server.store.keys().sort()).toEqual(['tagwait:1:m:{0}:n', 'tagwait:1:w:{k}', 'tagwait:1:{k}']);
  expect(scripts.mock.calls[0]?.[1].slice(3, 6)).toEqual(['tagwait:1:n:', '', 'tagwait:1:m:{0}:']);
});

test('channels have the number of a database other than 0, because all databases share them', async () => {
  const [server] = servers(1) as [Server];
  const broker = await started(brokerOn([server], 'n', { database: 2 }));
  const scripts = vi.spyOn(server.store, 'set');
  await broker.set('k', '1', TTL);
  expect(scripts.mock.calls[0]?.[1].slice(3, 6)).toEqual(['tagwait:1:db2:n:', '', 'tagwait:1:m:{0}:']);
});

test.each([
  [`p-1|n`, true],
  [`p-1|a n`, true],
  [`p-1|n@1700000000 a`, true],
  [`p-1|nn`, false],
  [`p-1|an`, false],
  [`p-1|`, false],
  [`p-2|n`, false],
  [`p-2|a n`, false],
  ['', false],
])('the watchers "%s" of a key name this node, at the position p-1: %s', (watchers, current) => {
  expect(isCurrent(watchers, 'p-1', 'n')).toBe(current);
});

test('peek asks the nodes for watchers only on request', async () => {
  const [server] = servers(1) as [Server];
  const broker = await started(brokerOn([server]));
  await broker.set('k', '1', TTL);
  expect(await broker.peek('k', false)).toMatchObject({ waiters: {} });
  expect(await broker.peek('k')).toMatchObject({ waiters: { n: 1 } });
});

test('a subscription is kept in Redis for eight leases, and renewed in every fourth verification', async () => {
  const [server] = servers(1) as [Server];
  const broker = await started(brokerOn([server], 'n', { lease: 1000 }));
  const subscribed = vi.spyOn(server.store, 'subscribe');
  const renewed = vi.spyOn(server.store, 'renew');
  await broker.subscribe('k', '');
  expect(subscribed.mock.calls[0]?.[1].slice(0, 2)).toEqual(['n', '8000']);
  for (let round = 0; round < 8; round++)
    expect(await broker.verify([{ key: 'k', position: '' }])).toEqual([]);
  expect(renewed.mock.calls.map(([args]) => args.slice(0, 2))).toEqual([
    ['n', '8000'],
    ['n', '8000'],
  ]);
  expect(brokerOn([server]).lease).toBe(15_000);
});

test.each([
  ['one server', 1, { tagwaitRenew: 200, mget: 500 }],
  ['a Cluster', 3, { tagwaitRenew: 200 }],
])('many keys are verified in batches, and each that is stale is found: %s', async (_, count, most) => {
  const all = servers(count);
  const largest: Record<string, number> = {};
  for (const one of all) {
    const execute = one.execute.bind(one);
    one.execute = (connection, name, names, args) => {
      const size = name === 'tagwaitRenew' ? args.length - 2 : names.length;
      if (name === 'tagwaitRenew' || name === 'mget') largest[name] = Math.max(largest[name] ?? 0, size);
      return execute(connection, name, names, args);
    };
  }
  const broker = await started(brokerOn(all));
  const keys = Array.from({ length: 1201 }, (_, number) => `k${number}`);
  await Promise.all(keys.map(key => broker.subscribe(key, '')));
  const known = keys.map(key => ({ key, position: '' }));
  expect(await broker.verify(known)).toEqual([]);
  const stale = known.map((one, number) => (number % 100 === 0 ? { ...one, position: 'x-1' } : one));
  const expected = keys.filter((_, number) => number % 100 === 0);
  for (let round = 0; round < 2; round++)
    expect((await broker.verify(stale)).toSorted()).toEqual(expected.toSorted());
  expect(largest).toEqual(most);
});

test('a Cluster whose slots move, or that lets no script use several, is verified all the same', async () => {
  const all = servers(2);
  const broker = await started(brokerOn(all));
  const keys = Array.from({ length: 12 }, (_, number) => `k${number}`);
  const known = keys.map(key => ({ key, position: '' }));
  await Promise.all(known.map(({ key }) => broker.subscribe(key, '')));
  expect(await broker.verify(known)).toEqual([]);
  for (const text of [
    'ERR Script attempted to access a non local key in a cluster node',
    'ERR Script attempted to access keys that do not hash to the same slot',
    "CROSSSLOT Keys in request don't hash to the same slot",
    'ERR cross-slot scripts are not allowed',
  ]) {
    for (const one of all) one.refusals.set('tagwaitRenew', text);
    expect(await broker.verify(known), text).toHaveLength(keys.length);
  }
  for (const one of all) one.refusals.set('tagwaitRenew', 'ERR another');
  expect(await refusal(broker.verify(known))).toBe('Redis: ERR another');
});

test('values that are too many for one reply are read in parts, the next key after them', async () => {
  const [server] = servers(1) as [Server];
  const broker = await started(brokerOn([server]));
  const values = Array.from({ length: HISTORY + 1 }, (_, number) => `"${number}${'x'.repeat(100_000)}"`);
  for (const value of values) await broker.set('k', value, TTL);
  const { cursor } = await broker.set('next', '1', TTL);
  const reads = vi.spyOn(server.store, 'subscribe');
  const [first, next] = await Promise.all(['k', 'next'].map(key => broker.subscribe(key, '')));
  expect(first?.entries.map(({ value }) => value)).toEqual(values.slice(1));
  expect(first).toMatchObject({ lost: 1, cursor: first?.entries.at(-1)?.cursor, final: false });
  expect(next).toMatchObject({ entries: [{ value: '1', cursor }], lost: 0, cursor });
  // 256 KiB and a value in each
  expect(reads.mock.calls.map(([names]) => names.length / 2)).toEqual(
    Array(Math.ceil(HISTORY / 3))
      .fill(2)
      .fill(2),
  );
});

test('a peek reads in parts what is too much for one reply', async () => {
  const [server] = servers(1) as [Server];
  const broker = await started(brokerOn([server]));
  const peeks = vi.spyOn(server.store, 'peek');
  await broker.set('k', '1', TTL);
  expect(await broker.peek('k', false)).toMatchObject({ entries: [{ value: '1' }] });
  expect(peeks.mock.calls.map(([, args]) => args)).toEqual([[String(256 * 1024), '1']]);
  const values = Array.from({ length: HISTORY }, (_, number) => `"${number}${'x'.repeat(100_000)}"`);
  const receipts = await Promise.all(values.map(value => broker.set('k', value, { ttl: 60_000 })));
  const peeked = await broker.peek('k', false);
  expect(peeked.entries).toMatchObject(
    values.map((value, number) => ({ value, cursor: receipts[number]?.cursor })),
  );
  expect(peeked).toMatchObject({ cursor: receipts.at(-1)?.cursor, final: false, waiters: {} });
  expect(peeked.ttl).toBeGreaterThan(50_000);
  expect(peeks.mock.calls.slice(1).map(([, [, first]]) => Number(first))).toEqual(
    Array.from({ length: Math.ceil(HISTORY / 3) }, (_, part) => (part === 0 ? 1 : 2 + 3 * part)),
  );
});

test('keys of a server of a Cluster that hangs delay those of no other one', async () => {
  const all = servers(3);
  const broker = await started(brokerOn(all));
  const keys = Array.from({ length: 120 }, (_, number) => `k${number}`);
  all[0]?.pause(1000);
  const hangs = (key: string) => slotOf(key) % all.length === 0;
  const late = keys.filter(hangs).map(key => broker.subscribe(key, ''));
  const answered = keys.filter(key => !hangs(key)).map(key => broker.subscribe(key, ''));
  expect(late.length).toBeGreaterThan(16);
  let delayed = late.length;
  for (const one of late) void one.then(() => delayed--);
  await Promise.all(answered);
  expect(delayed).toBe(late.length);
  await Promise.all(late);
});
