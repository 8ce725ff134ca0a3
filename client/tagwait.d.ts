/** Details of a value. */
export interface Info {
  /** Pass it as `since` after a reload. Moves with the newest value of an answer, never before it. */
  readonly cursor: string | undefined;
  /** How many values were set before this one and are no longer kept. */
  readonly lost: number;
  /** The last value of the key: `onend('final')` follows. */
  readonly final: boolean;
}

/** What went wrong. With `retry` it goes on by itself; without, the watch has ended, and `onend` follows. */
export interface WatchError {
  /** The service's code; or `failed`: no answer came, twice in a row; or `blocked`: by the page's own CSP or Integrity-Policy. */
  readonly code: -3 | -4 | -5 | -7 | 'failed' | 'blocked';
  /** `blocked`: what threw, the directive and what it lacks, or `integrity-violation`. */
  readonly message: string;
  /** -4: which parameter, and what is allowed. */
  readonly detail?: string | undefined;
  /** Milliseconds until it asks again. */
  readonly retry?: number | undefined;
}

/**
 * `waiting`: a poll is under way · `busy`: the service asked to retry later · `offline`: the service cannot be reached ·
 * `ended`: no further polls.
 */
export type State = 'waiting' | 'busy' | 'offline' | 'ended';

/** Why a watch ended by itself. `stop()` calls no handler. */
export type Reason = 'final' | 'expired' | 'bad request' | 'forbidden' | 'blocked';

export interface Options<Value = unknown> {
  /** The service, `https://status.example.com`. Default: where the script came from. */
  url?: string | undefined;
  /** The proof of the ticket. */
  proof?: string | undefined;
  /** The cursor of a value that the page already has; only newer ones are reported. */
  since?: string | undefined;
  /** Seconds the service may hold a poll; 0 asks about once a second. Default: the service's own, up to 25. */
  hold?: number | undefined;
  /** The page's CSP nonce. Default: that of the including tag. */
  nonce?: string | undefined;
  /** Stops the watch when it is aborted, as `stop()` does. */
  signal?: AbortSignal | undefined;
  onvalue?: ((value: Value, info: Info) => void) | undefined;
  onend?: ((reason: Reason) => void) | undefined;
  onerror?: ((error: WatchError) => void) | undefined;
  onstate?: ((state: State) => void) | undefined;
}

export interface Watch {
  /** Ends the watch; no handler is called from then on. May be called at any time, any number of times. */
  stop(): void;
  /** Why the watch ended; `stopped`: by `stop()`, the signal, or its tag's leaving. Never rejects. Missing in engines without promises. */
  readonly ended: Promise<Reason | 'stopped'>;
  /** When the ticket ends, ms since 1970 by the page's own clock. Missing until the first answer, and without a ticket. */
  readonly expires?: number | undefined;
}

/** Watches a key: calls `onvalue` once for each value, in order. Never throws. On a server it does nothing. */
export function watch<Value = unknown>(key: string, options?: Options<Value>): Watch;

declare const tagwait: { watch: typeof watch };
export default tagwait;

declare global {
  interface Window {
    /** Where the script was included by a tag. */
    tagwait: { watch: typeof watch };
  }
}
