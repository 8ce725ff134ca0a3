/** Sends sets to Redis. All sets of one tick go in one script call, which is cheaper than a call for each. */
import { randomBytes } from 'node:crypto';
import { Conflict, RECEIPTS, type Receipt, type SetOptions, Unavailable } from '../broker.js';
import type { Connections } from './connections.js';
import { isRedirection, serverOf, wordsOf } from './connections.js';
import type { Keys } from './keys.js';

/** Sets per script call. Each blocks Redis for about 15 µs: 50 sets block it for less than a millisecond. */
const BATCH = 50;
/** How long replicas have to confirm a set, ms. */
const REPLICATION_TIMEOUT = 1000;

interface PendingSet {
  key: string;
  /** its part of ARGV, see set.lua */
  args: (string | number)[];
  resolve(receipt: Receipt): void;
  reject(error: Error): void;
}

export interface SetsOptions {
  connections: Connections;
  keys: Keys;
  node: string;
  /** entries kept per key */
  history: number;
  /** replicas that must have a set before it is acknowledged */
  wait: number;
  /** the nodes that are alive, for set.lua: " node node ", "*" or "" */
  alive(): string;
}

export class Sets {
  readonly #options: SetsOptions;
  readonly #schedule: () => void;
  #pending: PendingSet[] = [];
  /**
   * with `wait`: the script calls that wait for replicas; the next ones start when they are done, because WAIT blocks
   * the connection
   */
  #round: Promise<unknown> | undefined;
  /** prefix of epoch ids: random, so that no other process uses the same ids */
  readonly #epoch = randomBytes(4).readUInt32LE().toString(36);
  #epochs = 0;

  /** @param schedule requests a `flush` in this tick */
  constructor(options: SetsOptions, schedule: () => void) {
    this.#options = options;
    this.#schedule = schedule;
  }

  set(key: string, value: string, { ttl, final, expect, id, receipt }: SetOptions): Promise<Receipt> {
    const life = Math.max(1, Math.round(ttl));
    const wants = receipt === undefined ? '' : 'r';
    const args = [value, life, final ? '1' : '', expect ?? '*', id ?? '', Date.now(), key, wants];
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

  /** Settles every set of the batch. Never rejects. */
  async #store(batch: PendingSet[]): Promise<void> {
    const { keys, node, history, wait, alive, connections } = this.#options;
    const names = batch.flatMap(({ key }) => [keys.entries(key), keys.watchers(key)]);
    const args = [
      history,
      RECEIPTS,
      `${this.#epoch}${(this.#epochs++).toString(36)}`,
      `${keys.channels}n:`,
      alive(),
      keys.markers('0'),
      node,
      ...batch.flatMap(item => item.args),
    ];
    try {
      const many = () => connections.writer.tagwaitSetMany(names.length, ...names, ...args);
      // tagwaitSet has a fixed number of keys, so that ioredis can pipeline it on a Cluster
      const replies = await (batch.length === 1
        ? connections.writer
            .tagwaitSet(names[0] as string, names[1] as string, ...args)
            .catch(error => (isRedirection(error) ? many() : Promise.reject(error)))
        : many());
      const acknowledge: (() => void)[] = [];
      for (const [index, { resolve, reject }] of batch.entries()) {
        const [result, cursor, watched, proved] = replies[index] as [string, string, number, number?];
        if (result === 'final' || result === 'expect') reject(new Conflict(result, cursor));
        else
          acknowledge.push(() =>
            resolve({
              cursor,
              watched: watched === 1,
              ...(result === 'again' && { repeated: true, ...(proved === 1 && { received: true }) }),
            }),
          );
      }
      // a conflict is reported without waiting for replicas
      if (wait > 0 && acknowledge.length > 0) await this.#replicate(names[0] as string);
      for (const settle of acknowledge) settle();
    } catch (error) {
      const failure =
        error instanceof Unavailable ? error : new Unavailable(`Redis: ${wordsOf(error as Error)}`);
      for (const { reject } of batch) reject(failure);
    }
  }

  /** Waits for the replicas. @throws {Unavailable} fewer than `wait` confirmed */
  async #replicate(name: string): Promise<void> {
    const { wait, connections } = this.#options;
    const confirmed = await serverOf(connections.writer, name).wait(wait, REPLICATION_TIMEOUT);
    if (confirmed < wait)
      throw new Unavailable(`stored, but on ${confirmed} of ${wait} replicas within a second`);
  }
}
