/** What a run sets, and when it restarts which node, drawn from a seed. */
import { Random } from '../chaos/random.js';
import type { Signal } from './nodes.js';

const KEYS = 200;
const SETS = 1000;
/** Backends at work at the same time. A key belongs to one of them, so that the order of its values is known. */
const BACKENDS = 20;
/** ms between two sets of a backend, at most */
const PAUSE = 250;
/** Every so many sets, one waits for a receipt. */
const RECEIPTS = 5;

export interface PlannedSet {
  key: string;
  value: unknown;
  final: boolean;
  receipt: boolean;
  id: string;
  /** ms to wait before it */
  pause: number;
  /** how many restarts must have begun before it */
  after: number;
}

export interface Restart {
  /** number of the node */
  node: number;
  signal: Signal;
  /** sets that must have been answered before it */
  after: number;
}

export interface Plan {
  keys: readonly string[];
  /** the values of each key, in order */
  values: ReadonlyMap<string, readonly unknown[]>;
  /** what each backend sets, one after the other */
  backends: readonly (readonly PlannedSet[])[];
  restarts: readonly Restart[];
}

export function planOf(seed: number): Plan {
  const random = new Random(seed);
  const keys = Array.from({ length: KEYS }, (_, index) => `key-${index}`);
  // at least one value for each key, and the others where chance has it
  const counts = new Map(keys.map(key => [key, 1]));
  for (let left = SETS - KEYS; left > 0; left--) {
    const key = random.pick(keys);
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  const valueFor = (key: string, n: number) => (n % 2 === 0 ? `${key} ${n}` : { key, n });
  const values = new Map(
    [...counts].map(([key, count]) => [key, Array.from({ length: count }, (_, n) => valueFor(key, n))]),
  );
  const kinds: Omit<Restart, 'after'>[] = [0, 1].flatMap(node => [
    { node, signal: 'SIGTERM' as const },
    { node, signal: 'SIGKILL' as const },
  ]);
  const restarts = shuffled(random, kinds).map((restart, index) => ({
    ...restart,
    after: Math.floor(((index + 0.9) * SETS) / (kinds.length + 1)),
  }));
  const backends = Array.from({ length: BACKENDS }, (_, backend) => {
    const mine = keys.filter((_, index) => index % BACKENDS === backend);
    const order = shuffled(
      random,
      mine.flatMap(key => (values.get(key) ?? []).map(() => key)),
    );
    const done = new Map<string, number>();
    return order.map((key, index) => {
      const n = done.get(key) ?? 0;
      done.set(key, n + 1);
      return {
        key,
        value: valueFor(key, n),
        final: n === (counts.get(key) ?? 0) - 1,
        receipt: random.next() * RECEIPTS < 1,
        id: `${key}-${n}`,
        pause: random.next() * PAUSE,
        after: Math.floor((index * (restarts.length + 1)) / order.length),
      };
    });
  });
  return { keys, values, backends, restarts };
}

function shuffled<T>(random: Random, items: readonly T[]): T[] {
  return items
    .map(item => ({ item, at: random.next() }))
    .sort((one, other) => one.at - other.at)
    .map(({ item }) => item);
}
