/**
 * The scan login under 10,000 interleavings of two pages, three phones, repeats, nodes that die in the middle of a call and
 * a store that fails, each drawn from a seed. LOGIN_RUNS and LOGIN_SEED search on.
 */
import { expect, onTestFinished, test } from 'vitest';
import { RedisBroker } from '../src/brokers/redis/redis.js';
import { Random } from './chaos/random.js';
import { faultOf } from './login/checks.js';
import { create, play, type Stores, World } from './login/world.js';
import { redisServer } from './redis.js';

const RUNS = Number(process.env.LOGIN_RUNS ?? 10_000);
const SEED = Number(process.env.LOGIN_SEED ?? 1);

test(
  `${RUNS} interleavings from seed ${SEED}: every promise of a login holds in each`,
  async () => {
    const ends = new Map<string, number>();
    // errors are what is drawn here, and their stacks are half of its time
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    onTestFinished(() => {
      Error.stackTraceLimit = stackTraceLimit;
    });
    for (let seed = SEED; seed < SEED + RUNS; seed++) {
      const log = await play(seed);
      const fault = faultOf(log);
      expect(fault && `LOGIN_SEED=${seed}: ${fault}`).toBe(undefined);
      const end = log.calls.some(({ step, given }) => step === 'redeem' && given)
        ? 'redeemed'
        : (log.heard.at(-1)?.state ?? 'nothing');
      ends.set(end, (ends.get(end) ?? 0) + 1);
    }
    // a run that tries nothing shows nothing
    for (const end of ['redeemed', 'approved', 'denied', 'scanned'])
      expect(ends.get(end) ?? 0, end).toBeGreaterThan(RUNS / 100);
  },
  20_000 + RUNS * 20,
);

test('300 at the same time over Redis and two nodes: the same', async () => {
  const { url } = await redisServer();
  const listeners = new Map<string, (() => void)[]>();
  const nodes = ['one', 'two'].map(node => {
    const store = { kind: 'server', url } as const;
    return new RedisBroker({
      store,
      prefix: 'tagwait',
      history: 1,
      wait: 0,
      node,
      log: { info() {}, warn() {} },
    });
  });
  for (const [index, node] of nodes.entries()) {
    await node.start({
      entry(key) {
        for (const listener of listeners.get(key) ?? []) listener();
      },
      gap() {},
      held: () => 0,
      drop() {},
      describe: () => ({ id: String(index), held: 0, version: '', uptime: 0 }),
    });
    onTestFinished(() => node.close());
  }
  const stores: Stores = {
    nodes,
    read: (key, since) => (nodes[0] as RedisBroker).subscribe(key, since),
    watch: (key, listener) => void listeners.set(key, [...(listeners.get(key) ?? []), listener]),
  };
  const worlds = Array.from({ length: 300 }, (_, seed) => new World(new Random(seed), create, stores, 0.005));
  await Promise.all(worlds.map(world => world.play()));
  expect(worlds.map(({ log }) => faultOf(log)).filter(Boolean)).toEqual([]);
  expect(
    worlds.filter(({ log }) => log.calls.some(({ step, given }) => step === 'redeem' && given)).length,
  ).toBeGreaterThan(30);
});
