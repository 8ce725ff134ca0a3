/** A limit of operations that wait for the store, so that other requests have room on the port while it is slow. */
import { Unavailable } from '../brokers/broker.js';

export class ConcurrencyLimit {
  readonly #max: number;
  readonly #message: string;
  #inFlight = 0;

  /** @param max operations at a time @param message of the error of a further one */
  constructor(max: number, message: string) {
    this.#max = max;
    this.#message = message;
  }

  /** Runs an operation. @throws {Unavailable} too many are in flight; it was not begun */
  async run<T>(operation: () => Promise<T>): Promise<T> {
    if (this.#inFlight >= this.#max) throw new Unavailable(this.#message);
    this.#inFlight++;
    try {
      return await operation();
    } finally {
      this.#inFlight--;
    }
  }
}
