/**
 * The one way in: what every transport checks before it holds a request. In this order: the rate limit of the address,
 * the origin, the ticket, and room among the requests that are held.
 */
import type { LongPoll, Responder } from '../hold/longpoll.js';
import type { Limits } from '../limits.js';
import { type Answer, EXPIRED, FORBIDDEN } from '../protocol/answers.js';
import { verify } from '../protocol/ticket.js';
import type { Exchange } from '../wire/exchange.js';
import { Origins } from './origins.js';

export interface AdmissionOptions {
  /** origins whose pages may ask; empty: all */
  origins: readonly string[];
  /** that tickets are signed with; undefined: no tickets needed */
  secrets: readonly string[] | undefined;
  /** whether other processes share the port: a client that is refused here may find room there, on another connection */
  several?: boolean;
}

/** A client at the door: its network address as it is counted, and milliseconds until it may ask again; 0: now. */
export interface Visit {
  network: string;
  retry: number;
}

/** What is to be held. */
export interface Wish {
  network: string;
  key: string;
  proof: string;
  /** milliseconds; 0: it is answered at once, and takes no room */
  hold: number;
}

export interface Admission {
  kind: 'admitted';
  /** milliseconds to hold: at most until the ticket ends */
  hold: number;
  /** unix ms at which the ticket ends; undefined without tickets */
  expires: number | undefined;
  /** milliseconds until the client asks again, where there is no room; 0: it is counted, `leave` gives its room back */
  retry: number;
  /** the connection is better used by another client */
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

  /** Counts a request, before anything of it is parsed: no request is free. */
  visit(exchange: Exchange): Visit {
    const network = this.networkOf(exchange);
    const retry = this.#limits.request(network);
    if (retry > 0 && this.#options.several) exchange.last();
    return { network, retry };
  }

  /** The client's network address, for a request that is counted already. */
  networkOf(exchange: Exchange): string {
    return this.#limits.networkOf(exchange.address, exchange.header('x-forwarded-for'));
  }

  /**
   * @param isOfClient whether a held responder is of the same transport and address: of one address's pages on one key
   *   the oldest gives way to the newest, which may be the same page, whose leaving was not heard
   * @returns the answer where it is not let in
   */
  admit({ network, key, proof, hold }: Wish, isOfClient: (held: Responder) => boolean): Admission | Answer {
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

  /** Gives the room back of what was admitted with `retry` 0 and a hold. */
  leave(network: string): void {
    this.#limits.release(network);
  }

  /** Whether a script may be run by the page that asks: most browsers send no Origin for it, and a Referer unless the page forbids it. */
  allowsPageOf(exchange: Exchange): boolean {
    if (this.origins.all) return true;
    const referer = exchange.header('referer');
    const from = exchange.header('origin') ?? (referer === undefined ? undefined : originOf(referer));
    return from === undefined || this.origins.allows(from);
  }
}

/** A browser gives a page's URL in its normal form: what stands before the third slash is the origin. */
function originOf(url: string): string {
  const end = url.indexOf('/', url.indexOf('//') + 2);
  return end < 0 ? url : url.slice(0, end);
}
