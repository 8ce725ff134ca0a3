/**
 * The waiters held on this node, by key. The hub knows no broker and no timers.
 *
 * A watch is what the node knows of one key: its waiters, and its newest position. A caught-up waiter has seen
 * everything up to that position. An entry that follows it directly answers the waiter; any other entry means that one
 * was missed.
 */
import type { Entry } from '../brokers/broker.js';
import type { Answer } from '../protocol/answers.js';
import type { Timed } from './timers.js';

/** Sends the answer of one request, on any transport. */
export interface Responder {
  answer(answer: Answer): void;
  /** Whether it is the poll of that name and address. Absent: it has no name. */
  isNamed?(name: string, from: string): boolean;
  /** Whether it is a poll of that address. Absent: it is none. */
  isFrom?(from: string): boolean;
  /** It is a further key of a request that is held, and counted, for another one. */
  readonly uncounted?: boolean;
  /** Its page has stopped watching, and is answered next. Absent: nothing else waits with it. */
  abandon?(): void;
  /** It is a poll: its cursor proves that its page has taken what came before. Absent: a cursor proves nothing. */
  readonly proves?: boolean;
}

export interface Waiter extends Timed<Waiter> {
  readonly watch: Watch;
  since: string;
  /**
   * asking: a request to the broker for newer entries is in flight; caughtUp: it has seen everything up to the watch's
   * position; unconfirmed: the store was away, or entries may have been missed, so the broker will be asked again
   */
  state: 'asking' | 'caughtUp' | 'unconfirmed';
  /** undefined once it was answered or has left */
  responder: Responder | undefined;
  /** neighbours in the linked list of the key's waiters */
  next: Waiter | undefined;
  previous: Waiter | undefined;
}

export interface Watch {
  readonly key: string;
  /**
   * newest waiter, the head of a linked list: most keys have one, and a Set rebuilds itself when its last member leaves
   */
  first: Waiter | undefined;
  /** number of waiters */
  held: number;
  /** newest position, while this node is sure to receive every entry; undefined: not known */
  position: string | undefined;
  /** the entry at `position` is final */
  final: boolean;
  /** when the position must have been verified again, ms on the monotonic clock */
  leaseExpiresAt: number;
  /** changes with each entry: a reply of the broker is stale if it changed since the request */
  generation: number;
  /** positions of entries whose sets wait for a receipt, oldest first; undefined: none */
  wanted: string[] | undefined;
  /** when a waiter was last answered, ms on the monotonic clock */
  lastAnsweredAt: number;
}

/** How many waiters of a key `oldest` examines. */
const MAX_EXAMINED = 1024;

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

  /** Requests held now for a key that have seen its newest entry. */
  caughtUpFor(key: string): number {
    const watch = this.#watches.get(key);
    return watch ? waitersOf(watch).filter(waiter => waiter.state === 'caughtUp').length : 0;
  }

  /** The oldest of a key's waiters for which `alike` is true, among its newest 1024, so that the cost is bounded. */
  oldest(key: string, alike: (responder: Responder) => boolean): Waiter | undefined {
    let found: Waiter | undefined;
    let waiter = this.#watches.get(key)?.first;
    for (let examined = 0; waiter && examined < MAX_EXAMINED; examined++, waiter = waiter.next)
      if (waiter.responder && alike(waiter.responder)) found = waiter;
    return found;
  }

  /** The number of watched keys, and of those whose newest position is known. */
  counts(): { watched: number; leases: number } {
    const now = performance.now();
    let leases = 0;
    for (const watch of this.#watches.values()) if (isKnown(watch, now)) leases++;
    return { watched: this.#watches.size, leases };
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
        wanted: undefined,
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
    if (!responder.uncounted) this.#held++;
    return waiter;
  }

  /** Removes a waiter. @returns false if it was removed before */
  leave(waiter: Waiter): boolean {
    if (!waiter.responder) return false;
    if (!waiter.responder.uncounted) this.#held--;
    waiter.responder = undefined;
    const { watch, next, previous } = waiter;
    if (previous) previous.next = next;
    else watch.first = next;
    if (next) next.previous = previous;
    // unlink, so that a retained waiter does not retain its neighbours
    waiter.next = undefined;
    waiter.previous = undefined;
    watch.held--;
    return true;
  }

  delete(watch: Watch): void {
    this.#watches.delete(watch.key);
  }

  /**
   * An entry arrived. @returns known: it is not new; next: it follows the watch's position, so caught-up waiters get
   * it; gap: an entry before it was missed
   */
  receive(watch: Watch, entry: Entry): 'known' | 'next' | 'gap' {
    watch.generation++;
    if (entry.cursor === watch.position) return 'known';
    const follows = entry.prev === watch.position;
    watch.position = follows ? entry.cursor : undefined;
    watch.final = follows && entry.final;
    return follows ? 'next' : 'gap';
  }

  /** The position is no longer known, and a reply in flight is stale. */
  distrust(watch: Watch): void {
    watch.position = undefined;
    watch.leaseExpiresAt = 0;
    watch.generation++;
  }
}

/** The waiters of a key, as a copy that stays the same while waiters leave. */
export function waitersOf(watch: Watch): Waiter[] {
  if (!watch.first) return [];
  const waiters = [watch.first];
  for (let { next } = watch.first; next; next = next.next) waiters.push(next);
  return waiters;
}

/** Whether the newest position of a key is known and its lease has not expired. */
export function isKnown(watch: Watch, now = performance.now()): watch is Watch & { position: string } {
  return watch.position !== undefined && now < watch.leaseExpiresAt;
}
