/** A round-robin queue of jobs, one per turn of the event loop. */

/**
 * Runs jobs in order, one per turn. Node.js accepts one connection per turn: if a turn handled the pipelined requests
 * of all connections, a new connection would wait for many long turns.
 */
export class RoundRobin {
  readonly #jobs: (() => void)[] = [];

  /** Adds a job, which runs in a later turn, never at once. */
  add(job: () => void): void {
    if (this.#jobs.push(job) === 1) setImmediate(this.#run);
  }

  #run = (): void => {
    const job = this.#jobs.shift();
    if (this.#jobs.length > 0) setImmediate(this.#run);
    job?.();
  };
}
