/** Get and set: the whole service without HTTP. */

import type { Answer } from './answers.js';
import * as answers from './answers.js';
import {
  advance,
  type Backlog,
  type Broker,
  type Entry,
  isAt,
  type NodeInfo,
  type Receipt,
  type SetOptions,
  Unavailable,
} from './brokers/broker.js';
import { Ends } from './ends.js';
import { type Asker, Hub, type Waiter, type Watch, waitersOf } from './hub.js';
import { render } from './script.js';

export type { Asker, Waiter } from './hub.js';

export interface Question {
  key: string;
  /** '' for none: all that is kept is new */
  since: string;
  /** milliseconds to hold; 0 answers at once */
  hold: number;
}

export interface LongPollOptions {
  /** this node's name among the others */
  id: string;
  version: string;
  /** is told what pages meet with, for those who measure */
  observer?: Observer;
}

export interface Observer {
  /** A held page was handed an entry, so many ms after it was set: as true as the nodes' clocks agree. */
  delivered(ms: number): void;
  /** A page was told that it lost so many values. */
  lost(values: number): void;
  /** The store was asked what a key holds, and to tell this node from then on: a lease, new or renewed. */
  leased(): void;
  /** Entries may have been missed: all that is held is asked for again. */
  gap(): void;
}

/**
 * Milliseconds after an answer for which a key still counts as watched: a page asks again straight from its callback,
 * so this covers a round trip on a bad line and the client's first retries.
 */
const GRACE = 5000;
/** How often keys that nobody waits for any more are given up, and those whose lease runs out asked for again. */
const SWEEP = 1000;
/** Keys asked for at a time when everything that is held must be asked for again. */
const BATCH = 200;
/** What a page waits at least and at most when the store is away, ms: spread, so that all do not come at once. */
const AWAY = { least: 1000, most: 4000 };

export class LongPoll {
  readonly #broker: Broker;
  readonly #hub = new Hub();
  readonly #ends = new Ends<Waiter>(waiter => this.#timeOut(waiter));
  readonly #options: LongPollOptions;
  readonly #started = performance.now();
  #sweeper: NodeJS.Timeout | undefined;
  /** milliseconds over which pages are sent elsewhere; undefined while this node takes them */
  #draining: number | undefined;

  constructor(broker: Broker, options: LongPollOptions) {
    this.#broker = broker;
    this.#options = options;
  }

  async start(): Promise<void> {
    this.#sweeper = setInterval(() => this.#sweep(), SWEEP).unref();
    await this.#broker.start({
      entry: (key, entry) => this.#deliver(key, entry),
      gap: () => void this.#catchUp(),
      held: key => this.#hub.settledFor(key),
      describe: () => this.describe(),
    });
  }

  get held(): number {
    return this.#hub.held;
  }

  heldFor(key: string): number {
    return this.#hub.heldFor(key);
  }

  /** Keys this node watches, and those of them whose lease has not run out. */
  counts(): { watched: number; leases: number } {
    const now = performance.now();
    let watched = 0;
    let leases = 0;
    for (const { until } of this.#hub.watches()) {
      watched++;
      if (until > now) leases++;
    }
    return { watched, leases };
  }

  /** Whether the store can be reached, and how often it came back. */
  store(): { up: boolean; returns: number } {
    return { up: this.#broker.ready(), returns: this.#broker.returns };
  }

  get draining(): boolean {
    return this.#draining !== undefined;
  }

  ready(): boolean {
    return !this.draining && this.#broker.ready();
  }

  describe(): NodeInfo {
    const uptime = Math.floor((performance.now() - this.#started) / 1000);
    return { id: this.#options.id, held: this.held, version: this.#options.version, uptime };
  }

  /**
   * Holds a question until there is something newer than `since`, the end of the hold, or the drain.
   * @param asker is answered once at most, perhaps before this returns; never after `leave`
   * @returns who waits now, perhaps no longer: for `leave`
   */
  get(question: Question, asker: Asker): Waiter | undefined {
    if (this.#draining !== undefined) {
      asker.answer(answers.moved(Math.random() * this.#draining));
      return undefined;
    }
    // hold first, then ask: a set in between must find the waiter here
    const waiter = this.#hub.park(question.key, question.since, asker);
    if (question.hold > 0) this.#ends.add(waiter, question.hold, this.held);
    const { watch } = waiter;
    if (watch.cursor !== undefined && isAt(question.since, watch.cursor) && performance.now() < watch.until)
      this.#settle(waiter, question.hold === 0);
    else void this.#ask(waiter, question.hold === 0);
    return waiter;
  }

  /** The page has gone: it is not answered any more. */
  leave(waiter: Waiter): void {
    if (this.#release(waiter)) this.#giveUp(waiter.watch);
  }

  /**
   * Stores a value and hands it to everyone who waits for it.
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

  peek(key: string) {
    return this.#broker.peek(key);
  }

  nodes() {
    return this.#broker.nodes();
  }

  /** Answers every held question, and every later one, `moved`, with retries spread over this many milliseconds. */
  drain(spread: number): void {
    this.#draining = spread;
    for (const watch of this.#hub.watches())
      for (const waiter of waitersOf(watch)) this.#finish(waiter, answers.moved(Math.random() * spread));
  }

  async close(): Promise<void> {
    clearInterval(this.#sweeper);
    this.drain(this.#draining ?? 0);
    await this.#broker.close();
  }

  /** Asks the broker what is newer; asks again when something came meanwhile that the reply may not know of. */
  async #ask(waiter: Waiter, atOnce = false): Promise<void> {
    const { watch } = waiter;
    waiter.state = 'asking';
    while (waiter.asker) {
      const heard = watch.heard;
      let backlog: Backlog;
      this.#options.observer?.leased();
      try {
        backlog = await this.#broker.subscribe(watch.key, waiter.since);
      } catch (error) {
        if (!(error instanceof Unavailable)) throw error;
        waiter.state = 'stranded';
        if (atOnce) this.#finish(waiter, answers.unavailable(away()));
        return;
      }
      const current = watch.heard === heard;
      if (current) this.#learn(watch, backlog);
      if (backlog.entries.length > 0) return this.#hand(waiter, backlog.entries, backlog.lost);
      if (backlog.final) return this.#finish(waiter, answers.expired);
      if (current) return this.#settle(waiter, atOnce);
    }
  }

  /** Takes in what the broker said. Those who settled on another cursor were not told of something: they ask again. */
  #learn(watch: Watch, { cursor, final, lease }: Backlog): void {
    const behind = watch.cursor !== cursor;
    watch.cursor = cursor;
    watch.final = final;
    watch.until = performance.now() + lease;
    if (!behind) return;
    for (const other of waitersOf(watch)) if (other.state === 'settled') void this.#ask(other);
  }

  #settle(waiter: Waiter, atOnce: boolean): void {
    waiter.state = 'settled';
    if (waiter.watch.final) this.#finish(waiter, answers.expired);
    else if (atOnce) this.#timeOut(waiter);
  }

  #timeOut(waiter: Waiter): void {
    const { cursor } = waiter.watch;
    // else the store did not say what is newest, and a cursor made up here would lose the page's place
    if (waiter.state === 'settled' && cursor !== undefined)
      this.#finish(waiter, answers.timeout(advance(waiter.since, cursor)));
    else this.#finish(waiter, answers.unavailable(away()));
  }

  #deliver(key: string, entry: Entry): void {
    const watch = this.#hub.find(key);
    if (!watch) return;
    const place = this.#hub.take(watch, entry);
    if (place === 'late') this.#askAll(watch);
    if (place !== 'next') return;
    for (const waiter of waitersOf(watch)) {
      if (waiter.state !== 'settled') continue;
      this.#hand(waiter, [entry], 0);
      if (entry.at !== undefined) this.#options.observer?.delivered(Math.max(0, Date.now() - entry.at));
    }
  }

  #hand(waiter: Waiter, entries: readonly Entry[], lost: number): void {
    const newest = entries[entries.length - 1] as Entry;
    if (lost > 0) this.#options.observer?.lost(lost);
    this.#finish(waiter, answers.success(entries, lost, advance(waiter.since, newest.cursor)));
  }

  #finish(waiter: Waiter, answer: Answer): void {
    const { asker } = waiter;
    if (!this.#release(waiter) || !asker) return;
    waiter.watch.answered = performance.now();
    asker.answer(answer);
  }

  #release(waiter: Waiter): boolean {
    this.#ends.remove(waiter);
    return this.#hub.release(waiter);
  }

  /** Gives a key up when nobody waits for it, and nobody is likely to be back in a moment. */
  #giveUp(watch: Watch): void {
    if (watch.held > 0 || performance.now() - watch.answered < GRACE) return;
    this.#hub.forget(watch);
    this.#broker.unsubscribe(watch.key);
  }

  #askAll(watch: Watch): void {
    for (const waiter of waitersOf(watch)) if (waiter.state !== 'asking') void this.#ask(waiter);
  }

  #sweep(): void {
    const now = performance.now();
    for (const watch of this.#hub.watches()) {
      if (watch.held === 0) this.#giveUp(watch);
      else if (now > watch.until && this.#broker.ready()) this.#askAll(watch);
    }
  }

  /** Asks for everything that is held, in batches: entries may have been missed. */
  async #catchUp(): Promise<void> {
    const waiters: Waiter[] = [];
    for (const watch of this.#hub.watches()) {
      watch.cursor = undefined;
      watch.until = 0;
      watch.heard++;
      waiters.push(...waitersOf(watch));
    }
    // as at the start: nothing was held, and nothing missed
    if (waiters.length > 0) this.#options.observer?.gap();
    for (let first = 0; first < waiters.length; first += BATCH)
      await Promise.all(waiters.slice(first, first + BATCH).map(waiter => this.#ask(waiter)));
  }
}

const away = () => AWAY.least + Math.random() * (AWAY.most - AWAY.least);
