/** Sets on their way to Redis. Those of one tick are one script: its call costs more than what it does for one of them. */
import { randomBytes } from 'node:crypto';
import { Conflict, RECEIPTS, type Receipt, type SetOptions, Unavailable } from '../broker.js';
import type { Connections } from './connections.js';
import { serverOf } from './connections.js';
import type { Keys } from './keys.js';

/** Sets that one script does: some thirty microseconds each, while which Redis does nothing else. */
const BATCH = 50;
/** How long replicas have to confirm a set, ms. */
const REPLICATION = 1000;

interface PendingSet {
  key: string;
  /** for set.lua */
  args: (string | number)[];
  resolve(receipt: Receipt): void;
  reject(error: Error): void;
}

export interface SetsOptions {
  connections: Connections;
  keys: Keys;
  /** entries kept per key */
  history: number;
  /** replicas that must have a set before it is acknowledged */
  wait: number;
  /** the nodes that live, for set.lua: " node node ", "*" or "" */
  living(): string;
}

export class Sets {
  readonly #options: SetsOptions;
  readonly #schedule: () => void;
  #pending: PendingSet[] = [];
  /** With `wait`, sets go in rounds: WAIT blocks their connection until replicas have all that was written on it. */
  #round: Promise<unknown> | undefined;
  /** names epochs: unlike those of every other node, and of this one before */
  readonly #epoch = randomBytes(4).readUInt32LE().toString(36);
  #epochs = 0;

  /** @param schedule asks for a `flush` soon */
  constructor(options: SetsOptions, schedule: () => void) {
    this.#options = options;
    this.#schedule = schedule;
  }

  set(key: string, value: string, { ttl, final, expect, id }: SetOptions): Promise<Receipt> {
    const life = Math.max(1, Math.round(ttl));
    const args = [value, life, final ? '1' : '', expect ?? '*', id ?? '', Date.now(), key];
    return new Promise((resolve, reject) => {
      this.#pending.push({ key, args, resolve, reject });
      this.#schedule();
    });
  }

  flush(): void {
    if (this.#pending.length === 0 || this.#round) return;
    const batches = this.#options.keys.batches(this.#pending.splice(0), BATCH);
    const stored = Promise.all(batches.map(batch => this.#store(batch)));
    if (this.#options.wait === 0) return;
    this.#round = stored.then(() => {
      this.#round = undefined;
      this.#schedule();
    });
  }

  /** Settles each of them. Never rejects. */
  async #store(batch: PendingSet[]): Promise<void> {
    const { keys, history, wait, living, connections } = this.#options;
    const names = batch.flatMap(({ key }) => [keys.entries(key), keys.watchers(key)]);
    const args = [
      history,
      RECEIPTS,
      `${this.#epoch}${(this.#epochs++).toString(36)}`,
      `${keys.channels}n:`,
      living(),
      keys.markers('0'),
      ...batch.flatMap(item => item.args),
    ];
    try {
      // on a Cluster, commands whose keys are known beforehand go together
      const replies = await (batch.length === 1
        ? connections.writes.tagwaitSet(names[0] as string, names[1] as string, ...args)
        : connections.writes.tagwaitSetMany(names.length, ...names, ...args));
      const acknowledge: (() => void)[] = [];
      for (const [index, { resolve, reject }] of batch.entries()) {
        const [result, cursor, watched] = replies[index] as [string, string, number];
        if (result === 'final' || result === 'expect') reject(new Conflict(result, cursor));
        else
          acknowledge.push(() =>
            resolve({ cursor, watched: watched === 1, ...(result === 'again' ? { repeated: true } : {}) }),
          );
      }
      // a conflict is one whatever the replicas have
      if (wait > 0 && acknowledge.length > 0) await this.#replicate(names[0] as string);
      for (const tell of acknowledge) tell();
    } catch (error) {
      const failure =
        error instanceof Unavailable ? error : new Unavailable(`Redis: ${(error as Error).message}`);
      for (const { reject } of batch) reject(failure);
    }
  }

  /** @throws {Unavailable} fewer replicas than asked for have what was written */
  async #replicate(name: string): Promise<void> {
    const { wait, connections } = this.#options;
    const confirmed = await serverOf(connections.writes, name).wait(wait, REPLICATION);
    if (confirmed < wait)
      throw new Unavailable(`stored, but on ${confirmed} of ${wait} replicas within a second`);
  }
}
