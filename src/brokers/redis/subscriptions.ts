/**
 * The subscriptions of this node in Redis. This is desired state and not a queue of commands: for each key, what the
 * node wants is compared with what Redis last confirmed, and the difference is sent. At most one command per key is in
 * flight, so that a later one never overtakes an earlier one, whatever connection or redirection they take.
 *
 * A key without a difference has no entry here.
 */
import { type Backlog, type Entry, Unavailable } from '../broker.js';
import { Window } from './window.js';

export interface PendingSubscribe {
  key: string;
  since: string;
  resolve(backlog: Backlog): void;
  reject(error: Error): void;
}

/** A read of a key's entries after a cursor. Requests that ask for the same share it. */
export interface Read {
  readonly key: string;
  /** the cursor of the requests */
  readonly since: string;
  /** the cursor to read from: `since`, or that of the last of `entries` */
  from: string;
  /** what earlier commands have read of it, because one reply was too small */
  readonly entries: Entry[];
  lost: number;
  readonly requests: PendingSubscribe[];
}

interface Transit {
  readonly key: string;
  /** not sent yet, by `since` */
  readonly reads: Map<string, Read>;
  /** no request waits for the key, but Redis may still list this node as its watcher */
  unwanted: boolean;
  /** a command is in flight, or its reads wait until the window of its server is open */
  busy: boolean;
}

/** The reads of one server. */
interface Lane {
  readonly window: Window;
  /** the oldest first */
  readonly queue: Transit[];
}

export interface SubscriptionCommands {
  /**
   * Settles the requests of reads. Never rejects.
   * @param limit bytes of values after which Redis stops @returns the reads that need another command
   */
  subscribe(reads: readonly Read[], limit: number): Promise<Read[]>;
  /** @throws when Redis did not confirm it */
  unsubscribe(keys: readonly string[]): Promise<void>;
  /** Splits items into batches for one command; those of one batch are on one server. */
  batches<T extends { readonly key: string }>(items: readonly T[]): T[][];
  /** Removes the first batch of a queue that is not empty. */
  take<T extends { readonly key: string }>(queue: T[]): T[];
  /** The server of a key, by any name. */
  server(key: string): string;
}

export class Subscriptions {
  readonly #commands: SubscriptionCommands;
  readonly #schedule: () => void;
  readonly #transits = new Map<string, Transit>();
  /** those that `flush` has to look at */
  #due = new Set<Transit>();
  /** by server: one that hangs must not delay the others */
  readonly #lanes = new Map<string, Lane>();

  /** @param schedule requests a `flush` in this tick, which sends everything of the tick in few commands */
  constructor(commands: SubscriptionCommands, schedule: () => void) {
    this.#commands = commands;
    this.#schedule = schedule;
  }

  subscribe(pending: PendingSubscribe): void {
    const { key, since } = pending;
    const transit = this.#transit(key, false);
    const same = transit.reads.get(since);
    if (same) same.requests.push(pending);
    else transit.reads.set(since, { key, since, from: since, entries: [], lost: 0, requests: [pending] });
  }

  unsubscribe(key: string): void {
    this.#transit(key, true);
  }

  /** Sends the differences. What cannot be sent now is sent later. @param ready whether Redis can be reached */
  flush(ready: boolean): void {
    const due = [...this.#due];
    this.#due = new Set();
    const reading: Transit[] = [];
    const unsubscribing: Transit[] = [];
    for (const transit of due) {
      if (transit.busy) continue;
      if (transit.reads.size > 0) {
        transit.busy = true;
        reading.push(transit);
      } else if (transit.unwanted && ready) unsubscribing.push(transit);
    }
    // side by side, those of one slot are taken for one command
    for (const batch of this.#commands.batches(reading)) this.#lane(batch[0] as Transit).queue.push(...batch);
    for (const lane of this.#lanes.values()) this.#send(lane, ready);
    for (const batch of this.#commands.batches(unsubscribing)) void this.#unsubscribe(batch);
  }

  /** Redis can be reached again: schedules every key that has a difference. */
  resume(): void {
    for (const transit of this.#transits.values()) this.#markDue(transit);
  }

  #transit(key: string, unwanted: boolean): Transit {
    let transit = this.#transits.get(key);
    if (transit) transit.unwanted = unwanted;
    else {
      transit = { key, reads: new Map(), unwanted, busy: false };
      this.#transits.set(key, transit);
    }
    this.#markDue(transit);
    return transit;
  }

  #markDue(transit: Transit): void {
    this.#due.add(transit);
    this.#schedule();
  }

  #lane({ key }: Transit): Lane {
    const server = this.#commands.server(key);
    let lane = this.#lanes.get(server);
    if (!lane) {
      lane = { window: new Window(), queue: [] };
      this.#lanes.set(server, lane);
    }
    return lane;
  }

  /** Sends what the window allows. When Redis cannot be reached, the rest fails: nobody knows how long it would wait. */
  #send({ window, queue }: Lane, ready: boolean): void {
    while (queue.length > 0 && window.open) void this.#subscribe({ window, queue });
    if (ready) return;
    for (const transit of queue.splice(0)) {
      for (const { requests } of transit.reads.values())
        for (const { reject } of requests) reject(new Unavailable('Redis: too many reads wait for it'));
      transit.reads.clear();
      this.#settle(transit, transit.unwanted);
    }
  }

  async #subscribe({ window, queue }: Lane): Promise<void> {
    const batch = this.#commands.take(queue);
    const reads: Read[] = [];
    for (const transit of batch) {
      for (const read of transit.reads.values()) reads.push(read);
      transit.reads.clear();
    }
    const rest = await window.run(limit => this.#commands.subscribe(reads, limit));
    const unfinished = new Set(rest.map(read => this.#putBack(read)));
    queue.unshift(...unfinished);
    for (const transit of batch) if (!unfinished.has(transit)) this.#settle(transit, transit.unwanted);
    if (queue.length > 0) this.#schedule();
  }

  /** Queues the rest of a read. A request for the same that came meanwhile joins it. */
  #putBack(read: Read): Transit {
    const transit = this.#transits.get(read.key) as Transit;
    for (const pending of transit.reads.get(read.since)?.requests ?? []) read.requests.push(pending);
    transit.reads.set(read.since, read);
    return transit;
  }

  async #unsubscribe(batch: Transit[]): Promise<void> {
    for (const transit of batch) transit.busy = true;
    const done = await this.#commands.unsubscribe(batch.map(({ key }) => key)).then(
      () => true,
      () => false,
    );
    for (const transit of batch) {
      // no retry here: when Redis can be reached again, the key may be wanted
      if (transit.reads.size === 0) transit.unwanted = !done;
      this.#settle(transit, false);
    }
  }

  /** A command for the key has finished. @param again whether to send another one at once */
  #settle(transit: Transit, again: boolean): void {
    transit.busy = false;
    if (again || transit.reads.size > 0) this.#markDue(transit);
    else if (!transit.unwanted) this.#transits.delete(transit.key);
  }
}
