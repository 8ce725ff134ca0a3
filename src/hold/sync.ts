/**
 * Keeps what this node knows of its keys in step with the broker: refetches waiters after a loss, verifies
 * subscriptions before their lease expires, and unsubscribes from keys without waiters.
 */
import { type Broker, Unavailable } from '../brokers/broker.js';
import { type Hub, isKnown, type Waiter, type Watch, waitersOf } from './hub.js';
import type { Observer } from './options.js';

/**
 * A key stays subscribed for this long after an answer, ms: a page polls again from its callback, so this covers a
 * round trip on a slow connection and the client's first retries.
 */
const GRACE = 5000;
/** Interval at which idle keys are unsubscribed and unconfirmed waiters refetched, ms. */
const SWEEP_INTERVAL = 1000;
/** Waiters that are refetched at the same time. */
const REFETCH_BATCH = 200;
/** Interval of verification, as a share of the lease. The rest is for a slow verification. */
const VERIFY_INTERVAL = 2 / 3;

export interface SyncOptions {
  hub: Hub;
  broker: Broker;
  /** Asks the broker for entries that the waiter has not seen. Sets its state to `unconfirmed` if the store is away. */
  refetch(waiter: Waiter): Promise<void>;
  observer: Observer | undefined;
}

export class Sync {
  readonly #options: SyncOptions;
  #sweeper: NodeJS.Timeout | undefined;
  #verifier: NodeJS.Timeout | undefined;
  /** waiters to refetch */
  #queue: Waiter[] = [];
  #refetching = false;

  constructor(options: SyncOptions) {
    this.#options = options;
  }

  start(): void {
    const { lease } = this.#options.broker;
    this.#sweeper = setInterval(() => this.#sweep(), SWEEP_INTERVAL).unref();
    if (lease !== Number.POSITIVE_INFINITY)
      this.#verifier = setInterval(() => void this.#verify(), lease * VERIFY_INTERVAL).unref();
  }

  stop(): void {
    clearInterval(this.#sweeper);
    clearInterval(this.#verifier);
  }

  /** Entries may have been missed, of one key or of all: refetches the waiters. */
  resync(key?: string): void {
    const { hub, observer } = this.#options;
    const only = key === undefined ? undefined : hub.find(key);
    if (key !== undefined && !only) return;
    const waiters: Waiter[] = [];
    for (const watch of only ? [only] : hub.watches()) {
      hub.distrust(watch);
      waiters.push(...waitersOf(watch));
    }
    // at the start nothing is held, so nothing was missed
    if (waiters.length > 0 && !only) observer?.gap();
    this.#refetchAll(waiters);
  }

  /** Unsubscribes from a key without waiters, unless it was answered within the grace period. */
  unsubscribeIdle(watch: Watch): void {
    if (watch.held > 0 || performance.now() - watch.lastAnsweredAt < GRACE) return;
    this.#options.hub.delete(watch);
    this.#options.broker.unsubscribe(watch.key);
  }

  #sweep(): void {
    const { hub, broker } = this.#options;
    const now = performance.now();
    const refetches = broker.status().up && !this.#refetching;
    const waiters: Waiter[] = [];
    for (const watch of hub.watches()) {
      if (watch.held === 0) this.unsubscribeIdle(watch);
      else if (refetches) {
        const known = isKnown(watch, now);
        for (const waiter of waitersOf(watch))
          if (waiter.state === 'unconfirmed' || (waiter.state === 'caughtUp' && !known)) waiters.push(waiter);
      }
    }
    this.#refetchAll(waiters);
  }

  /** Refetches many waiters, one batch after the other. */
  #refetchAll(waiters: readonly Waiter[]): void {
    for (const waiter of waiters) {
      if (waiter.state === 'caughtUp') waiter.state = 'unconfirmed';
      this.#queue.push(waiter);
    }
    if (!this.#refetching) void this.#refetchBatches();
  }

  async #refetchBatches(): Promise<void> {
    this.#refetching = true;
    while (this.#queue.length > 0) {
      const batch = this.#queue.splice(0, REFETCH_BATCH).filter(({ state }) => state === 'unconfirmed');
      await Promise.all(batch.map(waiter => this.#options.refetch(waiter)));
      // the store is away again: the sweep continues when it is back
      if (batch.some(({ state, responder }) => responder && state === 'unconfirmed')) this.#queue = [];
    }
    this.#refetching = false;
  }

  /** Compares all known positions with the store, so that any loss is found within one lease. */
  async #verify(): Promise<void> {
    const { hub, broker, observer } = this.#options;
    const verifiedAt = performance.now();
    const known: Watch[] = [];
    const generations: number[] = [];
    for (const watch of hub.watches())
      if (watch.position !== undefined) {
        known.push(watch);
        generations.push(watch.generation);
      }
    let stale: Set<string>;
    try {
      stale = new Set(await broker.verify?.(known));
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error;
      return;
    }
    let repaired = 0;
    for (const [index, watch] of known.entries()) {
      if (hub.find(watch.key) !== watch) continue;
      if (!stale.has(watch.key)) {
        // also if an entry arrived meanwhile: it follows what was verified, or the position is unknown until it is read again
        watch.leaseExpiresAt = verifiedAt + broker.lease;
        continue;
      }
      // if an entry arrived meanwhile, the key may only look stale: a refetch does no harm
      if (watch.generation === generations[index]) repaired++;
      this.resync(watch.key);
    }
    if (repaired > 0) observer?.repaired(repaired);
  }
}
