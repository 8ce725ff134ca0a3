/**
 * A broker of the app's, as the long poll may call it: whatever its methods do, each call is answered in time, with a
 * result of the right types or an error of a broker. tagwait's own two brokers go without.
 */
import { type Logger, throttleLog } from '../log.js';
import {
  type Backlog,
  type Broker,
  Conflict,
  type Events,
  type Known,
  type NodeInfo,
  type Peek,
  type Receipt,
  type SetOptions,
  type StoreStatus,
  Unavailable,
  WrongStore,
} from './broker.js';
import {
  backlogOf,
  entryOf,
  keysOf,
  lineOf,
  nodesOf,
  peekOf,
  positionOf,
  receiptOf,
  statusOf,
  textOf,
} from './shapes.js';
import { TimeoutError, within } from './within.js';

/** Time limit of a call, ms. Longer than those of a broker over `StoreBroker`, whose errors say more. */
const LIMIT = 10_000;
/** Time limit of `close`, ms. */
const CLOSE_LIMIT = 1000;
/** When a key whose entry was refused is read again, ms: a broker that reports one in every `subscribe` is no loop. */
const READ_AGAIN = 1000;

type Class = new (...given: never[]) => Error;

export class GuardedBroker implements Broker {
  readonly lease: number;
  /** absent if the broker has none: then tagwait waits for no receipts */
  readonly prove?: (key: string, position: string) => void;
  readonly #broker: Broker;
  readonly #log: (kind: string, method: string, error: unknown) => void;
  #reconnects = 0;
  /** entries and gaps that the broker has reported */
  #reports = 0;
  #closed = false;
  /** keys to read again; undefined among them: all */
  readonly #missed = new Set<string | undefined>();
  #timer: NodeJS.Timeout | undefined;

  constructor(broker: Broker, log: Pick<Logger, 'error'>) {
    this.#broker = broker;
    this.lease = broker.lease;
    this.#log = throttleLog((_, times, method: string, error: unknown) =>
      log.error({ method, times, err: error }, 'the broker failed'),
    );
    if (broker.prove)
      this.prove = (key, position) => this.#tell('prove', () => broker.prove?.(key, position));
  }

  /** A broker that takes longer than the limit may go on: it calls `gap` when it works. */
  async start(events: Events): Promise<void> {
    const started = (async () => this.#broker.start(this.#checked(events)))();
    try {
      await within(LIMIT, started);
    } catch (error) {
      const failure = this.#errorOf('start', error, WrongStore);
      if (!(error instanceof TimeoutError)) throw failure;
      started.catch(late => this.#report('start', late));
    }
  }

  set(key: string, value: string, options: SetOptions): Promise<Receipt> {
    return this.#call('set', () => this.#broker.set(key, value, options), receiptOf, Conflict);
  }

  /**
   * A broker that reports something in every `subscribe` is asked again each time, because the reply may be stale. Other
   * work has a turn in between.
   */
  async subscribe(key: string, since: string): Promise<Backlog> {
    const reports = this.#reports;
    const backlog = await this.#call('subscribe', () => this.#broker.subscribe(key, since), backlogOf);
    if (this.#reports !== reports) await new Promise(resolve => setImmediate(resolve));
    return backlog;
  }

  unsubscribe(key: string): void {
    this.#tell('unsubscribe', () => this.#broker.unsubscribe(key));
  }

  async verify(known: readonly Known[]): Promise<string[]> {
    return this.#call('verify', () => (this.#broker.verify ? this.#broker.verify(known) : []), keysOf);
  }

  drop(key: string, name: string, from: string): void {
    this.#tell('drop', () => this.#broker.drop?.(key, name, from));
  }

  peek(key: string, waiters?: boolean): Promise<Peek> {
    return this.#call('peek', () => this.#broker.peek(key, waiters), peekOf);
  }

  nodes(): Promise<NodeInfo[]> {
    return this.#call('nodes', () => this.#broker.nodes(), nodesOf);
  }

  /** A status that cannot be had counts as a store that is away. */
  status(): StoreStatus {
    let given: unknown;
    try {
      given = this.#broker.status();
      const status = statusOf(given);
      this.#reconnects = status.reconnects;
      return status;
    } catch (error) {
      // it may be a promise, whose rejection nothing else handles
      Promise.resolve(given).catch(() => {});
      this.#report('status', error);
      return { up: false, cause: textFor('status', error), reconnects: this.#reconnects };
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    const closed = (async () => this.#broker.close())();
    await within(CLOSE_LIMIT, closed).catch(error => this.#report('close', error));
  }

  /**
   * Calls a method, at once: calls of one key take effect in their order.
   * @param check of what it returns @param own an error that may pass, besides `Unavailable`
   * @throws {Unavailable} the method failed, or returned something wrong, or was not answered in time
   */
  async #call<T>(
    method: keyof Broker,
    call: () => unknown,
    check: (given: unknown) => T,
    own: Class = Unavailable,
  ): Promise<T> {
    try {
      return check(await within(LIMIT, (async () => call())()));
    } catch (error) {
      throw this.#errorOf(method, error, own);
    }
  }

  /** Calls a method that returns nothing and must not throw. */
  #tell(method: keyof Broker, call: () => unknown): void {
    (async () => call())().catch(error => this.#report(method, error));
  }

  /** The error that a method may throw, for the one that it threw. */
  #errorOf(method: keyof Broker, error: unknown, own: Class): unknown {
    if (error instanceof Unavailable || error instanceof own) return error;
    this.#report(method, error);
    return new Unavailable(textFor(method, error), { cause: error });
  }

  /** Logs a fault, each kind once a minute. */
  #report(method: string, error: unknown): void {
    const { name, code = name } = (error ?? {}) as NodeJS.ErrnoException;
    const given = error instanceof Error ? error : new Error(lineOf(error));
    this.#log(`${method} ${String(code)}`, method, given);
  }

  /** What the broker reports, with checked types. After `close` nothing is heard. */
  #checked(events: Events): Events {
    return {
      entry: (key, entry) => {
        this.#reports++;
        const read = this.#read('events.entry', () => [textOf(key, 'key'), entryOf(entry)] as const);
        if (read) events.entry(...read);
        else this.#readAgain(events, typeof key === 'string' ? key : undefined);
      },
      gap: key => {
        this.#reports++;
        const keys = this.#read('events.gap', () => (key === undefined ? [] : [textOf(key, 'key')]));
        if (keys) events.gap(...keys);
        else this.#readAgain(events, undefined);
      },
      held: key => events.held(key),
      drop: (...poll) => {
        const names = ['key', 'name', 'from'];
        const checked = this.#read('events.drop', () => names.map((name, at) => textOf(poll[at], name)));
        if (checked) events.drop(...(checked as typeof poll));
      },
      receipt: (key, position, state) => {
        const checked = this.#read('events.receipt', () => {
          if (state !== 'wanted' && state !== 'proved')
            throw new TypeError('state: give "wanted" or "proved"');
          return [textOf(key, 'key'), positionOf(position, 'position'), state] as const;
        });
        if (checked) events.receipt?.(...checked);
      },
      describe: () => events.describe(),
    };
  }

  /** @returns undefined: something is wrong, and was logged; or the broker is closed */
  #read<T>(method: string, check: () => T): T | undefined {
    if (this.#closed) return undefined;
    try {
      return check();
    } catch (error) {
      this.#report(method, error);
      return undefined;
    }
  }

  /** An entry was refused: reads its key again, or every key if it is not known. */
  #readAgain(events: Events, key: string | undefined): void {
    if (this.#closed) return;
    this.#missed.add(key);
    this.#timer ??= setTimeout(() => {
      const keys = this.#missed.has(undefined) ? [undefined] : [...this.#missed];
      this.#missed.clear();
      this.#timer = undefined;
      for (const missed of keys) events.gap(missed);
    }, READ_AGAIN).unref();
  }
}

const textFor = (method: string, error: unknown) => `the broker failed: ${method}: ${lineOf(error)}`;
