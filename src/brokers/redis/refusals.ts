/** Reconnects after a refusal. */

/** When a server is not the master that is looked for, or refuses the database: at most one reconnect in this time, ms. */
const REFUSAL_DELAY = 1000;
/**
 * Answers of a server that is a replica, or the old master after a failover: its name or its Sentinels may lead to
 * another server by now. Not only at the start, because Redis 6 puts the words of a script's error behind its own.
 */
export const ANOTHER_MASTER = /\b(?:READONLY|NOREPLICAS|MASTERDOWN)\b/;

/** Limits reconnects to a server that accepts the connection but cannot be used. */
export class Refusals {
  #last = Number.NEGATIVE_INFINITY;
  #refused = false;

  /** Whether a reconnect is allowed now. Counts it as made. */
  may(): boolean {
    const now = performance.now();
    if (now - this.#last < REFUSAL_DELAY) return false;
    this.#last = now;
    return true;
  }

  add(): void {
    this.#refused = true;
  }

  /** @returns ms until the next attempt; undefined: the last connection was not refused */
  delay(): number | undefined {
    if (!this.#refused) return undefined;
    this.#refused = false;
    return REFUSAL_DELAY * (0.5 + Math.random() / 2);
  }
}
