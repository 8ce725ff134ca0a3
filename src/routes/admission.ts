/**
 * Admission: the checks of every transport before it holds a request. In this order: rate limit of the address, origin,
 * ticket, and limits of held requests.
 */
import type { LongPoll, Responder } from '../hold/longpoll.js';
import type { Limits } from '../limits.js';
import { type Answer, EXPIRED, FORBIDDEN } from '../protocol/answers.js';
import type { KeyQuery } from '../protocol/query.js';
import { verify } from '../protocol/ticket.js';
import type { Exchange } from '../wire/exchange.js';
import { Origins } from './origins.js';

export interface AdmissionOptions {
  /** origins of pages that may poll; empty: all */
  origins: readonly string[];
  /** secrets of tickets; undefined: no tickets needed */
  secrets: readonly string[] | undefined;
  /** other processes share the port: a refused client may find room in one of them, on another connection */
  sharedPort?: boolean;
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
  /** retry delay if a limit is reached, ms; 0: if its hold is above 0, it is counted as held until `leave` */
  retry: number;
  /** close the connection, so that another client can use it */
  close: boolean;
}

/** A request for several keys that may be held. */
export interface SeveralAdmission extends Admission {
  /** when each ticket expires, unix ms, in the order of the keys; empty without tickets. `expires` is the first of all */
  tickets: readonly number[];
}

/** A request for several keys that is refused for one of them. */
export interface KeyRefused {
  kind: 'refused';
  key: string;
  answer: Answer;
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
    if (retry > 0 && this.#options.sharedPort) exchange.closeAfterResponse();
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
    const expires = this.#expiryOf(key, proof);
    if (typeof expires === 'object') return expires;
    const admission: Admission = { kind: 'admitted', hold, expires, retry: 0, close: false };
    if (expires !== undefined) admission.hold = Math.min(hold, expires - Date.now());
    if (hold > 0) this.#limit(admission, network, this.#makeRoom(key, isOfClient));
    return admission;
  }

  /** `admit` for several keys, of which one is enough to refuse the request. It counts as one held request. */
  admitSeveral(
    { network, hold }: Pick<HoldRequest, 'network' | 'hold'>,
    keys: readonly KeyQuery[],
    isOfClient: (held: Responder) => boolean,
  ): SeveralAdmission | KeyRefused {
    const tickets: number[] = [];
    for (const { key, proof } of keys) {
      const expires = this.#expiryOf(key, proof);
      if (typeof expires === 'object') return { kind: 'refused', key, answer: expires };
      if (expires !== undefined) tickets.push(expires);
    }
    const expires = tickets.length > 0 ? Math.min(...tickets) : undefined;
    const most = expires === undefined ? hold : Math.min(hold, expires - Date.now());
    const admission: SeveralAdmission = {
      kind: 'admitted',
      hold: most,
      expires,
      retry: 0,
      close: false,
      tickets,
    };
    if (hold > 0) {
      const held = keys.map(({ key }) => this.#makeRoom(key, isOfClient));
      this.#limit(admission, network, Math.max(...held));
    }
    return admission;
  }

  /** When the ticket of a key expires, unix ms; undefined without tickets. @returns an answer if it is refused */
  #expiryOf(key: string, proof: string): number | undefined | Answer {
    const { secrets } = this.#options;
    if (!secrets) return undefined;
    const seconds = verify(secrets, key, proof);
    if (seconds === undefined) return FORBIDDEN;
    return seconds * 1000 > Date.now() ? seconds * 1000 : EXPIRED;
  }

  /** If the key's limit is reached, answers the oldest request of the client. @returns requests held for the key then */
  #makeRoom(key: string, isOfClient: (held: Responder) => boolean): number {
    if (this.#limits.fullFor(this.#longpoll.heldFor(key))) this.#longpoll.giveWay(key, isOfClient);
    return this.#longpoll.heldFor(key);
  }

  #limit(admission: Admission, network: string, heldForKey: number): void {
    const { held } = this.#longpoll;
    admission.retry = this.#limits.hold(network, held, heldForKey);
    admission.close = admission.retry > 0 && (this.#options.sharedPort === true || this.#limits.full(held));
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
