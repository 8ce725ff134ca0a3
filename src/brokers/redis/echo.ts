/**
 * Waits until an answered heartbeat comes back as a message. It arrives behind the values that Redis sent before it: on a
 * slow line it is late and not lost. While bytes arrive, the wait goes on, until a PONG tells that everything has
 * arrived which Redis sent before the PING. If the heartbeat is not among it, it is lost.
 */

/** Something must arrive within this time, ms; otherwise messages are not received. */
const SILENCE = 1500;
/** A heartbeat that is later than this counts as lost, ms. Redis itself ends a subscription that is far behind. */
const MAX_LATE = 60_000;

/** The connection that receives messages. */
export interface Arrivals {
  /** bytes that have arrived on it */
  readonly arrived: number;
  /** Resolves when everything has arrived that Redis sent before. Rejects when the connection breaks. */
  ping(): Promise<unknown>;
}

export interface EchoEvents {
  /** The heartbeat is late, and the connection is not silent. */
  late(): void;
  lost(): void;
}

export class Echo {
  readonly #arrivals: Arrivals;
  readonly #events: EchoEvents;
  readonly #since = performance.now();
  #timer: NodeJS.Timeout | undefined;
  #state: 'expected' | 'late' | 'over' = 'expected';

  constructor(arrivals: Arrivals, events: EchoEvents) {
    this.#arrivals = arrivals;
    this.#events = events;
    this.#wait();
  }

  /** It came back, or is not expected any more. */
  clear(): void {
    this.#state = 'over';
    clearTimeout(this.#timer);
  }

  #wait(): void {
    const before = this.#arrivals.arrived;
    this.#timer = setTimeout(() => {
      if (this.#arrivals.arrived === before || performance.now() - this.#since > MAX_LATE)
        return this.#lose();
      if (this.#state === 'expected') this.#ask();
      this.#wait();
    }, SILENCE).unref();
  }

  #ask(): void {
    this.#state = 'late';
    this.#events.late();
    this.#arrivals.ping().then(
      () => this.#lose(),
      // the connection broke: after the next SUBSCRIBE no echo of an earlier heartbeat is expected
      () => {},
    );
  }

  #lose(): void {
    if (this.#state === 'over') return;
    this.clear();
    this.#events.lost();
  }
}
