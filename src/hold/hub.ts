/**
 * The waiters held on this node, by key. The hub knows no broker: it is given entries, and keeps the list of waiters.
 *
 * A watch is what the node knows of one key: its waiters, and the newest position that it is sure of. A caught-up waiter
 * has seen all up to that position: the next entry is handed to it when it follows directly, and read when it does not.
 */

import type { Entry } from '../brokers/broker.js';
import type { Answer } from '../protocol/answers.js';
import type { Timed } from './timers.js';

/** What a waiter is answered through: one request, by whatever transport. */
export interface Responder {
  answer(answer: Answer): void;
  /** Whether it is the poll of that name and address. Absent: it has no name. */
  isNamed?(name: string, from: string): boolean;
}

export interface Waiter extends Timed<Waiter> {
  readonly watch: Watch;
  since: string;
  /**
   * asking: the broker is being asked what is newer; caughtUp: it has seen all up to the watch's position;
   * unconfirmed: the broker could not say, and is asked again
   */
  state: 'asking' | 'caughtUp' | 'unconfirmed';
  /** undefined once the waiter is gone, for whatever reason */
  responder: Responder | undefined;
  /** its neighbours among those of its key */
  next: Waiter | undefined;
  previous: Waiter | undefined;
}

export interface Watch {
  readonly key: string;
  /** its waiters, as a linked list: most keys have one, and a Set rebuilds itself when its last member leaves */
  first: Waiter | undefined;
  /** how many they are */
  held: number;
  /** the newest position, while this node is sure to be given every entry; undefined: not known, the broker is asked */
  position: string | undefined;
  /** the key has had its final entry at that position */
  final: boolean;
  /** until when the position may be believed, on the monotonic clock in ms */
  leaseExpiresAt: number;
  /** counts what was received of the key: a reply of the broker is stale when this has moved since it was asked */
  generation: number;
  /** when a waiter was last answered, on the monotonic clock in ms */
  lastAnsweredAt: number;
}

/** Waiters of one key that are gone through for one request. */
const LOOKED_AT = 1024;

export class Hub {
  readonly #watches = new Map<string, Watch>();
  #held = 0;

  /** Requests held now. */
  get held(): number {
    return this.#held;
  }

  /** Requests held now for a key. */
  heldFor(key: string): number {
    return this.#watches.get(key)?.held ?? 0;
  }

  /** Of those, the ones that have seen its newest entry. */
  caughtUpFor(key: string): number {
    const watch = this.#watches.get(key);
    return watch ? waitersOf(watch).filter(waiter => waiter.state === 'caughtUp').length : 0;
  }

  /** Of a key's waiters that are `alike`, the one that came first; of its newest `LOOKED_AT`, so that its price is bounded. */
  oldest(key: string, alike: (responder: Responder) => boolean): Waiter | undefined {
    let found: Waiter | undefined;
    let waiter = this.#watches.get(key)?.first;
    for (let looked = 0; waiter && looked < LOOKED_AT; looked++, waiter = waiter.next)
      if (waiter.responder && alike(waiter.responder)) found = waiter;
    return found;
  }

  watches(): IterableIterator<Watch> {
    return this.#watches.values();
  }

  find(key: string): Watch | undefined {
    return this.#watches.get(key);
  }

  park(key: string, since: string, responder: Responder): Waiter {
    let watch = this.#watches.get(key);
    if (!watch) {
      watch = {
        key,
        first: undefined,
        held: 0,
        position: undefined,
        final: false,
        leaseExpiresAt: 0,
        generation: 0,
        lastAnsweredAt: Number.NEGATIVE_INFINITY,
      };
      this.#watches.set(key, watch);
    }
    const next = watch.first;
    const waiter: Waiter = {
      watch,
      since,
      state: 'asking',
      tick: undefined,
      prevTimer: undefined,
      nextTimer: undefined,
      responder,
      next,
      previous: undefined,
    };
    if (next) next.previous = waiter;
    watch.first = waiter;
    watch.held++;
    this.#held++;
    return waiter;
  }

  /** Takes a waiter out. @returns false when it was gone already */
  leave(waiter: Waiter): boolean {
    if (!waiter.responder) return false;
    waiter.responder = undefined;
    const { watch, next, previous } = waiter;
    if (previous) previous.next = next;
    else watch.first = next;
    if (next) next.previous = previous;
    // unlinked, so that a retained waiter does not retain its neighbours
    waiter.next = undefined;
    waiter.previous = undefined;
    watch.held--;
    this.#held--;
    return true;
  }

  delete(watch: Watch): void {
    this.#watches.delete(watch.key);
  }

  /** Takes in an entry. @returns known: it came before; next: it is for all that are caught up; late: one before it was missed */
  take(watch: Watch, entry: Entry): 'known' | 'next' | 'late' {
    watch.generation++;
    if (entry.cursor === watch.position) return 'known';
    const follows = entry.prev === watch.position;
    watch.position = follows ? entry.cursor : undefined;
    watch.final = follows && entry.final;
    return follows ? 'next' : 'late';
  }

  /** The position is not known any more; a reply that is on its way is stale. */
  distrust(watch: Watch): void {
    watch.position = undefined;
    watch.leaseExpiresAt = 0;
    watch.generation++;
  }
}

/** The waiters of a key at this moment, whatever becomes of them while they are looked at. */
export function waitersOf(watch: Watch): Waiter[] {
  if (!watch.first) return [];
  const waiters = [watch.first];
  for (let { next } = watch.first; next; next = next.next) waiters.push(next);
  return waiters;
}
