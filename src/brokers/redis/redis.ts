/**
 * The store that many nodes share: Redis keeps the entries and routes them, a script per operation, one round trip.
 *
 * Names start with the prefix and the layout's version, so that nodes of two layouts never read each other:
 *   tagwait:1:{key}       entries, see set.lua            tagwait:1:w:{key}   watchers, see subscribe.lua
 *   tagwait:1:n:<node>    channel of a node: "e" entries, "r" replies, "h" greetings
 *   tagwait:1:all         channel of all nodes: "b" beats, "q" questions, "x" goodbyes
 *   tagwait:1:m:{…}:<node> marker of a node on one server, see beat.lua
 */
import { randomBytes } from 'node:crypto';
import slotOf from 'cluster-key-slot';
import { Cluster } from 'ioredis';
import type { Logger } from '../../log.js';
import {
  type Backlog,
  type Broker,
  Conflict,
  type Entry,
  type Events,
  type NodeInfo,
  type Peek,
  type Receipt,
  type SetOptions,
  Unavailable,
} from '../broker.js';
import type { Store } from './connections.js';
import { Presence } from './link.js';

export interface RedisOptions {
  store: Store;
  prefix: string;
  /** entries kept per key */
  history: number;
  /** replicas that must have a set before it is acknowledged */
  wait: number;
  node: string;
  log: Pick<Logger, 'info' | 'warn'>;
  /** milliseconds; absent: an hour, and a minute on a Cluster, whose bus may drop a message unseen */
  lease?: number | undefined;
}

/** The version of key names and messages. */
const LAYOUT = 1;
/** How many receipts a key remembers for repeats, see memory.ts. */
const RECEIPTS = 1000;
const HOUR = 3_600_000;
const MINUTE = 60_000;
/** Keys that one script looks at: some ten microseconds each, while which Redis does nothing else. */
const BATCH = 200;
/** Sets that one script does: some thirty microseconds each. */
const SETS = 50;

interface Asked {
  key: string;
  since: string;
  resolve: (backlog: Backlog) => void;
  reject: (error: Error) => void;
}

interface Setting {
  key: string;
  /** for set.lua */
  args: (string | number)[];
  resolve: (receipt: Receipt) => void;
  reject: (error: Error) => void;
}

export class RedisBroker implements Broker {
  readonly #options: RedisOptions;
  readonly #start: string;
  readonly #lease: number;
  readonly #clustered: boolean;
  #presence!: Presence;
  #asked: Asked[] = [];
  #settings: Setting[] = [];
  readonly #leaving = new Set<string>();
  #scheduled = false;
  /** names lives: unlike those of every other node, and of this one before */
  readonly #life = randomBytes(4).readUInt32LE().toString(36);
  #lives = 0;

  constructor(options: RedisOptions) {
    this.#options = options;
    this.#start = `${options.prefix}:${LAYOUT}:`;
    this.#clustered = options.store.kind === 'cluster';
    this.#lease = options.lease ?? (this.#clustered ? MINUTE : HOUR);
  }

  async start(events: Events): Promise<void> {
    const { store, node, log } = this.#options;
    this.#presence = new Presence({
      store,
      start: this.#start,
      node,
      log,
      events,
      back: () => this.#schedule(),
    });
    await this.#presence.start();
  }

  set(key: string, value: string, { ttl, final, expect, id }: SetOptions): Promise<Receipt> {
    const args = [
      value,
      Math.max(1, Math.round(ttl)),
      final ? '1' : '',
      expect ?? '*',
      id ?? '',
      Date.now(),
      key,
    ];
    return new Promise((resolve, reject) => {
      this.#settings.push({ key, args, resolve, reject });
      this.#schedule();
    });
  }

  /** Whose leases are believed: all, until a node has listened for long enough to know who is dead. */
  #trusted(): string {
    return this.#presence.knowsTheDead() ? ` ${this.#presence.living().join(' ')} ` : '*';
  }

  /** What came in one tick is one command: a script, its arguments and its reply cost more than what it does for a set. */
  #store(): void {
    const settings = this.#settings;
    this.#settings = [];
    for (const batch of this.#batches(settings, item => item.key, SETS)) void this.#storeBatch(batch);
  }

  async #storeBatch(batch: Setting[]): Promise<void> {
    const keys = batch.flatMap(({ key }) => [this.#entries(key), this.#watchers(key)]);
    const args = [
      this.#options.history,
      RECEIPTS,
      `${this.#life}${(this.#lives++).toString(36)}`,
      `${this.#start}n:`,
      this.#clustered ? this.#trusted() : '',
      ...batch.flatMap(item => item.args),
    ];
    try {
      const replies = await this.#presence.do(commands =>
        // on a Cluster, commands whose keys are known beforehand go together
        batch.length === 1
          ? commands.tagwaitSet(keys[0] as string, keys[1] as string, ...args)
          : commands.tagwaitSetMany(keys.length, ...keys, ...args),
      );
      const kept: (() => void)[] = [];
      for (const [index, { resolve, reject }] of batch.entries()) {
        const [result, cursor, watched] = replies[index] as [string, string, number];
        if (result === 'final' || result === 'expect') reject(new Conflict(result, cursor));
        else kept.push(() => resolve({ cursor, watched: watched === 1 }));
      }
      // a conflict is one whatever the replicas have
      if (this.#options.wait > 0 && kept.length > 0) await this.#replicated((batch[0] as Setting).key);
      for (const tell of kept) tell();
    } catch (error) {
      for (const { reject } of batch) reject(error as Error);
    }
  }

  /** @throws {Unavailable} fewer replicas than asked for have what was written */
  async #replicated(key: string): Promise<void> {
    const { wait } = this.#options;
    const having = await this.#presence.do(commands => {
      if (!(commands instanceof Cluster)) return commands.wait(wait, 1000);
      const master = commands.slots[slotOf(this.#entries(key))]?.[0];
      const server = commands
        .nodes('master')
        .find(({ options }) => `${options.host}:${options.port}` === master);
      return server ? server.wait(wait, 1000) : Promise.resolve(0);
    });
    if (having < wait) throw new Unavailable(`stored, but on ${having} of ${wait} replicas within a second`);
  }

  subscribe(key: string, since: string): Promise<Backlog> {
    this.#leaving.delete(key);
    return new Promise((resolve, reject) => {
      this.#asked.push({ key, since, resolve, reject });
      this.#schedule();
    });
  }

  unsubscribe(key: string): void {
    this.#leaving.add(key);
    this.#schedule();
  }

  async peek(key: string): Promise<Peek> {
    const [reply, census] = await Promise.all([
      this.#presence.do(commands => commands.tagwaitPeek(this.#entries(key))),
      this.#presence.ask(key),
    ]);
    const [ttl, ...rest] = reply;
    const { entries, cursor, final } = readBacklog(rest, this.#lease);
    const waiters: Record<string, number> = {};
    for (const [node, { held }] of census) if (held > 0) waiters[node] = held;
    return { entries, cursor, final, ttl: Number(ttl ?? 0), waiters };
  }

  async nodes(): Promise<NodeInfo[]> {
    return [...(await this.#presence.ask('')).values()].map(reply => reply.info);
  }

  get returns(): number {
    return this.#presence.returns;
  }

  ready(): boolean {
    return this.#presence.ready();
  }

  close(): Promise<void> {
    return this.#presence.close();
  }

  #entries = (key: string) => `${this.#start}{${key}}`;
  #watchers = (key: string) => `${this.#start}w:{${key}}`;

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#store();
      this.#ask();
      void this.#leave();
    });
  }

  #ask(): void {
    const asked = this.#asked;
    this.#asked = [];
    for (const batch of this.#batches(asked, item => item.key)) void this.#askBatch(batch);
  }

  async #askBatch(batch: Asked[]): Promise<void> {
    const keys = batch.flatMap(({ key }) => [this.#watchers(key), this.#entries(key)]);
    const cursors = batch.map(({ since }) => since);
    try {
      const replies = await this.#presence.do(commands =>
        commands.tagwaitSubscribe(keys.length, ...keys, this.#options.node, this.#lease, ...cursors),
      );
      // asked for anew at different times, lest all that came together come together again
      for (const [index, { resolve }] of batch.entries())
        resolve(readBacklog(replies[index] ?? [], this.#lease * (0.6 + Math.random() * 0.3)));
    } catch (error) {
      for (const { reject } of batch) reject(error as Error);
    }
  }

  async #leave(): Promise<void> {
    if (this.#leaving.size === 0 || !this.#presence.ready()) return;
    const keys = [...this.#leaving];
    this.#leaving.clear();
    for (const batch of this.#batches(keys, key => key)) {
      const watchers = batch.map(this.#watchers);
      // what cannot be taken back now is taken back when Redis is there again
      await this.#presence
        .do(commands => commands.tagwaitUnsubscribe(watchers.length, ...watchers, this.#options.node))
        .catch(() => {
          for (const key of batch) this.#leaving.add(key);
        });
    }
  }

  /** What one script may look at: on a Cluster, keys of one slot. */
  #batches<T>(items: T[], keyOf: (item: T) => string, most = BATCH): T[][] {
    const open = new Map<number, T[]>();
    const batches: T[][] = [];
    for (const item of items) {
      const slot = this.#clustered ? slotOf(keyOf(item)) : 0;
      let batch = open.get(slot);
      if (!batch || batch.length >= most) {
        batch = [];
        open.set(slot, batch);
        batches.push(batch);
      }
      batch.push(item);
    }
    return batches;
  }
}

/** @param reply of subscribe.lua, for one key */
function readBacklog(reply: (string | number | null)[], lease: number): Backlog {
  if (reply.length === 0) return { entries: [], lost: 0, cursor: '', final: false, lease };
  const [last, lives, final, seen, first, ...values] = reply as [
    number,
    string,
    number,
    number,
    number,
    ...(string | null)[],
  ];
  const starts = lives.split(' ').map(life => {
    const [id, number] = life.split('@');
    return { id, number: Number(number) };
  });
  const cursorOf = (number: number) =>
    number < 1 ? '' : `${(starts.findLast(life => life.number <= number) ?? starts[0])?.id}-${number}`;
  const entries: Entry[] = [];
  let lost = Math.max(0, first - 1 - seen);
  for (const [index, value] of values.entries()) {
    const number = first + index;
    // nodes with different histories share the key
    if (value === null) lost++;
    else
      entries.push({
        value,
        cursor: cursorOf(number),
        prev: cursorOf(number - 1),
        final: final === 1 && number === last,
      });
  }
  return { entries, lost, cursor: cursorOf(last), final: final === 1, lease };
}
