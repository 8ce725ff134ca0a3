/**
 * Admission: the checks of every transport before it holds a request. In this order: rate limit of the address, origin,
 * ticket, and limits of held requests.
 */
import type { LongPoll, Responder } from '../hold/longpoll.js';
import type { Limits } from '../limits.js';
import { type Answer, EXPIRED, FORBIDDEN } from '../protocol/answers.js';
import { verify } from '../protocol/ticket.js';
import type { Exchange } from '../wire/exchange.js';
import { Origins } from './origins.js';

export interface AdmissionOptions {
  /** origins of pages that may poll; empty: all */
  origins: readonly string[];
  /** secrets of tickets; undefined: no tickets needed */
  secrets: readonly string[] | undefined;
  /** other processes share the port: a refused client may find room in one of them, on another connection */
  several?: boolean;
}

/** A counted request: the network of its client, and the retry delay, ms; 0: it is within the rate limit. */
export interface Visit {
  network: string;
  retry: number;
}

/** A request to be held. */
export interface HoldRequest {
  network: string;
  key: string;
  proof: string;
  /** ms; 0: it is answered at once and is not counted as held */
  hold: number;
}

export interface Admission {
  kind: 'admitted';
  /** longest hold, ms: at most until the ticket expires */
  hold: number;
  /** when the ticket expires, unix ms; undefined without tickets */
  expires: number | undefined;
  /** retry delay if a limit is reached, ms; 0: the request is counted as held until `leave` */
  retry: number;
  /** close the connection, so that another client can use it */
  close: boolean;
}

export class Admissions {
  readonly origins: Origins;
  readonly #longpoll: LongPoll;
  readonly #limits: Limits;
  readonly #options: AdmissionOptions;

  constructor(longpoll: LongPoll, limits: Limits, options: AdmissionOptions) {
    this.#longpoll = longpoll;
    this.#limits = limits;
    this.#options = options;
    this.origins = new Origins(options.origins);
  }

  /** Counts a request before it is parsed, so that invalid requests count too. */
  visit(exchange: Exchange): Visit {
    const network = this.networkOf(exchange);
    const retry = this.#limits.request(network);
    if (retry > 0 && this.#options.several) exchange.closeAfterResponse();
    return { network, retry };
  }

  /** Counts a message on a connection. @returns retry delay, ms; 0: it is within the rate limit */
  count(network: string): number {
    return this.#limits.request(network);
  }

  /** Counts a connection as one held request until `leave`. @returns retry delay, ms; 0: there is room */
  enter(network: string): number {
    return this.#limits.hold(network, this.#longpoll.held, 0);
  }

  /** Counts a connection again after `leave`, whatever the limits. */
  stay(network: string): void {
    this.#limits.retain(network);
  }

  /** The client's network address, for a request that is counted already. */
  networkOf(exchange: Pick<Exchange, 'address' | 'header'>): string {
    return this.#limits.networkOf(exchange.address, exchange.header('x-forwarded-for'));
  }

  /**
   * @param isOfClient whether a held request is of the same transport and address. If the key's limit is reached, the
   *   oldest of them makes room: it may be the same page, after a disconnect that was not detected
   * @returns an answer if the request is refused
   */
  admit(
    { network, key, proof, hold }: HoldRequest,
    isOfClient: (held: Responder) => boolean,
  ): Admission | Answer {
    const { secrets, several } = this.#options;
    const admission: Admission = { kind: 'admitted', hold, expires: undefined, retry: 0, close: false };
    if (secrets) {
      const seconds = verify(secrets, key, proof);
      if (seconds === undefined) return FORBIDDEN;
      admission.expires = seconds * 1000;
      const left = admission.expires - Date.now();
      if (left <= 0) return EXPIRED;
      admission.hold = Math.min(hold, left);
    }
    if (hold === 0) return admission;
    const longpoll = this.#longpoll;
    const limits = this.#limits;
    if (limits.fullFor(longpoll.heldFor(key))) longpoll.giveWay(key, isOfClient);
    admission.retry = limits.hold(network, longpoll.held, longpoll.heldFor(key));
    admission.close = admission.retry > 0 && (several === true || limits.full(longpoll.held));
    return admission;
  }

  /** A request that was admitted with a hold and `retry` 0 has ended. */
  leave(network: string): void {
    this.#limits.release(network);
  }

  /**
   * Whether the page may run a script. Most browsers send no Origin for scripts, but a Referer unless it is forbidden.
   */
  allowsPageOf(exchange: Exchange): boolean {
    if (this.origins.all) return true;
    const referer = exchange.header('referer');
    const from = exchange.header('origin') ?? (referer === undefined ? undefined : originOf(referer));
    return from === undefined || this.origins.allows(from);
  }
}

/** The origin of a page's URL, which browsers send in normal form: the text before the third slash. */
function originOf(url: string): string {
  const end = url.indexOf('/', url.indexOf('//') + 2);
  return end < 0 ? url : url.slice(0, end);
}
