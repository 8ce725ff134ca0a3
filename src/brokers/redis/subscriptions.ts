/**
 * Which keys this node is subscribed to in Redis. Not a list of things to do: for each key that is on its way, what is
 * wanted is compared with what Redis was last told, and the difference is sent. One command for a key is in flight at a
 * time, so that on whatever connection, by whatever redirection, a later one never overtakes an earlier one.
 *
 * A key that is at rest (wanted and told, or neither) has no entry here.
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
  /** to be sent, and answered one by one: each page has a cursor of its own */
  subscribes: PendingSubscribe[];
  /** nobody wants the key, and Redis may have this node down for it */
  unwanted: boolean;
  inFlight: boolean;
}

export interface SubscriptionCommands {
  /** Settles each of them. Never rejects. */
  subscribe(pending: readonly PendingSubscribe[]): Promise<void>;
  /** @throws when it is not known to have been done */
  unsubscribe(keys: readonly string[]): Promise<void>;
  /** Divides what is to be sent into what one command may carry. */
  batches<T extends { readonly key: string }>(items: readonly T[]): T[][];
}

export class Subscriptions {
  readonly #commands: SubscriptionCommands;
  readonly #schedule: () => void;
  readonly #transits = new Map<string, Transit>();
  /** those of them that wait for `flush` */
  #due = new Set<Transit>();

  /** @param schedule asks for a `flush` soon: what comes together goes together */
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

  /** Sends the differences. What cannot be sent now stays a difference. @param ready whether Redis can be reached */
  flush(ready: boolean): void {
    const due = [...this.#due];
    this.#due = new Set();
    const subscribing: Transit[] = [];
    const unsubscribing: Transit[] = [];
    for (const transit of due) {
      if (transit.inFlight) continue;
      // an answer is due even if Redis cannot be reached: an error
      if (transit.subscribes.length > 0) subscribing.push(transit);
      else if (transit.unwanted && ready) unsubscribing.push(transit);
    }
    for (const batch of this.#commands.batches(subscribing)) void this.#subscribe(batch);
    for (const batch of this.#commands.batches(unsubscribing)) void this.#unsubscribe(batch);
  }

  /** Redis can be reached again: everything that is not at rest is due. */
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
      // not repeated here: by the time Redis can be reached again the key may be wanted
      if (!done && transit.subscribes.length === 0) transit.unwanted = true;
      this.#settle(transit, done && transit.unwanted);
    }
  }

  /** A command has come back. @param again whether there is more to send at once */
  #settle(transit: Transit, again: boolean): void {
    transit.inFlight = false;
    if (again || transit.subscribes.length > 0) this.#markDue(transit);
    else if (!transit.unwanted) this.#transits.delete(transit.key);
  }
}
