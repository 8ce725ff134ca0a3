/** Long polling without HTTP: holds requests until the broker has a newer entry of their key, and stores values. */
import {
  advance,
  type Backlog,
  type Broker,
  type Entry,
  isAt,
  type NodeInfo,
  type Receipt,
  type SetOptions,
  type StoreStatus,
  Unavailable,
} from '../brokers/broker.js';
import { type Answer, EXPIRED } from '../protocol/answers.js';
import { render } from '../protocol/jsonp.js';
import { Hub, isKnown, type Responder, type Waiter, type Watch, waitersOf } from './hub.js';
import type { LongPollOptions, Question } from './options.js';
import { Sync } from './sync.js';
import { HoldTimers } from './timers.js';

export type { Responder, Waiter } from './hub.js';
export type { LongPollOptions, Observer, Question } from './options.js';

/** Retry delay while the store is away, ms: random in this range, so that pages do not all come back at once. */
const AWAY = { min: 1000, max: 4000 };

export class LongPoll {
  readonly #broker: Broker;
  readonly #hub = new Hub();
  readonly #timers = new HoldTimers<Waiter>(waiter => this.#timeOut(waiter));
  readonly #options: LongPollOptions;
  readonly #sync: Sync;
  readonly #startedAt = performance.now();
  /** time over which pages are sent to other nodes, ms; undefined: not draining */
  #draining: number | undefined;

  constructor(broker: Broker, options: LongPollOptions) {
    this.#broker = broker;
    this.#options = options;
    this.#sync = new Sync({
      hub: this.#hub,
      broker,
      refetch: waiter => this.#refetch(waiter),
      observer: options.observer,
    });
  }

  async start(): Promise<void> {
    this.#sync.start();
    await this.#broker.start({
      entry: (key, entry) => this.#deliver(key, entry),
      gap: key => this.#sync.resync(key),
      held: key => this.#hub.caughtUpFor(key),
      drop: (key, name, from) => void this.#dropHere(key, name, from),
      describe: () => this.describe(),
    });
  }

  get held(): number {
    return this.#hub.held;
  }

  heldFor(key: string): number {
    return this.#hub.heldFor(key);
  }

  /** The number of keys that this node watches, and of those whose newest position it knows. */
  counts(): { watched: number; leases: number } {
    return this.#hub.counts();
  }

  store(): StoreStatus {
    return this.#broker.status();
  }

  get draining(): boolean {
    return this.#draining !== undefined;
  }

  ready(): boolean {
    return !this.draining && this.#broker.status().up;
  }

  describe(): NodeInfo {
    const uptime = Math.floor((performance.now() - this.#startedAt) / 1000);
    return { id: this.#options.id, held: this.held, version: this.#options.version, uptime };
  }

  /**
   * Holds a request until there is an entry newer than `since`, the hold times out, or the node drains.
   * @param responder answered at most once, maybe before this returns, never after `leave`
   * @returns the waiter for `leave`, which may be answered already
   */
  get(question: Question, responder: Responder): Waiter | undefined {
    if (this.#draining !== undefined) {
      responder.answer({ kind: 'moved', retry: Math.random() * this.#draining });
      return undefined;
    }
    // park first, then ask the broker: a set in between must find the waiter
    const waiter = this.#hub.park(question.key, question.since, responder);
    if (question.hold > 0 && question.hold !== Number.POSITIVE_INFINITY)
      this.#timers.add(waiter, question.hold, this.held);
    const { watch } = waiter;
    if (isKnown(watch) && isAt(question.since, watch.position)) this.#settle(waiter, question.hold === 0);
    else void this.#refetch(waiter, question.hold === 0);
    return waiter;
  }

  /** Answers the oldest waiter of a key for which `alike` is true with `timeout`, to make room for another one. */
  giveWay(key: string, alike: (responder: Responder) => boolean): void {
    const waiter = this.#hub.oldest(key, alike);
    if (!waiter) return;
    const { watch, since, state } = waiter;
    const seen = state === 'caughtUp' && isKnown(watch) ? advance(since, watch.position) : since;
    this.#finish(waiter, { kind: 'timeout', cursor: seen });
  }

  /**
   * Answers the poll with this name and address with `timeout`, because its page stopped watching: the key must not count
   * as watched. If it is not held here, the broker passes this on to the other nodes.
   */
  drop(key: string, name: string, from: string): void {
    if (!this.#dropHere(key, name, from)) this.#broker.drop?.(key, name, from);
  }

  #dropHere(key: string, name: string, from: string): boolean {
    const waiter = this.#hub.oldest(key, responder => responder.isNamed?.(name, from) ?? false);
    const responder = waiter?.responder;
    if (!waiter || !responder) return false;
    this.leave(waiter);
    responder.answer({ kind: 'timeout', cursor: waiter.since });
    return true;
  }

  /** The client has disconnected: removes its waiter. */
  leave(waiter: Waiter): void {
    if (this.#release(waiter)) this.#sync.unsubscribeIdle(waiter.watch);
  }

  /**
   * Stores a value and delivers it to every request that waits for the key.
   * @param value anything that JSON can represent
   * @throws {TypeError} the value cannot be stored @throws {Conflict} @throws {Unavailable}
   */
  set(key: string, value: unknown, options: SetOptions): Promise<Receipt> {
    return this.setRendered(key, render(value), options);
  }

  /** `set` for a value that is already rendered. */
  setRendered(key: string, value: string, options: SetOptions): Promise<Receipt> {
    return this.#broker.set(key, value, options);
  }

  /** @param waiters false: leaves out the number of held requests, which takes a survey of all nodes */
  peek(key: string, waiters = true) {
    return this.#broker.peek(key, waiters);
  }

  nodes() {
    return this.#broker.nodes();
  }

  /** Answers every held and every later request with `moved`. @param spread range of the random retry delays, ms */
  drain(spread: number): void {
    this.#draining = spread;
    for (const watch of this.#hub.watches())
      for (const waiter of waitersOf(watch))
        this.#finish(waiter, { kind: 'moved', retry: Math.random() * spread });
  }

  async close(): Promise<void> {
    this.#sync.stop();
    this.drain(this.#draining ?? 0);
    await this.#broker.close();
  }

  /** Asks the broker for newer entries. Asks again if an entry arrived meanwhile, which the reply may not contain. */
  async #refetch(waiter: Waiter, atOnce = false): Promise<void> {
    const { watch } = waiter;
    waiter.state = 'asking';
    while (waiter.responder) {
      const { generation } = watch;
      const askedAt = performance.now();
      let backlog: Backlog;
      this.#options.observer?.subscribed();
      try {
        backlog = await this.#broker.subscribe(watch.key, waiter.since);
      } catch (error) {
        if (!(error instanceof Unavailable)) throw error;
        waiter.state = 'unconfirmed';
        if (atOnce) this.#finish(waiter, away());
        return;
      }
      const current = watch.generation === generation;
      if (current) this.#learn(watch, backlog, askedAt + this.#broker.lease);
      if (backlog.entries.length > 0) return this.#answerWith(waiter, backlog.entries, backlog.lost);
      if (backlog.final) return this.#finish(waiter, EXPIRED);
      if (current) return this.#settle(waiter, atOnce);
    }
  }

  /** Learns the newest position. If it differs, caught-up waiters have missed an entry and are refetched. */
  #learn(watch: Watch, { cursor, final }: Backlog, leaseExpiresAt: number): void {
    const behind = watch.position !== cursor;
    watch.position = cursor;
    watch.final = final;
    watch.leaseExpiresAt = leaseExpiresAt;
    if (!behind) return;
    for (const other of waitersOf(watch)) if (other.state === 'caughtUp') void this.#refetch(other);
  }

  #settle(waiter: Waiter, atOnce: boolean): void {
    waiter.state = 'caughtUp';
    if (waiter.watch.final) this.#finish(waiter, EXPIRED);
    else if (atOnce) this.#timeOut(waiter);
  }

  /** Answers `timeout` only if the newest position is known, because a wrong cursor would skip entries. */
  #timeOut(waiter: Waiter): void {
    const { watch } = waiter;
    if (waiter.state === 'caughtUp' && isKnown(watch) && this.#broker.status().up)
      this.#finish(waiter, { kind: 'timeout', cursor: advance(waiter.since, watch.position) });
    else this.#finish(waiter, away());
  }

  #deliver(key: string, entry: Entry): void {
    const watch = this.#hub.find(key);
    // a SUBSCRIBE of a dropped connection was executed late: unsubscribe, otherwise it lasts until it expires
    if (!watch) return this.#broker.unsubscribe(key);
    const order = this.#hub.receive(watch, entry);
    if (order === 'known') return;
    for (const waiter of waitersOf(watch)) {
      if (order === 'gap' && waiter.state !== 'asking') void this.#refetch(waiter);
      if (order !== 'next' || waiter.state !== 'caughtUp') continue;
      this.#answerWith(waiter, [entry], 0);
      if (entry.at !== undefined) this.#options.observer?.delivered(Math.max(0, Date.now() - entry.at));
    }
  }

  #answerWith(waiter: Waiter, entries: readonly Entry[], lost: number): void {
    const newest = entries[entries.length - 1] as Entry;
    if (lost > 0) this.#options.observer?.lost(lost);
    this.#finish(waiter, { kind: 'success', entries, lost, cursor: advance(waiter.since, newest.cursor) });
  }

  #finish(waiter: Waiter, answer: Answer): void {
    const { responder } = waiter;
    if (!this.#release(waiter) || !responder) return;
    waiter.watch.lastAnsweredAt = performance.now();
    responder.answer(answer);
  }

  #release(waiter: Waiter): boolean {
    this.#timers.remove(waiter);
    return this.#hub.leave(waiter);
  }
}

const away = (): Answer => ({
  kind: 'unavailable',
  retry: AWAY.min + Math.random() * (AWAY.max - AWAY.min),
});
