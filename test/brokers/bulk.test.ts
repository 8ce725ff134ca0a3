/** Large values and a slow line to Redis: what one command reads, and what waits for the next. */
import { beforeAll, expect, test } from 'vitest';
import type { Backlog, Peek } from '../../src/brokers/broker.js';
import { connections } from '../../src/brokers/redis/connections.js';
import { RedisBroker } from '../../src/brokers/redis/redis.js';
import { Random } from '../chaos/random.js';
import { line } from '../line.js';
import { onTestFinished, sideBySide } from '../owner.js';
import { redisServer } from '../redis.js';

sideBySide();

const SEED = Number(process.env.BULK_SEED ?? Date.now() % 1_000_000);
const HISTORY = 40;
const KB = 1024;
const log = { info() {}, warn() {} };

/** @param timeout of a command, ms */
async function brokerAt(port: number, timeout = 5000): Promise<RedisBroker> {
  const store = { kind: 'server', url: `redis://127.0.0.1:${port}` } as const;
  const options = { store, prefix: 'tagwait', history: HISTORY, wait: 0, node: `at${port}`, log };
  const made = new RedisBroker(options, (...to) => {
    const clients = connections(...to);
    Object.assign(clients.client.options, { commandTimeout: timeout });
    return clients;
  });
  const events = { entry() {}, gap() {}, held: () => 1, drop() {} };
  await made.start({ ...events, describe: () => ({ id: 'n', held: 0, version: '0', uptime: 0 }) });
  return made;
}

/** A broker on a line of 4 MB/s. Its commands fail after 1.5 s, not after 5: 6 MB. */
async function onSlowLine(): Promise<RedisBroker> {
  const slow = await line(port);
  const broker = await brokerAt(slow.port, 1500);
  onTestFinished(() => broker.close());
  slow.limit('down', 4_000_000);
  return broker;
}

type Stored = Pick<Backlog['entries'][number], 'value' | 'cursor'>[];
let port: number;
let setter: RedisBroker;
const ends: (() => Promise<void> | void)[] = [];
const keys = Array.from({ length: HISTORY }, (_, number) => `k${number}`);
/** of `keys`, each with one value of 256 KB, and of `long`, which has as many */
const large: Record<string, Stored> = {};

async function store(key: string, sizes: number[]): Promise<Stored> {
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
  setter = await brokerAt(port);
  for (const key of keys) large[key] = await store(key, [256 * KB]);
  large.long = await store('long', Array(HISTORY).fill(256 * KB));
  return async () => {
    await setter.close();
    for (const end of ends) await end();
  };
});

const read = ({ entries }: Pick<Peek, 'entries'>): Stored =>
  entries.map(({ value, cursor }) => ({ value, cursor }));
const tick = () => new Promise(resolve => setImmediate(resolve));
const WELL = { up: true, cause: undefined, reconnects: 0 };

test.concurrent.each<[string, () => Promise<unknown> | undefined]>([
  ['at once', () => undefined],
  ['one after the other', tick],
])(
  '40 keys of 256 KB on a line of 4 MB/s, %s: each is answered, and the node is never away',
  async (_, pause) => {
    const broker = await onSlowLine();
    const reads: Promise<Backlog>[] = [];
    for (const key of keys) {
      reads.push(broker.subscribe(key, ''));
      await pause();
    }
    for (const [number, backlog] of (await Promise.all(reads)).entries())
      expect(read(backlog)).toEqual(large[`k${number}`]);
    expect(broker.status()).toEqual(WELL);
  },
);

test.concurrent('40 values of 256 KB of one key on a line of 4 MB/s are one answer', async () => {
  const broker = await onSlowLine();
  const [backlog, next] = await Promise.all(['long', 'k0'].map(key => broker.subscribe(key, '')));
  expect(read(backlog as Backlog)).toEqual(large.long);
  expect(backlog).toMatchObject({ lost: 0, cursor: large.long?.at(-1)?.cursor, final: false });
  expect(read(next as Backlog)).toEqual(large.k0);
  expect(broker.status()).toEqual(WELL);
});

test('sizes, histories and cursors at random: a read gets what was set after its cursor, in order; a peek, all that is kept', async () => {
  const random = new Random(SEED);
  const said = `BULK_SEED=${SEED}`;
  // from 1 byte to 256 KB, as many of each number of digits
  const size = () => Math.ceil((256 * KB) ** random.next());
  const sizes = keys.map(() => Array.from({ length: Math.floor(random.next() * (HISTORY + 8)) }, size));
  const stored = await Promise.all(sizes.map((some, number) => store(`r${number}`, some)));
  const broker = await brokerAt(port);
  onTestFinished(() => broker.close());
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
