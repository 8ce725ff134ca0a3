/** Large values and a slow line to Redis: what one command reads, and what waits for the next. */
import { beforeAll, expect, test, vi } from 'vitest';
import type { Backlog, Events, Peek } from '../../src/brokers/broker.js';
import { RedisBroker } from '../../src/brokers/redis/redis.js';
import { Random } from '../chaos/random.js';
import { until } from '../harness.js';
import { line } from '../line.js';
import { onTestFinished, sideBySide } from '../owner.js';
import { redisServer } from '../redis.js';

sideBySide();

const SEED = Number(process.env.BULK_SEED ?? Date.now() % 1_000_000);
/** 26 MB, and a line of 4 MB/s carries 20 MB before a command counts as failed */
const MANY = 100;
const HISTORY = 40;
const KB = 1024;
const log = { info() {}, warn() {} };

async function brokerAt(port: number, history: number, on: Partial<Events> = {}): Promise<RedisBroker> {
  const store = { kind: 'server', url: `redis://127.0.0.1:${port}` } as const;
  const made = new RedisBroker({ store, prefix: 'tagwait', history, wait: 0, node: `at${port}`, log });
  const events = { entry() {}, gap() {}, held: () => 1, drop() {}, ...on };
  await made.start({ ...events, describe: () => ({ id: 'n', held: 0, version: '0', uptime: 0 }) });
  return made;
}

async function onSlowLine(): Promise<RedisBroker> {
  const slow = await line(port);
  const broker = await brokerAt(slow.port, MANY);
  onTestFinished(() => broker.close());
  slow.limit('down', 4_000_000);
  return broker;
}

type Stored = Pick<Backlog['entries'][number], 'value' | 'cursor'>[];
let port: number;
const ends: (() => Promise<void> | void)[] = [];
const keys = Array.from({ length: MANY }, (_, number) => `k${number}`);
/** of `keys`, each with one value of 256 KB, and of `long`, which has as many */
const large: Record<string, Stored> = {};

async function store(setter: RedisBroker, key: string, sizes: number[]): Promise<Stored> {
  const stored: Stored = [];
  for (const [number, bytes] of sizes.entries()) {
    const value = `${number}`.padEnd(bytes, '0');
    const { cursor } = await setter.set(key, value, { ttl: 300_000 });
    stored.push({ value, cursor });
  }
  return stored;
}

beforeAll(async () => {
  ({ port } = await redisServer([], end => ends.push(end)));
  const setter = await brokerAt(port, MANY);
  for (const key of keys) large[key] = await store(setter, key, [256 * KB]);
  large.long = await store(setter, 'long', Array(MANY).fill(256 * KB));
  await setter.close();
  return async () => {
    for (const end of ends) await end();
  };
});

const read = ({ entries }: Pick<Peek, 'entries'>): Stored =>
  entries.map(({ value, cursor }) => ({ value, cursor }));
const tick = () => new Promise(resolve => setImmediate(resolve));
const WELL = { up: true, cause: undefined, reconnects: 0 };

test.concurrent('100 keys of 256 KB on a line of 4 MB/s: each is answered, and the node is never away', async () => {
  const broker = await onSlowLine();
  const reads: Promise<Backlog>[] = [];
  for (const [number, key] of keys.entries()) {
    reads.push(broker.subscribe(key, ''));
    // half of them at once, the others one by one
    if (number >= MANY / 2) await tick();
  }
  for (const [number, backlog] of (await Promise.all(reads)).entries())
    expect(read(backlog)).toEqual(large[`k${number}`]);
  expect(broker.status()).toEqual(WELL);
});

test.concurrent('100 values of 256 KB of one key on a line of 4 MB/s are one answer', async () => {
  const broker = await onSlowLine();
  const [backlog, next] = await Promise.all(['long', 'k0'].map(key => broker.subscribe(key, '')));
  expect(read(backlog as Backlog)).toEqual(large.long);
  expect(backlog).toMatchObject({ lost: 0, cursor: large.long?.at(-1)?.cursor, final: false });
  expect(read(next as Backlog)).toEqual(large.k0);
  expect(broker.status()).toEqual(WELL);
});

test.concurrent('12 values of 256 KB are set at once, and the line carries 300 KB/s: each is delivered once, and the node is never away', async () => {
  const slow = await line(port);
  const [entry, gap] = [vi.fn<Events['entry']>(), vi.fn()];
  const broker = await brokerAt(slow.port, MANY, { entry, gap });
  const setter = await brokerAt(port, MANY);
  onTestFinished(() => Promise.all([broker.close(), setter.close()]).then(() => {}));
  const watched = Array.from({ length: 12 }, (_, number) => `w${number}`);
  const backlogs = await Promise.all(watched.map(key => broker.subscribe(key, '')));
  gap.mockClear();
  slow.limit('down', 300_000);
  const stored: [string, string | undefined][] = [];
  for (const key of watched) stored.push([key, (await store(setter, key, [256 * KB]))[0]?.cursor]);
  // as long as the line is known to be slow, what is still on it is not read once more
  const known = watched.map((key, number) => ({ key, position: backlogs[number]?.cursor as string }));
  await until(async () => (await broker.verify(known)).length === 0);
  expect(entry.mock.calls.length).toBeLessThan(12);
  await until(() => entry.mock.calls.length === 12);
  expect(entry.mock.calls.map(([key, { cursor }]) => [key, cursor])).toEqual(stored);
  expect([broker.status(), gap.mock.calls]).toEqual([WELL, []]);
  // and then the newest positions are compared again
  await until(async () => (await broker.verify(known)).length === 12);
});

test('sizes, histories and cursors at random: a read gets what was set after its cursor, in order; a peek, all that is kept', async () => {
  const random = new Random(SEED);
  const said = `BULK_SEED=${SEED}`;
  // from 1 byte to 256 KB, as many of each number of digits
  const size = () => Math.ceil((256 * KB) ** random.next());
  const sizes = keys
    .slice(20)
    .map(() => Array.from({ length: Math.floor(random.next() * (HISTORY + 8)) }, size));
  const broker = await brokerAt(port, HISTORY);
  onTestFinished(() => broker.close());
  const stored: Stored[] = [];
  for (const [number, some] of sizes.entries()) stored.push(await store(broker, `r${number}`, some));
  const reads = Array.from({ length: 150 }, async () => {
    const number = Math.floor(random.next() * stored.length);
    const entries = stored[number] as Stored;
    const seen = Math.floor(random.pick([0, random.next()]) * (entries.length + 1));
    for (let ticks = Math.floor(random.next() * 8); ticks > 0; ticks--) await tick();
    const backlog = await broker.subscribe(`r${number}`, entries[seen - 1]?.cursor ?? '');
    const kept = Math.max(seen, entries.length - HISTORY);
    expect(read(backlog), said).toEqual(entries.slice(kept));
    expect([backlog.lost, backlog.cursor], said).toEqual([kept - seen, entries.at(-1)?.cursor ?? '']);
  });
  await Promise.all(reads);
  for (const [number, entries] of stored.entries()) {
    const peeked = await broker.peek(`r${number}`, false);
    expect(read(peeked), said).toEqual(entries.slice(-HISTORY));
  }
});
