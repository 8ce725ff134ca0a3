/** `POST /status/set`: a backend stores a value. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { Conflict, type Receipt, Unavailable } from '../brokers/broker.js';
import type { LongPoll } from '../hold/longpoll.js';
import { type Logger, shortHash } from '../log.js';
import type { Metrics, SetResult } from '../metrics.js';
import { render } from '../protocol/jsonp.js';
import { type Exchange, HeaderBlock, type Route } from '../wire/exchange.js';
import { checkSet, Refusal, readBody, renderWithin } from './body.js';
import { ConcurrencyLimit } from './concurrency.js';
import { BACKEND_HEADERS, type Guard, guardOf } from './guard.js';

export interface SetOptions {
  /** default time to live of a key, s */
  ttl: number;
  /** limit of a value, bytes as JSON in UTF-8 */
  maxValueBytes: number;
  /** bearer tokens of backends; undefined: no token needed */
  setTokens: readonly string[] | undefined;
  /** limit of sets that wait for the store; further ones are refused */
  maxConcurrent: number;
  log: Logger;
}

const SET_RESULTS: Record<number, SetResult> = { 401: 'unauthorized', 409: 'conflict', 503: 'unavailable' };
const FIELDS = new HeaderBlock(BACKEND_HEADERS);
const UNAUTHORIZED = new HeaderBlock({ ...BACKEND_HEADERS, 'WWW-Authenticate': 'Bearer' });

export class SetRoute implements Route {
  readonly method = 'POST';
  readonly path = '/status/set';
  readonly #longpoll: LongPoll;
  readonly #metrics: Metrics;
  readonly #options: SetOptions;
  readonly #guard: Guard;
  readonly #authorized: (header: string) => boolean;
  readonly #waiting: ConcurrencyLimit;
  /** logs each set; undefined: the level is above debug */
  readonly #log: Logger | undefined;

  constructor(longpoll: LongPoll, metrics: Metrics, options: SetOptions) {
    this.#longpoll = longpoll;
    this.#metrics = metrics;
    this.#options = options;
    this.#guard = guardOf(options.setTokens !== undefined);
    this.#authorized = authorizer(options.setTokens);
    this.#waiting = new ConcurrencyLimit(
      options.maxConcurrent,
      'too many sets wait for the store: try again, with the same id',
    );
    this.#log = options.log.isLevelEnabled('debug') ? options.log : undefined;
  }

  handle(exchange: Exchange): void {
    if (this.#guard(exchange)) return this.#metrics.wasSet('refused');
    if (!this.#authorized(exchange.header('authorization') ?? ''))
      return this.#refuse(exchange, unauthorized());
    readBody(exchange, this.#options.maxValueBytes)
      // only now: a client that never sends the rest of a body must not use up the limit
      .then(body => this.#waiting.run(() => this.store(body)))
      .then(
        receipt => {
          this.#metrics.wasSet('stored');
          exchange.send(200, FIELDS, stored(receipt));
        },
        error => this.#refuse(exchange, error),
      );
  }

  /** @param body `{ key, value, … }` @throws {Refusal} 400 or 413 @throws {Conflict} @throws {Unavailable} */
  store(body: unknown): Promise<Receipt> {
    const { maxValueBytes } = this.#options;
    const { key, value, ttl = this.#options.ttl, receipt: wait, ...more } = checkSet(body);
    const rendered = renderWithin('value', value, maxValueBytes);
    const options = { ttl: ttl * 1000, ...more, ...(wait !== undefined && { receipt: wait * 1000 }) };
    const receipt = this.#longpoll.setRendered(key, rendered, options);
    const log = this.#log;
    if (!log) return receipt;
    return receipt.then(given => {
      log.debug({ key: shortHash(key), bytes: rendered.length, watched: given.watched }, 'set');
      return given;
    });
  }

  #refuse(exchange: Exchange, error: unknown): void {
    const refusal = refusalOf(error);
    this.#metrics.wasSet(SET_RESULTS[refusal?.status ?? 0] ?? 'refused');
    if (!refusal) {
      this.#options.log.error({ err: error }, 'a request failed');
      return exchange.send(500, FIELDS, '{"code":500,"message":"failed"}');
    }
    const { status, message, more } = refusal;
    // the rest of a body that is too large is not read
    if (status === 413) exchange.closeAfterResponse();
    exchange.send(status, status === 401 ? UNAUTHORIZED : FIELDS, render({ code: status, message, ...more }));
  }
}

/** The answer to a set. The cursor needs no escaping: letters, digits and a dash. */
function stored({ cursor, watched, repeated, received }: Receipt): string {
  const again = repeated ? ',"repeated":true' : '';
  const taken = received === undefined ? '' : `,"received":${received}`;
  return `{"code":0,"message":"success","cursor":"${cursor}","watched":${watched}${again}${taken}}`;
}

export const unauthorized = () =>
  new Refusal(401, 'unauthorized', {
    detail: 'Authorization: give Bearer and one of TAGWAIT_SET_TOKENS',
  });

/** The answer to a backend for an error. @returns undefined: an unexpected error, a fault of tagwait */
export function refusalOf(error: unknown): Refusal | undefined {
  if (error instanceof Refusal) return error;
  if (error instanceof Conflict)
    return new Refusal(409, 'conflict', { detail: error.message, cursor: error.cursor });
  if (error instanceof Unavailable) return new Refusal(503, 'unavailable', { detail: error.message });
  return undefined;
}

/** Compares a bearer token with all tokens in constant time, as digests of equal length. */
export function authorizer(tokens: readonly string[] | undefined): (header: string) => boolean {
  if (!tokens) return () => true;
  const digest = (token: string) => createHash('sha256').update(token).digest();
  const known = tokens.map(digest);
  return header => {
    const given = digest(/^Bearer +(\S+) *$/i.exec(header)?.[1] ?? '');
    return known.map(token => timingSafeEqual(token, given)).includes(true);
  };
}
