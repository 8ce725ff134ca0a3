/** What is known about a value when it is heard. */
export interface Info {
  /** Where to go on after a reload (option `since`). Moves with the newest value of an answer, never before it. */
  readonly cursor: string | undefined;
  /** How many values were set before this one and are no longer kept. */
  readonly lost: number;
  /** The last value of the key: `onend('final')` follows. */
  readonly final: boolean;
}

/** What went wrong. With `retry` it goes on by itself; without, the watch has ended, and `onend` follows. */
export interface WatchError {
  /** The service's code; or `failed`: no answer came, twice in a row; or `blocked`: by the page's own CSP. */
  readonly code: -3 | -4 | -5 | -7 | 'failed' | 'blocked';
  readonly message: string;
  /** -4: which parameter, and what is allowed. */
  readonly detail?: string;
  /** Milliseconds until it asks again. */
  readonly retry?: number;
}

/** All is well · the service asks for patience · it cannot be reached · the watch has ended by itself. */
export type State = 'waiting' | 'busy' | 'offline' | 'ended';

/** Why a watch ended by itself. `stop()` ends it without a word. */
export type Reason = 'final' | 'expired' | 'bad request' | 'forbidden' | 'blocked';

export interface Options<Value = unknown> {
  /** The service, `https://status.example.com`. `{n}` becomes a random digit. Default: where the script came from. */
  url?: string;
  /** The proof of the ticket. */
  proof?: string;
  /** The cursor of a value already heard; only newer ones are told. */
  since?: string;
  /** Seconds the service may hold a poll; 0 asks about once a second. Default: the service's own, up to 25. */
  hold?: number;
  /** The page's CSP nonce. Default: that of the including tag. */
  nonce?: string;
  onvalue?(value: Value, info: Info): void;
  onend?(reason: Reason): void;
  onerror?(error: WatchError): void;
  onstate?(state: State): void;
}

export interface Watch {
  /** Ends the watch; no handler is called from then on. May be called at any time, any number of times. */
  stop(): void;
}

/** Hears every value that is set for the key, in order and once. Never throws. */
export function watch<Value = unknown>(key: string, options?: Options<Value>): Watch;

declare const tagwait: { watch: typeof watch };
export default tagwait;
