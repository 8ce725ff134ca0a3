/** The client that receives messages. It subscribes after each reconnect, and retries a failed SUBSCRIBE for ever. */
import type { Redis } from 'ioredis';
import { addressOf, backoff, wordsOf } from './connections.js';
import type { Arrivals } from './echo.js';

export interface SubscriberEvents {
  message(text: string): void;
  /** SUBSCRIBE succeeded: messages are received from now on. */
  subscribed(): void;
  /** The subscription ended, or an attempt failed. @param cause one line, with the address */
  lost(cause: string): void;
}

export class Subscriber implements Arrivals {
  readonly #client: Redis;
  readonly #channels: readonly string[];
  readonly #events: SubscriberEvents;
  #state: 'connecting' | 'subscribed' | 'closed' = 'connecting';
  /** failed SUBSCRIBE commands in a row */
  #refusals = 0;
  #retry: NodeJS.Timeout | undefined;
  /** why this connection ends, with the address: its last error, or why it is dropped; '': not known */
  #cause = '';
  /** why the last subscription or attempt ended, with the address */
  #lostFor: string | undefined;
  /** whether this connection is dropped: what happens to it from then on is a consequence */
  #dropped = false;
  /** of this connection; on a Cluster the client has another one before `close` is emitted */
  #address = '';

  /** @param client not connected yet; it reconnects by itself but does not subscribe again by itself */
  constructor(client: Redis, channels: readonly string[], events: SubscriberEvents) {
    this.#client = client;
    this.#channels = channels;
    this.#events = events;
    client.on('message', (_: string, text: string) => events.message(text));
    client.on('ready', () => this.#subscribe());
    // an `error` event without a listener would end the process
    client.on('error', (error: Error) => {
      if (!this.#dropped) this.#cause = `${addressOf(client)}: ${error.message}`;
    });
    client.on('connect', () => {
      this.#cause = '';
      this.#dropped = false;
      this.#address = addressOf(client);
    });
    client.on('close', () => {
      const failed = this.#cause || `${this.#address || addressOf(client)}: the connection was closed`;
      this.#cause = '';
      this.#address = '';
      this.#lose(failed);
    });
    // ioredis gave up, for example because a failover was announced while it connected
    client.on('end', () => this.#retryAfter(() => this.connect(), 1));
  }

  get subscribed(): boolean {
    return this.#state === 'subscribed';
  }

  /** Why no messages are received any more, with the address; undefined: they are, or have not been yet. */
  get failure(): string | undefined {
    return this.subscribed ? undefined : this.#lostFor;
  }

  get arrived(): number {
    return this.#client.stream.bytesRead;
  }

  ping(): Promise<unknown> {
    return this.#client.ping();
  }

  connect(): void {
    this.#client.connect().catch(() => {});
  }

  /** Drops the connection, which may hang, and opens another. @param cause why, with the address */
  reconnect(cause: string): void {
    if (this.#state === 'closed') return;
    this.#state = 'connecting';
    this.#cause = cause;
    this.#lostFor = cause;
    this.#dropped = this.#address !== '';
    this.#client.disconnect(true);
  }

  close(): void {
    this.#state = 'closed';
    clearTimeout(this.#retry);
    this.#client.disconnect();
  }

  #subscribe(): void {
    this.#client.subscribe(...this.#channels).then(
      () => {
        // the reply of a connection that is being left
        if (this.#state === 'closed' || this.#dropped) return;
        this.#refusals = 0;
        this.#state = 'subscribed';
        this.#events.subscribed();
      },
      (error: Error) => {
        // the connection broke: its `close` event reports the cause
        if (this.#client.status !== 'ready') return;
        // a connection that is being left because of an error refuses commands before it is closed
        const cause = this.#cause || `${addressOf(this.#client)}: SUBSCRIBE: ${wordsOf(error)}`;
        this.#lose(cause);
        this.#retryAfter(() => this.reconnect(cause), ++this.#refusals);
      },
    );
  }

  /** @param cause with the address */
  #lose(cause: string): void {
    if (this.#state === 'closed') return;
    this.#state = 'connecting';
    this.#lostFor = cause;
    this.#events.lost(cause);
  }

  #retryAfter(retry: () => void, attempt: number): void {
    clearTimeout(this.#retry);
    if (this.#state !== 'closed') this.#retry = setTimeout(retry, backoff(attempt)).unref();
  }
}
