/** Long polling without HTTP: holds requests until the broker has a newer entry of their key, and stores values. */
import type { Broker, Events, NodeInfo, Receipt, SetOptions, StoreStatus } from '../brokers/broker.js';
import { advance } from '../protocol/cursor.js';
import { render } from '../protocol/jsonp.js';
import { Holder } from './holder.js';
import { type Hub, isKnown, type Responder, type Waiter, waitersOf } from './hub.js';
import type { LongPollOptions, Question } from './options.js';
import { Sync } from './sync.js';

export type { Responder, Waiter } from './hub.js';
export type { LongPollOptions, Observer, Question } from './options.js';

export class LongPoll {
  readonly #broker: Broker;
  readonly #holder: Holder;
  readonly #hub: Hub;
  readonly #options: LongPollOptions;
  readonly #sync: Sync;
  readonly #startedAt = performance.now();
  /** time over which pages are sent to other nodes, ms; undefined: not draining */
  #draining: number | undefined;

  constructor(broker: Broker, options: LongPollOptions) {
    this.#broker = broker;
    this.#options = options;
    this.#holder = new Holder(broker, options);
    this.#hub = this.#holder.hub;
    this.#sync = new Sync({
      hub: this.#hub,
      broker,
      refetch: waiter => this.#holder.refetch(waiter),
      observer: options.observer,
    });
  }

  async start(): Promise<void> {
    this.#sync.start();
    const events: Events = {
      entry: (key, entry) => this.#holder.deliver(key, entry),
      gap: key => this.#sync.resync(key),
      held: key => this.#hub.caughtUpFor(key),
      drop: (key, name, from) => void this.#dropHere(key, name, from),
      receipt: (key, position, state) => this.#onReceipt(key, position, state),
      describe: () => this.describe(),
    };
    try {
      await this.#broker.start(events);
    } catch (error) {
      this.#sync.stop();
      throw error;
    }
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
      if (responder.proves) this.noticePoll(question.key, question.since);
      responder.answer({ kind: 'moved', retry: Math.random() * this.#draining });
      return undefined;
    }
    return this.#holder.hold(question, responder);
  }

  /**
   * A page has polled with this cursor, and `get` is not called: it may prove that the page has taken a value. `get` notices
   * it by itself.
   */
  noticePoll(key: string, since: string): void {
    const watch = this.#hub.find(key);
    if (watch) this.#holder.receipts.noticePoll(watch, since);
  }

  #onReceipt(key: string, position: string, state: 'wanted' | 'proved'): void {
    if (state === 'proved') return this.#holder.receipts.proved(key, position);
    const watch = this.#hub.find(key);
    if (watch) this.#holder.receipts.want(watch, position);
  }

  /** Answers the oldest waiter of a key for which `alike` is true with `timeout`, to make room for another one. */
  giveWay(key: string, alike: (responder: Responder) => boolean): void {
    const waiter = this.#hub.oldest(key, alike);
    if (!waiter) return;
    const { watch, since, state } = waiter;
    const seen = state === 'caughtUp' && isKnown(watch) ? advance(since, watch.position) : since;
    this.#holder.finish(waiter, { kind: 'timeout', cursor: seen });
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
    if (!waiter?.responder) return false;
    const { responder } = waiter;
    this.leave(waiter);
    responder.abandon?.();
    responder.answer({ kind: 'timeout', cursor: waiter.since });
    return true;
  }

  /** The client has disconnected: removes its waiter. */
  leave(waiter: Waiter): void {
    if (this.#holder.release(waiter)) this.#sync.unsubscribeIdle(waiter.watch);
  }

  /** The request of a waiter was answered for another of its keys: removes the waiter. The page polls again soon. */
  letGo(waiter: Waiter): void {
    if (this.#holder.release(waiter)) waiter.watch.lastAnsweredAt = performance.now();
  }

  /** The cursor of a waiter that has seen everything; undefined: that is not certain. */
  cursorOf(waiter: Waiter): string | undefined {
    return this.#holder.cursorOf(waiter);
  }

  /**
   * Stores a value and delivers it to every request that waits for the key.
   * @param value anything that JSON can represent
   * @param options.receipt ms to wait for a page's proof that it has taken the value; then the receipt has `received`
   * @throws {TypeError} the value cannot be stored @throws {Conflict} @throws {Unavailable}
   */
  set(key: string, value: unknown, options: SetOptions): Promise<Receipt> {
    return this.setRendered(key, render(value), options);
  }

  /** `set` for a value that is already rendered. */
  setRendered(key: string, value: string, options: SetOptions): Promise<Receipt> {
    const { receipt } = options;
    const store = () => this.#broker.set(key, value, options);
    return receipt === undefined ? store() : this.#awaitReceipt(key, receipt, store);
  }

  async #awaitReceipt(key: string, wait: number, store: () => Promise<Receipt>): Promise<Receipt> {
    const receipt = await this.#holder.receipts.await(key, wait, store);
    this.#options.observer?.receipt?.(receipt.received === true);
    return receipt;
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
    this.#holder.receipts.drain(spread);
    for (const watch of this.#hub.watches())
      for (const waiter of waitersOf(watch))
        this.#holder.finish(waiter, { kind: 'moved', retry: Math.random() * spread });
  }

  /** Answers sets that wait for a receipt, and later ones at once. */
  endReceipts(): void {
    this.#holder.receipts.close();
  }

  async close(): Promise<void> {
    this.#sync.stop();
    this.endReceipts();
    this.drain(this.#draining ?? 0);
    await this.#broker.close();
  }
}
