/**
 * Receipts: a set waits until a page has proved, by its next poll, that it has taken the value. On the node of the page:
 * notices the poll. On the node of the set: waits for the news of it, which the broker carries.
 */
import type { Broker, Receipt } from '../brokers/broker.js';
import { hasSeen } from '../protocol/cursor.js';
import { type Watch, waitersOf } from './hub.js';

/** Positions of a key that a node looks out for; older ones are dropped. */
const MAX_WANTED = 64;

/** A set that waits for a receipt. */
interface Pending {
  /** what was proved so far: a page can be faster than the reply of the store */
  proved: Set<string>;
  position: string | undefined;
  settle(received: boolean): void;
}

export class Receipts {
  readonly #broker: Broker;
  readonly #max: number;
  readonly #pending = new Map<string, Set<Pending>>();
  /** sets that wait now */
  #waiting = 0;
  /** longest wait from now on, ms: shorter in a drain */
  #longest = Number.POSITIVE_INFINITY;

  /** @param max sets that may wait at the same time; further ones are answered at once */
  constructor(broker: Broker, max = Number.POSITIVE_INFINITY) {
    this.#broker = broker;
    this.#max = max;
  }

  /**
   * Stores a value and waits for a page's proof.
   * @param wait ms, from when the value is stored @param store stores it @returns its receipt, with `received`
   */
  async await(key: string, wait: number, store: () => Promise<Receipt>): Promise<Receipt> {
    if (!this.#broker.prove) return { ...(await store()), received: false };
    const pending: Pending = { proved: new Set(), position: undefined, settle() {} };
    const all = this.#pending.get(key) ?? new Set();
    this.#pending.set(key, all.add(pending));
    try {
      const receipt = await store();
      const known = receipt.received || pending.proved.has(receipt.cursor);
      return { ...receipt, received: known || (await this.#proof(pending, receipt.cursor, wait)) };
    } finally {
      all.delete(pending);
      if (all.size === 0) this.#pending.delete(key);
    }
  }

  async #proof(pending: Pending, position: string, wait: number): Promise<boolean> {
    const longest = Math.min(wait, this.#longest);
    if (longest <= 0 || this.#waiting >= this.#max) return false;
    pending.position = position;
    this.#waiting++;
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise<boolean>(resolve => {
        pending.settle = resolve;
        timer = setTimeout(resolve, longest, false);
      });
    } finally {
      clearTimeout(timer);
      this.#waiting--;
    }
  }

  /** A page has proved, on any node, that it has taken an entry. */
  proved(key: string, position: string): void {
    for (const pending of this.#pending.get(key) ?? []) {
      if (pending.position === undefined) pending.proved.add(position);
      else if (pending.position === position) pending.settle(true);
    }
  }

  /** Looks out for the proof of an entry, also by polls that are held now. */
  want(watch: Watch, position: string): void {
    watch.wanted ??= [];
    if (watch.wanted.includes(position)) return;
    watch.wanted.push(position);
    if (watch.wanted.length > MAX_WANTED) watch.wanted.shift();
    for (const { responder, since } of waitersOf(watch))
      if (responder?.proves && watch.wanted) this.noticePoll(watch, since);
  }

  /** A page polls with this cursor, whatever it is answered. */
  noticePoll(watch: Watch, since: string): void {
    const { wanted } = watch;
    if (!wanted || since === '') return;
    const proved = wanted.filter(position => hasSeen(since, position));
    if (proved.length === 0) return;
    watch.wanted = proved.length < wanted.length ? wanted.filter(one => !proved.includes(one)) : undefined;
    for (const position of proved) this.#broker.prove?.(watch.key, position);
  }

  /** No set waits for longer from now on. @param spread ms */
  drain(spread: number): void {
    this.#longest = spread;
    if (this.#waiting > 0) setTimeout(() => this.close(), spread).unref();
  }

  /** Sets that wait are answered now that nothing is known to be received. */
  close(): void {
    this.#longest = 0;
    for (const all of this.#pending.values()) for (const pending of all) pending.settle(false);
  }
}
