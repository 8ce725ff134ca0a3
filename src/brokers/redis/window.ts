/**
 * How much may be in flight from one server. A command fails after 5 s, and a heartbeat waits behind the replies before
 * it, so the replies on the way must be few on a slow line. Like the window of TCP, it grows with each reply that comes
 * in time and is halved by each that does not.
 */

/** Commands in flight at most. */
const MAX = 16;
/** Bytes of values in a reply for each command of the window: 256 KiB at the most, 16 KiB at the least. */
const SHARE = 16 * 1024;
/** A command that takes longer than this is slow, ms: far below the time limit of a command. */
const SLOW = 1000;

export class Window {
  #size = MAX;
  #inFlight = 0;

  /** Whether another command may be sent now. */
  get open(): boolean {
    return this.#inFlight < this.#size;
  }

  /** Sends a command. @param command with the limit of its reply, bytes */
  async run<T>(command: (limit: number) => Promise<T>): Promise<T> {
    this.#inFlight++;
    const sentAt = performance.now();
    try {
      return await command(this.#size * SHARE);
    } finally {
      this.#inFlight--;
      const slow = performance.now() - sentAt > SLOW;
      this.#size = slow ? Math.ceil(this.#size / 2) : Math.min(this.#size + 1, MAX);
    }
  }
}
