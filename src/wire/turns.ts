/** Work that can wait for a later turn of the event loop. */

/**
 * Runs jobs in their order, one in each turn. Node takes one new connection in a turn: with all pipelined requests of a
 * crowd in one turn, a new connection behind the crowd's would wait for as many turns as the crowd has connections.
 */
export class Turns {
  readonly #jobs: (() => void)[] = [];

  /** The job runs in a later turn, never at once. */
  add(job: () => void): void {
    if (this.#jobs.push(job) === 1) setImmediate(this.#run);
  }

  #run = (): void => {
    const job = this.#jobs.shift();
    if (this.#jobs.length > 0) setImmediate(this.#run);
    job?.();
  };
}
