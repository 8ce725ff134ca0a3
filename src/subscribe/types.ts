/** What a subscription is given, and what it gives. */

export interface SubscribeOptions {
  /** of the service's public port, as `https://status.example.com`; may have a path */
  url: string | URL;
  /** of the ticket, if the service needs one */
  proof?: string | undefined;
  /** cursor of the last value that was seen; default: every value that is still kept counts as new */
  since?: string | undefined;
  /** ends the subscription: the iterator then throws the signal's reason */
  signal?: AbortSignal | undefined;
}

/** A value of the key. */
export interface Update<Value = unknown> {
  value: Value;
  /**
   * `since` for a subscription that goes on after this value. Of several values that one poll has brought, all but the
   * last have the cursor before them: going on there repeats values, and skips none.
   */
  cursor: string;
  /** how many values before this one were missed, because they are no longer kept */
  lost: number;
  /** this is the last value of the key */
  final: boolean;
}

/** How a subscription ends: after the last value of its key, or because the key or its ticket has expired. */
export type Ending = 'final' | 'expired';
