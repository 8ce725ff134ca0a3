/**
 * The broker that many nodes share: Redis keeps the entries and routes them, a script per operation, one round trip.
 *
 * Names start with the prefix and the layout's version, so that nodes of two layouts never read each other:
 *   tagwait:1:{key}       entries, see set.lua            tagwait:1:w:{key}   watchers, see subscribe.lua
 *   tagwait:1:n:<node>    channel of a node               tagwait:1:all       channel of all nodes, see messages.ts
 *   tagwait:1:m:{…}:<node> marker of a node on one server, see heartbeat.lua
 * Channels know no database: those of another than 0 go on with its number, as in `tagwait:1:db2:all`.
 */
import { Cluster } from 'ioredis';
import type { Logger } from '../../log.js';
import {
  type Backlog,
  type Broker,
  type Events,
  type Known,
  type NodeInfo,
  type Peek,
  type Receipt,
  type SetOptions,
  type StoreStatus,
  Unavailable,
} from '../broker.js';
import { nodesIn, waitersIn } from '../survey.js';
import { type Connections, connections } from './connections.js';
import { Keys } from './keys.js';
import { Link } from './link.js';
import { readBacklog } from './reply.js';
import { Sets } from './sets.js';
import { databaseOf, type Store } from './store.js';
import { type PendingSubscribe, Subscriptions } from './subscriptions.js';
import { Verifier } from './verifier.js';

export interface RedisOptions {
  store: Store;
  prefix: string;
  /** entries kept per key */
  history: number;
  /** replicas that must have a set before it is acknowledged */
  wait: number;
  node: string;
  log: Pick<Logger, 'info' | 'warn'>;
  /** ms for which a subscription is believed without being verified; absent: 15 s */
  lease?: number | undefined;
}

/** No page is behind for longer than this, whatever was lost. */
const LEASE = 15_000;
/** Redis keeps a subscription for this many leases. Only a node that died, or lost its link, leaves it that long. */
const REGISTRATION = 8;
/** Keys that one script subscribes: some five microseconds each, while which Redis does nothing else. */
const BATCH = 200;

export class RedisBroker implements Broker {
  readonly lease: number;
  readonly #options: RedisOptions;
  readonly #connections: Connections;
  readonly #keys: Keys;
  readonly #sets: Sets;
  readonly #subscriptions: Subscriptions;
  readonly #verifier: Verifier;
  #link!: Link;
  #scheduled = false;

  /** @param connect makes the clients; only tests give another */
  constructor(options: RedisOptions, connect: (store: Store, wait: number) => Connections = connections) {
    const { store, prefix, history, wait, node, lease = LEASE } = options;
    this.#options = options;
    this.lease = lease;
    this.#connections = connect(store, wait);
    const clustered = store.kind === 'cluster';
    this.#keys = new Keys(prefix, databaseOf(store), clustered);
    const schedule = () => this.#schedule();
    const living = () => (clustered ? this.#living() : '');
    this.#sets = new Sets(
      { connections: this.#connections, keys: this.#keys, history, wait, living },
      schedule,
    );
    this.#subscriptions = new Subscriptions(
      {
        subscribe: pending => this.#subscribe(pending),
        unsubscribe: keys => this.#unsubscribe(keys),
        batches: items => this.#keys.batches(items, BATCH),
      },
      schedule,
    );
    this.#verifier = new Verifier(this.#connections, this.#keys, node, lease * REGISTRATION);
  }

  async start(events: Events): Promise<void> {
    const { node, log } = this.#options;
    this.#link = new Link({
      connections: this.#connections,
      keys: this.#keys,
      node,
      log,
      events,
      onReady: () => this.#subscriptions.resume(),
    });
    await this.#link.start();
  }

  set(key: string, value: string, options: SetOptions): Promise<Receipt> {
    return this.#sets.set(key, value, options);
  }

  subscribe(key: string, since: string): Promise<Backlog> {
    return new Promise((resolve, reject) => {
      this.#subscriptions.subscribe({ key, since, resolve, reject });
    });
  }

  unsubscribe(key: string): void {
    this.#subscriptions.unsubscribe(key);
  }

  async verify(known: readonly Known[]): Promise<string[]> {
    // what could not be unsubscribed is compared again too
    this.#subscriptions.resume();
    return this.#link.do(() => this.#verifier.verify(known));
  }

  async peek(key: string, waiters = true): Promise<Peek> {
    const [[ttl, ...rest], replies] = await Promise.all([
      this.#link.do(commands => commands.tagwaitPeek(this.#keys.entries(key))),
      waiters ? this.#link.survey.ask(key) : [],
    ]);
    const { entries, cursor, final } = readBacklog(rest);
    return { entries, cursor, final, ttl: Number(ttl ?? 0), waiters: waitersIn(replies) };
  }

  async nodes(): Promise<NodeInfo[]> {
    return nodesIn(await this.#link.survey.ask());
  }

  status(): StoreStatus {
    return this.#link.status();
  }

  close(): Promise<void> {
    return this.#link.close();
  }

  /** For set.lua: the nodes that live, or "*" until this node has listened for long enough to know. */
  #living(): string {
    const { survey } = this.#link;
    return survey.knowsAll() ? ` ${survey.living().join(' ')} ` : '*';
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#sets.flush();
      this.#subscriptions.flush(this.#link.status().up);
    });
  }

  async #subscribe(pending: readonly PendingSubscribe[]): Promise<void> {
    const keys = pending.flatMap(({ key }) => [this.#keys.watchers(key), this.#keys.entries(key)]);
    const cursors = pending.map(({ since }) => since);
    const registration = this.lease * REGISTRATION;
    try {
      const replies = await this.#link.do(commands =>
        commands.tagwaitSubscribe(keys.length, ...keys, this.#options.node, registration, ...cursors),
      );
      for (const [index, { resolve }] of pending.entries()) resolve(readBacklog(replies[index] ?? []));
    } catch (error) {
      const failure = error instanceof Unavailable ? error : this.#outOfStep(error as Error);
      for (const { reject } of pending) reject(failure);
    }
  }

  /** A reply that no script gives: something on the way lost bytes, and every later reply would be that of another command. */
  #outOfStep({ message }: Error): Unavailable {
    const { commands } = this.#connections;
    if (!(commands instanceof Cluster)) commands.disconnect(true);
    return new Unavailable(`Redis: an unexpected reply: ${message}`);
  }

  async #unsubscribe(keys: readonly string[]): Promise<void> {
    const watchers = keys.map(this.#keys.watchers);
    await this.#link.do(commands =>
      commands.tagwaitUnsubscribe(watchers.length, ...watchers, this.#options.node),
    );
  }
}
