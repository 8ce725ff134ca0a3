/** Get and set: the whole service without HTTP. */

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
import { Hub, type Responder, type Waiter, type Watch, waitersOf } from './hub.js';
import { HoldTimers } from './timers.js';

export type { Responder, Waiter } from './hub.js';

export interface Question {
  key: string;
  /** '' for none: all that is kept is new */
  since: string;
  /** milliseconds to hold; 0 answers at once, Infinity holds until there is something newer */
  hold: number;
}

export interface LongPollOptions {
  /** this node's name among the others */
  id: string;
  version: string;
  /** is called with what pages meet, for metrics */
  observer?: Observer;
}

export interface Observer {
  /** A held page was handed an entry, so many ms after it was set: as true as the nodes' clocks agree. */
  delivered(ms: number): void;
  /** A page was told that it lost so many values. */
  lost(values: number): void;
  /** The broker was asked what a key holds, and to subscribe this node to it. */
  subscribed(): void;
  /** Entries may have been missed: everything that is held is read again. */
  gap(): void;
  /** Verification found so many keys for which a subscription or an entry was lost. */
  repaired(keys: number): void;
}

/**
 * Milliseconds after an answer for which a key still counts as watched: a page asks again straight from its callback,
 * so this covers a round trip on a bad line and the client's first retries.
 */
const GRACE = 5000;
/** How often keys without waiters are unsubscribed, and waiters that the broker could not answer asked for again, ms. */
const SWEEP = 1000;
/** Waiters that are asked for together when many must be. */
const BATCH = 200;
/** Keys are verified so often in a lease that one verification may be slow. */
const VERIFY = 2 / 3;
/** What a page waits at least and at most while the store is away, ms: spread, so that not all come at once. */
const AWAY = { min: 1000, max: 4000 };

export class LongPoll {
  readonly #broker: Broker;
  readonly #hub = new Hub();
  readonly #timers = new HoldTimers<Waiter>(waiter => this.#timeOut(waiter));
  readonly #options: LongPollOptions;
  readonly #startedAt = performance.now();
  #sweeper: NodeJS.Timeout | undefined;
  #verifier: NodeJS.Timeout | undefined;
  /** waiters to be asked for again, see #refetchAll */
  #unconfirmed: Waiter[] = [];
  #refetching = false;
  /** milliseconds over which pages are sent elsewhere; undefined while this node takes them */
  #draining: number | undefined;

  constructor(broker: Broker, options: LongPollOptions) {
    this.#broker = broker;
    this.#options = options;
  }

  async start(): Promise<void> {
    this.#sweeper = setInterval(() => this.#sweep(), SWEEP).unref();
    if (this.#broker.lease !== Number.POSITIVE_INFINITY)
      this.#verifier = setInterval(() => void this.#verify(), this.#broker.lease * VERIFY).unref();
    await this.#broker.start({
      entry: (key, entry) => this.#deliver(key, entry),
      gap: key => this.#resync(key),
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

  /** Keys this node watches, and those of them whose newest position it knows. */
  counts(): { watched: number; leases: number } {
    const now = performance.now();
    let watched = 0;
    let leases = 0;
    for (const watch of this.#hub.watches()) {
      watched++;
      if (isKnown(watch, now)) leases++;
    }
    return { watched, leases };
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
   * Holds a question until there is something newer than `since`, the end of the hold, or the drain.
   * @param responder is answered once at most, perhaps before this returns; never after `leave`
   * @returns the waiter, perhaps gone already: for `leave`
   */
  get(question: Question, responder: Responder): Waiter | undefined {
    if (this.#draining !== undefined) {
      responder.answer({ kind: 'moved', retry: Math.random() * this.#draining });
      return undefined;
    }
    // hold first, then ask: a set in between must find the waiter here
    const waiter = this.#hub.park(question.key, question.since, responder);
    if (question.hold > 0 && question.hold !== Number.POSITIVE_INFINITY)
      this.#timers.add(waiter, question.hold, this.held);
    const { watch } = waiter;
    if (isKnown(watch) && isAt(question.since, watch.position)) this.#settle(waiter, question.hold === 0);
    else void this.#refetch(waiter, question.hold === 0);
    return waiter;
  }

  /** Answers the waiter of a key that has waited longest, of those that are `alike`: it asks again from where it was. */
  giveWay(key: string, alike: (responder: Responder) => boolean): void {
    const waiter = this.#hub.oldest(key, alike);
    if (!waiter) return;
    const { watch, since, state } = waiter;
    const seen = state === 'caughtUp' && isKnown(watch) ? advance(since, watch.position) : since;
    this.#finish(waiter, { kind: 'timeout', cursor: seen });
  }

  /**
   * Answers the poll of that name and address `timeout`: its page has stopped watching, which is not to count as watched.
   * A poll that is not held here is looked for on the other nodes.
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

  /** The client has disconnected: it is not answered any more. */
  leave(waiter: Waiter): void {
    if (this.#release(waiter)) this.#unsubscribeIdle(waiter.watch);
  }

  /**
   * Stores a value and delivers it to every page that waits for it.
   * @param value anything JSON can say
   * @throws {TypeError} the value cannot be stored @throws {Conflict} @throws {Unavailable}
   */
  set(key: string, value: unknown, options: SetOptions): Promise<Receipt> {
    return this.setRendered(key, render(value), options);
  }

  /** As `set`, for a value that is rendered already. */
  setRendered(key: string, value: string, options: SetOptions): Promise<Receipt> {
    return this.#broker.set(key, value, options);
  }

  /** @param waiters false: how many requests wait is not asked */
  peek(key: string, waiters = true) {
    return this.#broker.peek(key, waiters);
  }

  nodes() {
    return this.#broker.nodes();
  }

  /** Answers every held question, and every later one, `moved`, with retries spread over this many milliseconds. */
  drain(spread: number): void {
    this.#draining = spread;
    for (const watch of this.#hub.watches())
      for (const waiter of waitersOf(watch))
        this.#finish(waiter, { kind: 'moved', retry: Math.random() * spread });
  }

  async close(): Promise<void> {
    clearInterval(this.#sweeper);
    clearInterval(this.#verifier);
    this.drain(this.#draining ?? 0);
    await this.#broker.close();
  }

  /** Asks the broker what is newer; asks again when something came meanwhile that the reply may not know of. */
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

  /** Takes in what the broker said. Those caught up with another position have missed something: they are asked for again. */
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

  /** "Nothing new" is only said of what is known: a cursor made up here would lose the page's place. */
  #timeOut(waiter: Waiter): void {
    const { watch } = waiter;
    if (waiter.state === 'caughtUp' && isKnown(watch) && this.#broker.status().up)
      this.#finish(waiter, { kind: 'timeout', cursor: advance(waiter.since, watch.position) });
    else this.#finish(waiter, away());
  }

  #deliver(key: string, entry: Entry): void {
    const watch = this.#hub.find(key);
    // a subscription that came late, on a connection that was given up: without this it would last until it expires
    if (!watch) return this.#broker.unsubscribe(key);
    const place = this.#hub.take(watch, entry);
    if (place === 'late') this.#refetchWatch(watch);
    if (place !== 'next') return;
    for (const waiter of waitersOf(watch)) {
      if (waiter.state !== 'caughtUp') continue;
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

  /** Unsubscribes from a key without waiters, unless one is likely to be back in a moment. */
  #unsubscribeIdle(watch: Watch): void {
    if (watch.held > 0 || performance.now() - watch.lastAnsweredAt < GRACE) return;
    this.#hub.delete(watch);
    this.#broker.unsubscribe(watch.key);
  }

  #refetchWatch(watch: Watch): void {
    for (const waiter of waitersOf(watch)) if (waiter.state !== 'asking') void this.#refetch(waiter);
  }

  #sweep(): void {
    const now = performance.now();
    const refetches = this.#broker.status().up && !this.#refetching;
    const waiters: Waiter[] = [];
    for (const watch of this.#hub.watches()) {
      if (watch.held === 0) this.#unsubscribeIdle(watch);
      else if (refetches) {
        const known = isKnown(watch, now);
        for (const waiter of waitersOf(watch))
          if (waiter.state === 'unconfirmed' || (waiter.state === 'caughtUp' && !known)) waiters.push(waiter);
      }
    }
    this.#refetchAll(waiters);
  }

  /** Entries may have been missed, of one key or of all. */
  #resync(key?: string): void {
    const only = key === undefined ? undefined : this.#hub.find(key);
    if (key !== undefined && !only) return;
    const waiters: Waiter[] = [];
    for (const watch of only ? [only] : this.#hub.watches()) {
      this.#hub.distrust(watch);
      waiters.push(...waitersOf(watch));
    }
    // as at the start: nothing was held, and nothing missed
    if (waiters.length > 0 && !only) this.#options.observer?.gap();
    this.#refetchAll(waiters);
  }

  /** Asks for many waiters again, in batches, one batch after the other. */
  #refetchAll(waiters: readonly Waiter[]): void {
    for (const waiter of waiters) {
      if (waiter.state === 'caughtUp') waiter.state = 'unconfirmed';
      this.#unconfirmed.push(waiter);
    }
    if (!this.#refetching) void this.#refetchBatches();
  }

  async #refetchBatches(): Promise<void> {
    this.#refetching = true;
    while (this.#unconfirmed.length > 0) {
      const batch = this.#unconfirmed.splice(0, BATCH).filter(({ state }) => state === 'unconfirmed');
      await Promise.all(batch.map(waiter => this.#refetch(waiter)));
      // the store is away again: the sweep goes on when it is back
      if (batch.some(({ state, responder }) => responder && state === 'unconfirmed')) this.#unconfirmed = [];
    }
    this.#refetching = false;
  }

  /** Compares everything that is believed with the store, so that whatever was lost is found within a lease. */
  async #verify(): Promise<void> {
    const verifiedAt = performance.now();
    const known: Watch[] = [];
    const generations: number[] = [];
    for (const watch of this.#hub.watches())
      if (watch.position !== undefined) {
        known.push(watch);
        generations.push(watch.generation);
      }
    let stale: Set<string>;
    try {
      stale = new Set(await this.#broker.verify?.(known));
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error;
      return;
    }
    let repaired = 0;
    for (const [index, watch] of known.entries()) {
      if (this.#hub.find(watch.key) !== watch) continue;
      if (stale.has(watch.key)) {
        // an entry that came meanwhile looks the same: reading once more does no harm
        if (watch.generation === generations[index]) repaired++;
        this.#resync(watch.key);
      } else if (watch.generation === generations[index])
        watch.leaseExpiresAt = verifiedAt + this.#broker.lease;
    }
    if (repaired > 0) this.#options.observer?.repaired(repaired);
  }
}

/** Whether the newest position of a key is known now. */
function isKnown(watch: Watch, now = performance.now()): watch is Watch & { position: string } {
  return watch.position !== undefined && now < watch.leaseExpiresAt;
}

const away = (): Answer => ({
  kind: 'unavailable',
  retry: AWAY.min + Math.random() * (AWAY.max - AWAY.min),
});
