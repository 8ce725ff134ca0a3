/**
 * The broker for several nodes: Redis stores and routes the entries. Each operation is one Lua script, one round trip.
 *
 * Names start with the prefix and the layout version, so nodes with different layouts never read each other's data:
 *   tagwait:1:{key}       entries, see set.lua            tagwait:1:w:{key}   watchers, see subscribe.lua
 *   tagwait:1:n:<node>    channel of a node               tagwait:1:all       channel of all nodes, see messages.ts
 *   tagwait:1:m:{…}:<node> marker of a node on one server, see heartbeat.lua
 * Channels are shared by all databases, so for a database other than 0 they contain its number: `tagwait:1:db2:all`.
 */
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
import { encode } from '../messages.js';
import { nodesIn, waitersIn } from '../survey.js';
import { addressFor, type Connections, connections, serverOf } from './connections.js';
import { Keys } from './keys.js';
import { Link } from './link.js';
import { addReply, readBacklog, restOf } from './reply.js';
import { Sets } from './sets.js';
import { databaseOf, type Store } from './store.js';
import { type Read, Subscriptions } from './subscriptions.js';
import { Verifier } from './verifier.js';
import { Window } from './window.js';

export interface RedisBrokerOptions {
  store: Store;
  prefix: string;
  /** entries kept per key */
  history: number;
  /** replicas that must have a set before it is acknowledged; 0: none */
  wait: number;
  node: string;
  log: Pick<Logger, 'info' | 'warn'>;
  /** how long a subscription is trusted without verification, ms; default 15,000 */
  lease?: number | undefined;
}

/** Whatever is lost, no page is behind for longer than this, ms. */
const LEASE = 15_000;
/** Redis keeps a subscription for this many leases. It is left to expire only by a node that died or lost its link. */
const REGISTRATION_LEASES = 8;
/** Keys per subscribe or unsubscribe script. Each blocks Redis for about 5 µs: 200 keys block it for 1 ms. */
const SUBSCRIBE_BATCH = 200;

export class RedisBroker implements Broker {
  readonly lease: number;
  readonly #options: RedisBrokerOptions;
  readonly #connections: Connections;
  readonly #keys: Keys;
  readonly #sets: Sets;
  readonly #subscriptions: Subscriptions;
  readonly #verifier: Verifier;
  /** how large the replies of `peek` may be */
  readonly #peeks = new Window();
  #link!: Link;
  #scheduled = false;

  /** @param connect makes the clients; only tests pass another function */
  constructor(
    options: RedisBrokerOptions,
    connect: (store: Store, wait: number) => Connections = connections,
  ) {
    const { store, prefix, history, wait, node, lease = LEASE } = options;
    this.#options = options;
    this.lease = lease;
    this.#connections = connect(store, wait);
    const clustered = store.kind === 'cluster';
    this.#keys = new Keys(prefix, databaseOf(store), clustered);
    const schedule = () => this.#schedule();
    const alive = () => (clustered ? this.#alive() : '');
    this.#sets = new Sets(
      { connections: this.#connections, keys: this.#keys, node, history, wait, alive },
      schedule,
    );
    this.#subscriptions = new Subscriptions(
      {
        subscribe: (reads, limit) => this.#subscribe(reads, limit),
        unsubscribe: keys => this.#unsubscribe(keys),
        batches: items => this.#keys.batches(items, SUBSCRIBE_BATCH),
        take: queue => this.#keys.take(queue, SUBSCRIBE_BATCH),
        server: key => (clustered ? addressFor(this.#connections.client, key) : ''),
      },
      schedule,
    );
    this.#verifier = new Verifier(this.#connections, this.#keys, node, lease * REGISTRATION_LEASES);
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

  drop(key: string, name: string, from: string): void {
    this.#link.broadcast(encode({ kind: 'drop', key, name, from })).catch(() => {});
  }

  prove(key: string, position: string): void {
    const message = encode({ kind: 'receipt', key, position, state: 'proved' });
    const { channels } = this.#keys;
    this.#link
      .do(client => client.tagwaitProve(this.#keys.entries(key), position, `${channels}n:`, message))
      .catch(() => {});
  }

  async verify(known: readonly Known[]): Promise<string[]> {
    // retries unsubscribes that failed
    this.#subscriptions.resume();
    return this.#link.do(() => this.#verifier.verify(known, () => this.#link.late));
  }

  async peek(key: string, waiters = true): Promise<Peek> {
    const [read, replies] = await Promise.all([
      this.#entriesOf(key),
      waiters ? this.#link.survey.ask(key) : [],
    ]);
    return { ...read, waiters: waitersIn(replies) };
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

  /** Reads all entries of a key from an offset on, in one command if they are small. */
  async #entriesOf(key: string, first = 1): Promise<Omit<Peek, 'waiters'>> {
    const [ttl, ...reply] = await this.#link.do(client =>
      this.#peeks.run(limit => client.tagwaitPeek(this.#keys.entries(key), limit, first)),
    );
    const { entries, cursor, final } = readBacklog(reply);
    const next = restOf(reply);
    if (next === undefined) return { entries, cursor, final, ttl: Number(ttl ?? 0) };
    const rest = await this.#entriesOf(key, next);
    return { ...rest, entries: [...entries, ...rest.entries] };
  }

  /** For set.lua: the nodes that are alive, or "*" until this node has listened for long enough to know them. */
  #alive(): string {
    const { survey } = this.#link;
    return survey.isComplete() ? ` ${survey.alive().join(' ')} ` : '*';
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

  async #subscribe(reads: readonly Read[], limit: number): Promise<Read[]> {
    const keys = reads.flatMap(({ key }) => [this.#keys.watchers(key), this.#keys.entries(key)]);
    const cursors = reads.map(({ from }) => from);
    const registration = this.lease * REGISTRATION_LEASES;
    try {
      const replies = await this.#link.do(client =>
        client.tagwaitSubscribe(keys.length, ...keys, this.#options.node, registration, limit, ...cursors),
      );
      // a reply that is missing makes it throw: one of no entries says that nothing is stored
      return reads.filter((read, index) => {
        const reply = replies[index];
        return (reply === null && index > 0) || !addReply(read, reply as (string | number | null)[]);
      });
    } catch (error) {
      const failure =
        error instanceof Unavailable ? error : this.#outOfStep(keys[0] as string, error as Error);
      for (const { requests } of reads) for (const { reject } of requests) reject(failure);
      return [];
    }
  }

  /**
   * Handles a reply that no script gives: a proxy lost bytes, so each later reply would go to the wrong command.
   * Reconnects to the server of the key.
   */
  #outOfStep(key: string, { message }: Error): Unavailable {
    try {
      serverOf(this.#connections.client, key).disconnect(true);
    } catch {
      // no server is known for the slot: its connection is gone
    }
    return new Unavailable(`Redis: an unexpected reply: ${message}`);
  }

  async #unsubscribe(keys: readonly string[]): Promise<void> {
    const watchers = keys.map(this.#keys.watchers);
    await this.#link.do(client =>
      client.tagwaitUnsubscribe(watchers.length, ...watchers, this.#options.node),
    );
  }
}
