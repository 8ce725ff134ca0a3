/** Answers the held requests of this node: with entries as they arrive or are read from the broker, or with a time-out. */
import { type Backlog, type Broker, type Entry, Unavailable } from '../brokers/broker.js';
import { type Answer, EXPIRED, fitting } from '../protocol/answers.js';
import { advance, isAt } from '../protocol/cursor.js';
import { Hub, isKnown, type Responder, type Waiter, type Watch, waitersOf } from './hub.js';
import type { LongPollOptions, Observer, Question } from './options.js';
import { Receipts } from './receipts.js';
import { HoldTimers } from './timers.js';

/** Retry delay while the store is away, ms: random in this range, so that pages do not all come back at once. */
const AWAY = { min: 1000, max: 4000 };

export class Holder {
  readonly hub = new Hub();
  readonly receipts: Receipts;
  readonly #broker: Broker;
  readonly #observer: Observer | undefined;
  readonly #timers = new HoldTimers<Waiter>(waiter => this.#timeOut(waiter));

  constructor(broker: Broker, { observer, maxReceipts }: Pick<LongPollOptions, 'observer' | 'maxReceipts'>) {
    this.#broker = broker;
    this.#observer = observer;
    this.receipts = new Receipts(broker, maxReceipts);
  }

  /** @returns the waiter, which may be answered already */
  hold({ key, since, hold }: Question, responder: Responder): Waiter {
    // park first, then ask the broker: a set in between must find the waiter
    const waiter = this.hub.park(key, since, responder);
    if (hold > 0 && hold !== Number.POSITIVE_INFINITY) this.#timers.add(waiter, hold, this.hub.held);
    const { watch } = waiter;
    if (watch.wanted && responder.proves) this.receipts.noticePoll(watch, since);
    if (isKnown(watch) && isAt(since, watch.position)) this.#settle(waiter, hold === 0);
    else void this.refetch(waiter, hold === 0);
    return waiter;
  }

  /** Asks the broker for newer entries. Asks again if an entry arrived meanwhile, which the reply may not contain. */
  async refetch(waiter: Waiter, atOnce = false): Promise<void> {
    const { watch } = waiter;
    waiter.state = 'asking';
    while (waiter.responder) {
      const { generation } = watch;
      const askedAt = performance.now();
      let backlog: Backlog;
      this.#observer?.subscribed();
      try {
        backlog = await this.#broker.subscribe(watch.key, waiter.since);
      } catch (error) {
        if (!(error instanceof Unavailable)) throw error;
        waiter.state = 'unconfirmed';
        if (atOnce) this.finish(waiter, away());
        return;
      }
      const current = watch.generation === generation;
      if (current) this.#learn(watch, backlog, askedAt + this.#broker.lease);
      for (const position of backlog.wanted ?? []) this.receipts.want(watch, position);
      if (backlog.entries.length > 0) return this.#answerWith(waiter, backlog.entries, backlog.lost);
      if (backlog.final) return this.finish(waiter, EXPIRED);
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
    for (const other of waitersOf(watch)) if (other.state === 'caughtUp') void this.refetch(other);
  }

  #settle(waiter: Waiter, atOnce: boolean): void {
    waiter.state = 'caughtUp';
    if (waiter.watch.final) this.finish(waiter, EXPIRED);
    else if (atOnce) this.#timeOut(waiter);
  }

  /** Answers `timeout` only if the newest position is known, because a wrong cursor would skip entries. */
  #timeOut(waiter: Waiter): void {
    const cursor = this.cursorOf(waiter);
    this.finish(waiter, cursor === undefined ? away() : { kind: 'timeout', cursor });
  }

  /** The cursor of a waiter that has seen everything; undefined: that is not certain. */
  cursorOf({ watch, since, state }: Waiter): string | undefined {
    const certain = state === 'caughtUp' && isKnown(watch) && this.#broker.status().up;
    return certain ? advance(since, watch.position) : undefined;
  }

  /** An entry arrived: answers the waiters that it is next for. */
  deliver(key: string, entry: Entry): void {
    const watch = this.hub.find(key);
    // a SUBSCRIBE of a dropped connection was executed late: unsubscribe, otherwise it lasts until it expires
    if (!watch) return this.#broker.unsubscribe(key);
    const order = this.hub.receive(watch, entry);
    if (order === 'known') return;
    if (entry.receipt) this.receipts.want(watch, entry.cursor);
    for (const waiter of waitersOf(watch)) {
      if (order === 'gap' && waiter.state !== 'asking') void this.refetch(waiter);
      if (order !== 'next' || waiter.state !== 'caughtUp') continue;
      this.#answerWith(waiter, [entry], 0);
      if (entry.at !== undefined) this.#observer?.delivered(Math.max(0, Date.now() - entry.at));
    }
  }

  #answerWith(waiter: Waiter, newer: readonly Entry[], lost: number): void {
    const entries = fitting(newer);
    if (lost > 0) this.#observer?.lost(lost);
    // one after the other: they may be of several epochs
    const cursor = entries.reduce((since, entry) => advance(since, entry.cursor), waiter.since);
    this.finish(waiter, { kind: 'success', entries, lost, cursor });
  }

  /** Removes a waiter and answers it, unless it was removed before. */
  finish(waiter: Waiter, answer: Answer): void {
    const { responder } = waiter;
    if (!this.release(waiter) || !responder) return;
    waiter.watch.lastAnsweredAt = performance.now();
    responder.answer(answer);
  }

  /** Removes a waiter. @returns false if it was removed before */
  release(waiter: Waiter): boolean {
    this.#timers.remove(waiter);
    return this.hub.leave(waiter);
  }
}

/** The store is away: ask again later. */
export const away = (): Answer => ({
  kind: 'unavailable',
  retry: AWAY.min + Math.random() * (AWAY.max - AWAY.min),
});
