/**
 * The subscriptions of this node in Redis. This is desired state and not a queue of commands: for each key, what the
 * node wants is compared with what Redis last confirmed, and the difference is sent. At most one command per key is in
 * flight, so that a later one never overtakes an earlier one, whatever connection or redirection they take.
 *
 * A key without a difference has no entry here.
 */
import type { Backlog } from '../broker.js';

export interface PendingSubscribe {
  key: string;
  since: string;
  resolve(backlog: Backlog): void;
  reject(error: Error): void;
}

interface Transit {
  readonly key: string;
  /** not sent yet; each has its own answer, because each request has its own cursor */
  subscribes: PendingSubscribe[];
  /** no request waits for the key, but Redis may still list this node as its watcher */
  unwanted: boolean;
  inFlight: boolean;
}

export interface SubscriptionCommands {
  /** Settles every subscribe of the batch. Never rejects. */
  subscribe(pending: readonly PendingSubscribe[]): Promise<void>;
  /** @throws when Redis did not confirm it */
  unsubscribe(keys: readonly string[]): Promise<void>;
  /** Splits items into batches for one command. */
  batches<T extends { readonly key: string }>(items: readonly T[]): T[][];
}

export class Subscriptions {
  readonly #commands: SubscriptionCommands;
  readonly #schedule: () => void;
  readonly #transits = new Map<string, Transit>();
  /** those that `flush` has to look at */
  #due = new Set<Transit>();

  /** @param schedule requests a `flush` in this tick, which sends everything of the tick in few commands */
  constructor(commands: SubscriptionCommands, schedule: () => void) {
    this.#commands = commands;
    this.#schedule = schedule;
  }

  subscribe(pending: PendingSubscribe): void {
    const transit = this.#transit(pending.key);
    transit.unwanted = false;
    transit.subscribes.push(pending);
  }

  unsubscribe(key: string): void {
    this.#transit(key).unwanted = true;
  }

  /** Sends the differences. What cannot be sent now is sent later. @param ready whether Redis can be reached */
  flush(ready: boolean): void {
    const due = [...this.#due];
    this.#due = new Set();
    const subscribing: Transit[] = [];
    const unsubscribing: Transit[] = [];
    for (const transit of due) {
      if (transit.inFlight) continue;
      // also when Redis cannot be reached: the subscribe must fail
      if (transit.subscribes.length > 0) subscribing.push(transit);
      else if (transit.unwanted && ready) unsubscribing.push(transit);
    }
    for (const batch of this.#commands.batches(subscribing)) void this.#subscribe(batch);
    for (const batch of this.#commands.batches(unsubscribing)) void this.#unsubscribe(batch);
  }

  /** Redis can be reached again: schedules every key that has a difference. */
  resume(): void {
    for (const transit of this.#transits.values()) this.#markDue(transit);
  }

  #transit(key: string): Transit {
    let transit = this.#transits.get(key);
    if (!transit) {
      transit = { key, subscribes: [], unwanted: false, inFlight: false };
      this.#transits.set(key, transit);
    }
    this.#markDue(transit);
    return transit;
  }

  #markDue(transit: Transit): void {
    this.#due.add(transit);
    this.#schedule();
  }

  async #subscribe(batch: Transit[]): Promise<void> {
    const pending = batch.flatMap(transit => {
      transit.inFlight = true;
      return transit.subscribes.splice(0);
    });
    await this.#commands.subscribe(pending);
    for (const transit of batch) this.#settle(transit, transit.unwanted);
  }

  async #unsubscribe(batch: Transit[]): Promise<void> {
    for (const transit of batch) {
      transit.inFlight = true;
      transit.unwanted = false;
    }
    const done = await this.#commands.unsubscribe(batch.map(({ key }) => key)).then(
      () => true,
      () => false,
    );
    for (const transit of batch) {
      // no retry here: when Redis can be reached again, the key may be wanted
      if (!done && transit.subscribes.length === 0) transit.unwanted = true;
      this.#settle(transit, done && transit.unwanted);
    }
  }

  /** A command for the key has finished. @param again whether to send another one at once */
  #settle(transit: Transit, again: boolean): void {
    transit.inFlight = false;
    if (again || transit.subscribes.length > 0) this.#markDue(transit);
    else if (!transit.unwanted) this.#transits.delete(transit.key);
  }
}
