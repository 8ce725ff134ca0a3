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
import { Cluster, type Redis } from 'ioredis';
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
  WrongStore,
} from '../broker.js';
import type { Logger } from '../log.js';
import { type Connections, connections, type Store } from './redis-connections.js';

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
const RECEIPTS = 1000;
const HOUR = 3_600_000;
const MINUTE = 60_000;
/** How often a node says that it lives, and looks whether its data and its leases are still there, ms. */
const BEAT = 2000;
/** Without a beat for so long, a node is taken for dead, and a channel for deaf, ms. */
const DEAD = 3 * BEAT + 500;
/** Keys that one script looks at: some ten microseconds each, while which Redis does nothing else. */
const BATCH = 200;
/** How long nodes have to answer a question about what they hold, ms. */
const CENSUS = 700;
const REFUSED =
  /^(WRONGPASS|NOAUTH|NOPERM)|invalid password|without any password configured|DB index is out of range/;

interface Asked {
  key: string;
  since: string;
  resolve: (backlog: Backlog) => void;
  reject: (error: Error) => void;
}

/** What a node knows of one server: its process, and the beats that came back. */
interface Shard {
  run: string | undefined;
  sent: number;
  heard: number;
  /** on the monotonic clock */
  heardAt: number;
  reached: boolean;
}

interface Census {
  expected: number;
  replies: Map<string, { info: NodeInfo; held: number }>;
  done: () => void;
}

export class RedisBroker implements Broker {
  readonly #options: RedisOptions;
  readonly #start: string;
  readonly #lease: number;
  readonly #connections: Connections;
  readonly #shards = new Map<string, Shard>();
  /** other nodes, and when they were last heard of */
  readonly #nodes = new Map<string, number>();
  readonly #census = new Map<string, Census>();
  #asked: Asked[] = [];
  readonly #leaving = new Set<string>();
  #scheduled = false;
  #events!: Events;
  #beats: NodeJS.Timeout | undefined;
  /** channels are subscribed to */
  #told = false;
  #returns = 0;
  #closed = false;
  #wasReady = true;
  #lives = 0;
  readonly #life = randomBytes(4).toString('hex');

  constructor(options: RedisOptions) {
    this.#options = options;
    this.#start = `${options.prefix}:${LAYOUT}:`;
    this.#lease = options.lease ?? (options.store.kind === 'cluster' ? MINUTE : HOUR);
    this.#connections = connections(options.store);
  }

  async start(events: Events): Promise<void> {
    this.#events = events;
    const { commands, hints, clients } = this.#connections;
    hints.on('message', (channel: string, message: string) => this.#hear(channel, message));
    hints.on('ready', () => void this.#listen());
    hints.on('close', () => {
      this.#told = false;
      this.#judge();
    });
    commands.on('close', () => {
      for (const shard of this.#shards.values()) shard.reached = false;
      this.#judge();
    });
    if (commands !== hints) commands.on('ready', () => void this.#recover());
    const first = this.#firstWord(clients);
    for (const client of clients) {
      // it gives up when a failover is announced while it connects
      client.on('end', () => setTimeout(() => this.#connect(client), 100).unref());
      this.#connect(client);
    }
    this.#beats = setInterval(() => void this.#beat(), BEAT).unref();
    await first;
  }

  /** Waits until Redis works or is known to be away. An `error` event always has a listener: it must not end the process. */
  #firstWord(clients: (Redis | Cluster)[]): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = setInterval(() => this.ready() && finish(), 5);
      const giveUp = setTimeout(() => finish(), 3000);
      const finish = (error?: Error) => {
        clearInterval(look);
        clearTimeout(giveUp);
        if (!error) return resolve();
        this.#disconnect();
        reject(error);
      };
      for (const client of clients)
        client.on('error', (error: Error) => {
          const cause = (error as { lastNodeError?: Error }).lastNodeError ?? error;
          if (REFUSED.test(cause.message))
            finish(new WrongStore(`Redis refuses this node: ${cause.message}`));
          else finish();
          this.#judge(cause);
        });
      if (this.#options.store.kind === 'server')
        this.#connections.commands.once('ready', async () => {
          const role = await (this.#connections.commands as Redis).info('replication').catch(() => '');
          if (/role:slave/.test(role))
            finish(new WrongStore('Redis is a read-only replica: give the address of its master'));
        });
    });
  }

  async set(key: string, value: string, options: SetOptions): Promise<Receipt> {
    const { ttl, final, expect, id } = options;
    const at = Date.now();
    const [result, cursor, watched] = await this.#do(commands =>
      commands.tagwaitSet(
        this.#entries(key),
        this.#watchers(key),
        value,
        Math.max(1, Math.round(ttl)),
        final ? '1' : '',
        expect ?? '*',
        id ?? '',
        this.#options.history,
        RECEIPTS,
        `${this.#life}${(this.#lives++).toString(36)}`,
        `${this.#start}n:`,
        key,
        commands instanceof Cluster ? ` ${this.#living().join(' ')} ` : '',
        at,
      ),
    );
    if (result === 'final' || result === 'expect') throw new Conflict(result, cursor as string);
    if (this.#options.wait > 0) await this.#replicated(key);
    return { cursor: cursor as string, watched: watched === 1 };
  }

  /** @throws {Unavailable} fewer replicas than asked for have what was written */
  async #replicated(key: string): Promise<void> {
    const { wait } = this.#options;
    const having = await this.#do(commands => {
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
      this.#do(commands => commands.tagwaitPeek(this.#entries(key))),
      this.#askNodes(key),
    ]);
    const [ttl, ...rest] = reply;
    const { entries, cursor, final } = readBacklog(rest, this.#lease);
    const waiters: Record<string, number> = {};
    for (const [node, { held }] of census) if (held > 0) waiters[node] = held;
    return { entries, cursor, final, ttl: Number(ttl ?? 0), waiters };
  }

  async nodes(): Promise<NodeInfo[]> {
    return [...(await this.#askNodes('')).values()].map(reply => reply.info);
  }

  get returns(): number {
    return this.#returns;
  }

  ready(): boolean {
    const shards = [...this.#shards.values()];
    return this.#told && shards.length > 0 && shards.every(shard => shard.reached);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#beats);
    if (this.ready()) {
      const { commands } = this.#connections;
      const goodbye = [
        commands.publish(`${this.#start}all`, `x ${this.#options.node}`),
        ...[...this.#shards.keys()].map(shard => commands.del(this.#marker(shard))),
      ];
      await Promise.allSettled(goodbye);
    }
    this.#disconnect();
  }

  #connect(client: Redis | Cluster): void {
    if (!this.#closed) client.connect().catch(() => {});
  }

  #disconnect(): void {
    this.#closed = true;
    clearInterval(this.#beats);
    for (const client of this.#connections.clients) client.disconnect();
  }

  #entries = (key: string) => `${this.#start}{${key}}`;
  #watchers = (key: string) => `${this.#start}w:{${key}}`;
  #marker = (shard: string) => `${this.#start}m:{${shard}}:${this.#options.node}`;

  async #do<T>(command: (commands: Redis | Cluster) => Promise<T>): Promise<T> {
    try {
      return await command(this.#connections.commands);
    } catch (error) {
      this.#judge(error as Error);
      throw new Unavailable(`Redis: ${(error as Error).message}`);
    }
  }

  /** Says once that Redis went, and once that it is back. */
  #judge(cause?: Error): void {
    if (this.#closed || this.ready() === this.#wasReady) return;
    this.#wasReady = this.ready();
    if (this.#wasReady) {
      this.#returns++;
      this.#options.log.info('Redis is back');
    } else
      this.#options.log.warn({ cause: cause?.message }, 'Redis is away: pages are held on, sets are refused');
  }

  // -- who is told: channels, beats, recovery

  async #listen(): Promise<void> {
    try {
      await this.#connections.hints.subscribe(`${this.#start}n:${this.#options.node}`, `${this.#start}all`);
      this.#told = true;
      await this.#recover();
    } catch (error) {
      this.#judge(error as Error);
    }
  }

  /** Both connections work again, and what came meanwhile was not heard. */
  async #recover(): Promise<void> {
    if (!this.#told || this.#connections.commands.status !== 'ready') return;
    for (const shard of this.#shards.values()) shard.run = undefined;
    await this.#beat();
  }

  async #beat(): Promise<void> {
    if (this.#connections.commands.status !== 'ready' || !this.#told) return;
    const missed = await Promise.all(this.#servers().map(shard => this.#beatOn(shard)));
    this.#judge();
    this.#schedule();
    if (missed.includes(true) && !this.#closed) this.#events.gap();
  }

  /** A hash tag for each server that owns slots: what is written under it goes there. */
  #servers(): string[] {
    const { commands } = this.#connections;
    if (!(commands instanceof Cluster)) return ['0'];
    const masters = new Set(commands.slots.map(servers => servers?.[0]).filter(Boolean));
    const tags: string[] = [];
    for (let tag = 0; masters.size > 0 && tag < 100_000; tag++)
      if (masters.delete(commands.slots[slotOf(String(tag))]?.[0])) tags.push(String(tag));
    for (const tag of this.#shards.keys()) if (!tags.includes(tag)) this.#shards.delete(tag);
    return tags;
  }

  /** @returns whether entries may have been missed: another process answers, the marker is gone, or a beat was not heard */
  async #beatOn(tag: string): Promise<boolean> {
    const now = performance.now();
    const shard = this.#shards.get(tag) ?? {
      run: undefined,
      sent: 0,
      heard: 0,
      heardAt: now,
      reached: false,
    };
    this.#shards.set(tag, shard);
    const message = `b ${this.#options.node} ${tag} ${++shard.sent}`;
    try {
      const { commands } = this.#connections;
      const [there, run] = await commands.tagwaitBeat(this.#marker(tag), DEAD, `${this.#start}all`, message);
      const same = there === 1 && run === shard.run;
      shard.run = run;
      shard.reached = true;
      if (now - shard.heardAt > DEAD) this.#deaf(shard);
      return !same;
    } catch (error) {
      shard.reached = false;
      shard.heardAt = performance.now();
      this.#judge(error as Error);
      return false;
    }
  }

  /** Commands work and channels are silent: the connection that hears hangs, or is on a server cut off from the others. */
  #deaf(shard: Shard): void {
    shard.heardAt = performance.now();
    this.#told = false;
    this.#options.log.warn('Redis is not heard: connecting again');
    this.#connections.hints.disconnect(true);
  }

  #hear(channel: string, message: string): void {
    const kind = message[0];
    const words = message.split(' ');
    if (channel === `${this.#start}all`) {
      const node = words[1] as string;
      if (kind === 'b') this.#hearBeat(node, words[2] as string, Number(words[3]));
      else if (kind === 'q') this.#answerCensus(node, words[2] as string, words[3] ?? '');
      else if (kind === 'x') this.#nodes.delete(node);
    } else if (kind === 'e') {
      const [, key, cursor, prev, final, at] = words as [string, string, string, string, string, string];
      const value = words.slice(6).join(' ');
      this.#events.entry(key, { value, cursor, prev, final: final === '1', at: Number(at) });
    } else if (kind === 'h') {
      this.#nodes.set(words[1] as string, performance.now());
    } else if (kind === 'r') {
      const { info, held } = JSON.parse(words.slice(2).join(' ')) as { info: NodeInfo; held: number };
      const census = this.#census.get(words[1] as string);
      census?.replies.set(info.id, { info, held });
      if (census && census.replies.size >= census.expected) census.done();
    }
  }

  #hearBeat(node: string, tag: string, number: number): void {
    const known = this.#nodes.has(node);
    this.#nodes.set(node, performance.now());
    const shard = this.#shards.get(tag);
    if (node !== this.#options.node || !shard) {
      // one that has just come does not know who is there until their next beat
      if (!known)
        this.#connections.commands
          .publish(`${this.#start}n:${node}`, `h ${this.#options.node}`)
          .catch(() => {});
      return;
    }
    const missed = number > shard.heard + 1 && shard.heard > 0;
    shard.heard = number;
    shard.heardAt = performance.now();
    if (missed) this.#events.gap();
  }

  #living(): string[] {
    const now = performance.now();
    for (const [node, heard] of this.#nodes) if (now - heard > DEAD) this.#nodes.delete(node);
    return [this.#options.node, ...[...this.#nodes.keys()].filter(node => node !== this.#options.node)];
  }

  // -- asking for keys, in batches

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
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
      const replies = await this.#do(commands =>
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
    if (this.#leaving.size === 0 || !this.ready()) return;
    const keys = [...this.#leaving];
    this.#leaving.clear();
    for (const batch of this.#batches(keys, key => key)) {
      const watchers = batch.map(this.#watchers);
      // what cannot be taken back now is taken back when Redis is there again
      await this.#do(commands =>
        commands.tagwaitUnsubscribe(watchers.length, ...watchers, this.#options.node),
      ).catch(() => {
        for (const key of batch) this.#leaving.add(key);
      });
    }
  }

  /** What one script may look at: on a Cluster, keys of one slot. */
  #batches<T>(items: T[], keyOf: (item: T) => string): T[][] {
    const cluster = this.#connections.commands instanceof Cluster;
    const open = new Map<number, T[]>();
    const batches: T[][] = [];
    for (const item of items) {
      const slot = cluster ? slotOf(keyOf(item)) : 0;
      let batch = open.get(slot);
      if (!batch || batch.length >= BATCH) {
        batch = [];
        open.set(slot, batch);
        batches.push(batch);
      }
      batch.push(item);
    }
    return batches;
  }

  // -- asking the other nodes

  async #askNodes(key: string): Promise<Census['replies']> {
    const id = randomBytes(6).toString('hex');
    const census: Census = { expected: Number.POSITIVE_INFINITY, replies: new Map(), done: () => {} };
    this.#census.set(id, census);
    try {
      const receivers = await this.#do(commands =>
        commands.publish(`${this.#start}all`, `q ${this.#options.node} ${id} ${key}`),
      );
      census.expected = this.#connections.commands instanceof Cluster ? this.#living().length : receivers;
      if (census.replies.size < census.expected)
        await new Promise<void>(resolve => {
          const late = setTimeout(resolve, CENSUS);
          census.done = () => {
            clearTimeout(late);
            resolve();
          };
        });
      return census.replies;
    } finally {
      this.#census.delete(id);
    }
  }

  #answerCensus(asker: string, id: string, key: string): void {
    const reply = { info: this.#events.describe(), held: key ? this.#events.held(key) : 0 };
    this.#connections.commands
      .publish(`${this.#start}n:${asker}`, `r ${id} ${JSON.stringify(reply)}`)
      .catch(() => {});
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
