/**
 * What a node hears from Redis, and how it knows that it still hears: connections, channels, beats, and the other nodes.
 *
 * Every node beats on every server: the beat says that it lives, comes back to itself by the channel, and finds its
 * marker. What of that fails tells what was missed: another process in the server's place, a flush, a deaf connection.
 */
import { randomBytes } from 'node:crypto';
import slotOf from 'cluster-key-slot';
import { Cluster, type Redis } from 'ioredis';
import type { Logger } from '../../log.js';
import { type Events, type NodeInfo, Unavailable, WrongStore } from '../broker.js';
import { type Connections, connections, type Store } from './connections.js';

/** How often a node says that it lives, and looks whether its data and its leases are still there, ms. */
const BEAT = 2000;
/** Without a beat for so long, a node is taken for dead, and a channel for deaf, ms. */
const DEAD = 3 * BEAT + 500;
/** How long nodes have to answer a question about what they hold, ms. */
const CENSUS = 700;
/** How long a node that starts waits for Redis before it goes on without, ms. */
const FIRST_WORD = 3000;
const REFUSED =
  /^(WRONGPASS|NOAUTH|NOPERM)|invalid password|without any password configured|DB index is out of range/;

export interface PresenceOptions {
  store: Store;
  /** the start of all keys and channels */
  start: string;
  node: string;
  log: Pick<Logger, 'info' | 'warn'>;
  events: Events;
  /** what was not possible while Redis was away is now */
  back(): void;
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

/** A question to all nodes, and what came back. */
interface Census {
  expected: number;
  replies: Map<string, { info: NodeInfo; held: number }>;
  done: () => void;
}

export class Presence {
  /** how often Redis was back after it was away */
  returns = 0;
  readonly #options: PresenceOptions;
  readonly #connections: Connections;
  readonly #shards = new Map<string, Shard>();
  /** nodes, and when they were last heard of */
  readonly #nodes = new Map<string, number>();
  readonly #census = new Map<string, Census>();
  #beats: NodeJS.Timeout | undefined;
  /** channels are subscribed to */
  #told = false;
  #toldSince = Number.POSITIVE_INFINITY;
  #closed = false;
  #wasReady = true;

  constructor(options: PresenceOptions) {
    this.#options = options;
    this.#connections = connections(options.store);
  }

  /** Resolves when Redis works or is known to be away. @throws {WrongStore} */
  async start(): Promise<void> {
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
    const first = this.#firstWord();
    for (const client of clients) {
      // it gives up when a failover is announced while it connects
      client.on('end', () => setTimeout(() => this.#connect(client), 100).unref());
      this.#connect(client);
    }
    this.#beats = setInterval(() => void this.#beat(), BEAT).unref();
    await first;
  }

  /** Whether commands are answered by every server, and channels heard. */
  ready(): boolean {
    const shards = [...this.#shards.values()];
    return this.#told && shards.length > 0 && shards.every(shard => shard.reached);
  }

  /** @throws {Unavailable} whatever went wrong */
  async do<T>(command: (commands: Redis | Cluster) => Promise<T>): Promise<T> {
    try {
      return await command(this.#connections.commands);
    } catch (error) {
      this.#judge(error as Error);
      throw new Unavailable(`Redis: ${(error as Error).message}`);
    }
  }

  /** Whether it has listened for long enough that a node it did not hear of is dead. */
  knowsTheDead(): boolean {
    return performance.now() - this.#toldSince > DEAD;
  }

  /** The nodes that were heard of lately, this one first. */
  living(): string[] {
    const now = performance.now();
    const { node } = this.#options;
    for (const [other, heard] of this.#nodes) if (now - heard > DEAD) this.#nodes.delete(other);
    return [node, ...[...this.#nodes.keys()].filter(other => other !== node)];
  }

  /** What every node says of itself, and how many requests it holds for a key. @throws {Unavailable} */
  async ask(key: string): Promise<Census['replies']> {
    const id = randomBytes(6).toString('hex');
    const census: Census = { expected: Number.POSITIVE_INFINITY, replies: new Map(), done: () => {} };
    this.#census.set(id, census);
    try {
      const question = `q ${this.#options.node} ${id} ${key}`;
      const receivers = await this.do(commands => commands.publish(this.#all, question));
      census.expected = this.#connections.commands instanceof Cluster ? this.living().length : receivers;
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

  async close(): Promise<void> {
    const ready = this.ready();
    this.#closed = true;
    clearInterval(this.#beats);
    if (ready) {
      const { commands } = this.#connections;
      const markers = [...this.#shards.keys()].map(shard => commands.del(this.#marker(shard)));
      await Promise.allSettled([commands.publish(this.#all, `x ${this.#options.node}`), ...markers]);
    }
    for (const client of this.#connections.clients) client.disconnect();
  }

  get #all(): string {
    return `${this.#options.start}all`;
  }
  #channelOf = (node: string) => `${this.#options.start}n:${node}`;
  #marker = (shard: string) => `${this.#options.start}m:{${shard}}:${this.#options.node}`;

  /** An `error` event always has a listener: without one it would end the process. */
  #firstWord(): Promise<void> {
    const { commands, clients } = this.#connections;
    return new Promise((resolve, reject) => {
      const look = setInterval(() => this.ready() && finish(), 5);
      const giveUp = setTimeout(() => finish(), FIRST_WORD);
      const finish = (error?: Error) => {
        clearInterval(look);
        clearTimeout(giveUp);
        if (!error) return resolve();
        void this.close();
        reject(error);
      };
      for (const client of clients)
        client.on('error', (error: Error) => {
          const cause = (error as { lastNodeError?: Error }).lastNodeError ?? error;
          finish(
            REFUSED.test(cause.message)
              ? new WrongStore(`Redis refuses this node: ${cause.message}`)
              : undefined,
          );
          this.#judge(cause);
        });
      if (this.#options.store.kind === 'server')
        commands.once('ready', async () => {
          const role = await (commands as Redis).info('replication').catch(() => '');
          if (/role:slave/.test(role))
            finish(new WrongStore('Redis is a read-only replica: give the address of its master'));
        });
    });
  }

  #connect(client: Redis | Cluster): void {
    if (!this.#closed) client.connect().catch(() => {});
  }

  /** Says once that Redis went, and once that it is back. */
  #judge(cause?: Error): void {
    if (this.#closed || this.ready() === this.#wasReady) return;
    this.#wasReady = this.ready();
    const { log } = this.#options;
    if (this.#wasReady) {
      this.returns++;
      log.info('Redis is back');
    } else log.warn({ cause: cause?.message }, 'Redis is away: pages are held on, sets are refused');
  }

  async #listen(): Promise<void> {
    try {
      await this.#connections.hints.subscribe(this.#channelOf(this.#options.node), this.#all);
      this.#told = true;
      this.#toldSince = performance.now();
      await this.#recover();
    } catch (error) {
      this.#judge(error as Error);
    }
  }

  /** Both connections work again, and what came meanwhile was not heard. */
  async #recover(): Promise<void> {
    for (const shard of this.#shards.values()) shard.run = undefined;
    await this.#beat();
  }

  async #beat(): Promise<void> {
    if (this.#connections.commands.status !== 'ready' || !this.#told) return;
    const missed = await Promise.all(this.#servers().map(shard => this.#beatOn(shard)));
    if (this.#closed) return;
    this.#judge();
    this.#options.back();
    if (missed.includes(true)) this.#options.events.gap();
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

  /** @returns whether entries may have been missed: another process answers, or the marker is gone */
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
      const [there, run] = await commands.tagwaitBeat(this.#marker(tag), DEAD, this.#all, message);
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
    if (message.startsWith('e\n')) return this.#hearEntries(message);
    const words = message.split(' ');
    const [kind, who = '', third = '', fourth = ''] = words;
    if (channel === this.#all) {
      if (kind === 'b') this.#hearBeat(who, third, Number(fourth));
      else if (kind === 'q') this.#answer(who, third, fourth);
      else if (kind === 'x') this.#nodes.delete(who);
    } else if (kind === 'h') {
      this.#nodes.set(who, performance.now());
    } else if (kind === 'r') {
      const census = this.#census.get(who);
      const reply = JSON.parse(words.slice(2).join(' ')) as { info: NodeInfo; held: number };
      census?.replies.set(reply.info.id, reply);
      if (census && census.replies.size >= census.expected) census.done();
    }
  }

  /** A line for each entry: "key cursor prev final at value", see set.lua. */
  #hearEntries(message: string): void {
    for (const line of message.slice(2).split('\n')) {
      const [key = '', cursor = '', prev = '', final = '', at = ''] = line.split(' ', 5);
      const value = line.slice(key.length + cursor.length + prev.length + final.length + at.length + 5);
      this.#options.events.entry(key, { value, cursor, prev, final: final === '1', at: Number(at) });
    }
  }

  #hearBeat(node: string, tag: string, number: number): void {
    const known = this.#nodes.has(node);
    this.#nodes.set(node, performance.now());
    if (node !== this.#options.node) {
      // one that has just come does not know who is there until their next beat
      if (!known) this.#say(node, `h ${this.#options.node}`);
      return;
    }
    const shard = this.#shards.get(tag);
    if (!shard) return;
    const missed = number > shard.heard + 1 && shard.heard > 0;
    shard.heard = number;
    shard.heardAt = performance.now();
    if (missed) this.#options.events.gap();
  }

  #answer(asker: string, id: string, key: string): void {
    const { events } = this.#options;
    this.#say(
      asker,
      `r ${id} ${JSON.stringify({ info: events.describe(), held: key ? events.held(key) : 0 })}`,
    );
  }

  #say(node: string, message: string): void {
    this.#connections.commands.publish(this.#channelOf(node), message).catch(() => {});
  }
}
