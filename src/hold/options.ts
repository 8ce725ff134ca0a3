/** What a long poll is given: requests to hold, options, and an observer for metrics. */
export interface Question {
  key: string;
  /** the client's cursor; '' if it has seen nothing */
  since: string;
  /** longest hold, ms; 0: answer at once; Infinity: no timeout */
  hold: number;
}

export interface LongPollOptions {
  /** unique name of this node */
  id: string;
  version: string;
  /** sets that may wait for a receipt at the same time; default: any number */
  maxReceipts?: number;
  /** for metrics */
  observer?: Observer;
}

export interface Observer {
  /** A held request was answered with an entry. @param ms since the set, if the clocks of both nodes agree */
  delivered(ms: number): void;
  /** A page missed values that are no longer kept. */
  lost(values: number): void;
  /** A key was read from the broker, and this node subscribed to it. */
  subscribed(): void;
  /** Entries may have been missed: all held keys are read again. */
  gap(): void;
  /** A set that waited for a receipt is answered. @param received a page has proved that it has taken the value */
  receipt?(received: boolean): void;
  /** Verification found lost subscriptions or entries. */
  repaired(keys: number): void;
}
