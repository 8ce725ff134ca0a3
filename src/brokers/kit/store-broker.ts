/** Keeps a broker connected to its store: heartbeats, time limits, and a new connection with back-off when one is lost. */
import { type Broker, Conflict, type Events, type StoreStatus, Unavailable, WrongStore } from '../broker.js';
import { lineOf } from '../shapes.js';
import { within } from '../within.js';

/** Time limit of an operation, ms. */
const TIMEOUT = 4000;
/** Delay before the first new attempt, and before later ones at most, ms. Each is shortened by up to half at random. */
const MIN_DELAY = 500;
const MAX_DELAY = 2000;
/** How long a node that closes may take to leave the store, ms. */
const LEAVE_TIMEOUT = 500;

/** What a `StoreBroker` is made with. */
export interface StoreOptions {
  /** the store's name, with which errors and causes begin */
  name: string;
  /** time between heartbeats, ms */
  interval: number;
  /** time limit of `connect`, of a heartbeat and of a `call`, ms; default 4000 */
  timeout?: number | undefined;
}

/**
 * The base of a broker over a store: it connects, and connects again with back-off when the connection is lost. Write
 * `connect`, `heartbeat` and `leave`; `start`, `status` and `close` are here.
 */
export abstract class StoreBroker implements Pick<Broker, 'start' | 'status' | 'close'> {
  /** from `start` */
  protected events!: Events;
  readonly #name: string;
  readonly #interval: number;
  readonly #timeout: number;
  /**
   * changes in `#up`, `lost` and `close` only:
   *
   *   connecting ──► up ◄──► away          any state ──► closed
   */
  #state: 'connecting' | 'up' | 'away' | 'closed' = 'connecting';
  /** why the state is `away` */
  #cause: string | undefined;
  #reconnects = 0;
  #delay = MIN_DELAY;
  /** aborted when the connection, or the attempt to connect, is given up */
  #connection = new AbortController();
  /** of the next heartbeat or the next attempt */
  #timer: NodeJS.Timeout | undefined;

  constructor({ name, interval, timeout = TIMEOUT }: StoreOptions) {
    this.#name = name;
    this.#interval = interval;
    this.#timeout = timeout;
  }

  /**
   * Connects, and makes this node receive new entries. The signal is aborted when the connection is given up: `lost` was
   * called, a heartbeat failed, the time limit has passed, or the broker was closed. Then drop the connection.
   * @throws {WrongStore} a retry can never succeed
   */
  protected abstract connect(signal: AbortSignal): Promise<unknown>;

  /**
   * Shows that the store answers, and tells it that this node is alive. Called after `connect`, and after each interval. When
   * it fails, the connection is given up.
   */
  protected abstract heartbeat(): Promise<unknown>;

  /** Tells the store that this node leaves. It has half a second, because the store may hang. */
  protected abstract leave(): Promise<unknown>;

  /**
   * Connects, again and again until the broker is closed, and calls `gap` each time the store works. Resolves when it works,
   * or when the first attempt has failed.
   * @throws {WrongStore} from `connect`, at the first attempt
   */
  async start(events: Events): Promise<void> {
    this.events = events;
    const error = await this.#connect();
    if (!(error instanceof WrongStore)) return;
    await this.close();
    throw error;
  }

  status(): StoreStatus {
    return { up: this.#state === 'up', cause: this.#cause, reconnects: this.#reconnects };
  }

  /** Leaves the store, gives the connection up, and does not connect again. */
  async close(): Promise<void> {
    this.#state = 'closed';
    clearTimeout(this.#timer);
    const left = (async () => this.leave())();
    await within(LEAVE_TIMEOUT, left).catch(() => {});
    this.#connection.abort(new Error('the broker was closed'));
  }

  /** Whether `close` was called. */
  protected get closed(): boolean {
    return this.#state === 'closed';
  }

  /** Gives the connection up, because it does not work, and connects again after a delay. */
  protected lost(error: Error): void {
    if (this.closed || this.#connection.signal.aborted) return;
    this.#state = 'away';
    this.#cause = this.#describe(originOf(error));
    this.#connection.abort(error);
    clearTimeout(this.#timer);
    const delay = this.#delay * (0.5 + Math.random() / 2);
    this.#delay = Math.min(2 * this.#delay, MAX_DELAY);
    this.#timer = setTimeout(() => void this.#connect(), delay).unref();
  }

  /**
   * Gives an operation of the store a time limit, and the errors of a broker.
   * @returns what the operation returns
   * @throws {Conflict} as the operation threw it
   * @throws {Unavailable} the operation failed, or was not answered; `cause` is its own error
   */
  protected async call<T>(operation: Promise<T>): Promise<T> {
    try {
      return await within(this.#timeout, operation);
    } catch (error) {
      if (error instanceof Conflict || error instanceof Unavailable) throw error;
      // while the store is away, the cause of that says more than the error of this one operation
      throw new Unavailable(this.#cause ?? this.#describe(error), { cause: error });
    }
  }

  /**
   * Runs an operation until it succeeds, for stores that refuse a write because another node was quicker.
   * @param again gets the error of a failure (the store's own, if `call` made it an Unavailable), and says whether to try again
   * @throws the last error, when `again` says no or the time limit has passed
   */
  protected async retry<T>(
    operation: () => Promise<T>,
    again: (error: unknown) => boolean | Promise<boolean>,
  ): Promise<T> {
    for (const end = performance.now() + this.#timeout; ; )
      try {
        return await operation();
      } catch (error) {
        if (performance.now() > end || !(await again(originOf(error)))) throw error;
      }
  }

  /** @returns why it failed; undefined: it did not */
  async #connect(): Promise<unknown> {
    this.#connection = new AbortController();
    const { signal } = this.#connection;
    try {
      await within(this.#timeout, this.connect(signal), signal);
      await this.#heartbeat(signal);
      this.#up();
      return undefined;
    } catch (error) {
      if (!signal.aborted) this.lost(error as Error);
      return error;
    }
  }

  #up(): void {
    if (this.closed) return;
    if (this.#state === 'away') this.#reconnects++;
    this.#state = 'up';
    this.#cause = undefined;
    this.#delay = MIN_DELAY;
    this.events.gap();
  }

  /** Sends a heartbeat, and the next one after the interval. */
  async #heartbeat(signal: AbortSignal): Promise<void> {
    await within(this.#timeout, this.heartbeat(), signal);
    signal.throwIfAborted();
    if (this.closed) return;
    const again = () => this.#heartbeat(signal).catch(error => signal.aborted || this.lost(error));
    this.#timer = setTimeout(again, this.#interval).unref();
  }

  /** One line, which begins with the store's name. */
  #describe(error: unknown): string {
    const line = lineOf(error);
    return line.startsWith(`${this.#name}: `) ? line : `${this.#name}: ${line}`;
  }
}

/** The error that `call` made an Unavailable. */
const originOf = (error: unknown) => (error instanceof Unavailable ? (error.cause ?? error) : error);
