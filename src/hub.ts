/**
 * The waiters held on this node, by key. It never learns who stores: it is told of entries, and who leaves.
 *
 * A watch is what the node knows of one key: who waits, and the newest cursor that it is sure of. A settled waiter has
 * seen all up to that cursor, so the next entry is handed over when it follows directly, and asked for when it does not.
 */
import type { Answer } from './answers.js';
import type { Entry } from './brokers/broker.js';
import type { Ending } from './ends.js';

/** Who asks: a page, by whatever way it is answered. */
export interface Asker {
  answer(answer: Answer): void;
}

export interface Waiter extends Ending<Waiter> {
  readonly watch: Watch;
  since: string;
  /** settled: has seen all up to the watch's cursor; stranded: the broker was asked and could not say */
  state: 'asking' | 'settled' | 'stranded';
  /** to be answered; undefined once the waiter has gone, whatever ended it */
  asker: Asker | undefined;
  /** its neighbours among those of its key */
  next: Waiter | undefined;
  previous: Waiter | undefined;
}

export interface Watch {
  readonly key: string;
  /** those who wait, as a list linked through them: most keys have one, and a Set makes itself anew when its last leaves */
  first: Waiter | undefined;
  /** how many they are */
  held: number;
  /** the newest cursor, as long as this node is told of every entry; undefined: the broker must be asked */
  cursor: string | undefined;
  /** the key has had its final entry at that cursor */
  final: boolean;
  /** when being told ends, on the monotonic clock in ms */
  until: number;
  /** counts what was heard of the key: a question to the broker is stale when this moved meanwhile */
  heard: number;
  /** when a waiter was last answered, on the monotonic clock in ms */
  answered: number;
}

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

  /** Of those, the ones that are sure to hear its next entry. */
  settledFor(key: string): number {
    const watch = this.#watches.get(key);
    return watch ? waitersOf(watch).filter(waiter => waiter.state === 'settled').length : 0;
  }

  watches(): IterableIterator<Watch> {
    return this.#watches.values();
  }

  find(key: string): Watch | undefined {
    return this.#watches.get(key);
  }

  park(key: string, since: string, asker: Asker): Waiter {
    let watch = this.#watches.get(key);
    if (!watch) {
      watch = {
        key,
        first: undefined,
        held: 0,
        cursor: undefined,
        final: false,
        until: 0,
        heard: 0,
        answered: Number.NEGATIVE_INFINITY,
      };
      this.#watches.set(key, watch);
    }
    const next = watch.first;
    const waiter: Waiter = {
      watch,
      since,
      state: 'asking',
      end: undefined,
      sooner: undefined,
      later: undefined,
      asker,
      next,
      previous: undefined,
    };
    if (next) next.previous = waiter;
    watch.first = waiter;
    watch.held++;
    this.#held++;
    return waiter;
  }

  /** Lets a waiter go. @returns false when it had gone already */
  release(waiter: Waiter): boolean {
    if (!waiter.asker) return false;
    waiter.asker = undefined;
    const { watch, next, previous } = waiter;
    if (previous) previous.next = next;
    else watch.first = next;
    if (next) next.previous = previous;
    // nor does one that has gone keep others in memory
    waiter.next = undefined;
    waiter.previous = undefined;
    watch.held--;
    this.#held--;
    return true;
  }

  /** Forgets a key that nobody waits for. */
  forget(watch: Watch): void {
    this.#watches.delete(watch.key);
  }

  /** Takes in an entry. @returns known: it came before; next: it is for all who are settled; late: one before it was missed */
  take(watch: Watch, entry: Entry): 'known' | 'next' | 'late' {
    watch.heard++;
    if (entry.cursor === watch.cursor) return 'known';
    const follows = entry.prev === watch.cursor;
    watch.cursor = follows ? entry.cursor : undefined;
    watch.final = follows && entry.final;
    return follows ? 'next' : 'late';
  }
}

/** Those who wait for a key at this moment, whatever becomes of them while they are looked at. */
export function waitersOf(watch: Watch): Waiter[] {
  if (!watch.first) return [];
  const waiters = [watch.first];
  for (let { next } = watch.first; next; next = next.next) waiters.push(next);
  return waiters;
}
