/** `GET /status/get`: a page asks. */

import type { LongPoll, Responder, Waiter } from '../hold/longpoll.js';
import type { Limits } from '../limits.js';
import { type Logger, shortHash } from '../log.js';
import type { Metrics } from '../metrics.js';
import * as answers from '../protocol/answers.js';
import { ANSWERS, type Answer } from '../protocol/answers.js';
import { assign, call } from '../protocol/jsonp.js';
import { Names } from '../protocol/names.js';
import {
  BadParameter,
  type Form,
  formOf,
  type Query,
  queryOf,
  questionOf,
  split,
} from '../protocol/query.js';
import { verify } from '../protocol/ticket.js';
import { type Exchange, Fields, type Route } from '../wire/exchange.js';
import { tooMany } from '../wire/http.js';
import { Origins } from './origins.js';

export interface PollOptions {
  /** seconds */
  hold: number;
  /** origins whose pages may ask; empty: all */
  origins: readonly string[];
  /** patterns of further names that `callback` and `var` may be, as TAGWAIT_CALLBACKS has them */
  callbacks?: readonly string[] | undefined;
  /** that tickets are signed with; undefined: no tickets needed */
  secrets: readonly string[] | undefined;
  log: Logger;
  /** whether other processes share the port: who is refused here may find room there, on another connection */
  several?: boolean;
}

/** Headers of every answer: kept by nobody, read as what it is, usable by pages under COEP, giving no key away. */
const COMMON = {
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
  'Cross-Origin-Resource-Policy': 'cross-origin',
  'Referrer-Policy': 'no-referrer',
};
const SCRIPT = new Fields({
  ...COMMON,
  'Content-Type': 'text/javascript; charset=utf-8',
  'Content-Disposition': 'attachment; filename=f.txt',
});
const JSON_TYPE = { ...COMMON, 'Content-Type': 'application/json; charset=utf-8' };
const JSON_FOR_ALL = new Fields({ ...JSON_TYPE, 'Access-Control-Allow-Origin': '*' });
const JSON_FOR_NONE = new Fields({ ...JSON_TYPE, Vary: 'Origin' });
const TEXT = new Fields({ ...COMMON, 'Content-Type': 'text/plain; charset=utf-8' });

/** Origins whose headers are kept ready. */
const KNOWN_ORIGINS = 1000;

/** Who counts polls and answers. */
export type Tally = Pick<Metrics, 'asked' | 'answered'>;

/** What every poll is answered with. */
interface Means {
  longpoll: LongPoll;
  metrics: Tally;
  limits: Limits;
}

/** One poll: how its answer is wrapped, and the way back. That is all of a request that is kept while it is held. */
class Poll implements Responder {
  readonly #means: Means;
  readonly exchange: Exchange;
  readonly #mode: Form['mode'];
  readonly #name: string;
  readonly #fields: Fields;
  readonly from: string;
  /** counts among those that are held for its address */
  counted = false;
  /** milliseconds until it may ask again, when a limit is reached: it is told so, or what is new, but not held */
  wait = 0;
  /** its ticket ends before its hold would */
  ends = false;
  waiter: Waiter | undefined;

  constructor(means: Means, exchange: Exchange, { mode, name }: Form, fields: Fields, from: string) {
    this.#means = means;
    this.exchange = exchange;
    this.#mode = mode;
    this.#name = name;
    this.#fields = fields;
    this.from = from;
  }

  answer(given: Answer): void {
    const { metrics, longpoll } = this.#means;
    const { kind, text } = this.#outcome(given);
    metrics.answered(this.#mode, kind);
    if (longpoll.draining) this.exchange.last();
    if (this.#mode === 'callback') this.exchange.send(200, SCRIPT, call(this.#name, text));
    else if (this.#mode === 'var') this.exchange.send(200, SCRIPT, assign(this.#name, text));
    else this.exchange.send(ANSWERS[kind].status, this.#fields, text);
  }

  #outcome(given: Answer): Answer {
    if (given.kind !== 'timeout' && given.kind !== 'unavailable') return given;
    if (this.wait > 0) return answers.busy(this.wait);
    return this.ends ? answers.expired : given;
  }

  over(): void {
    if (this.waiter) this.#means.longpoll.leave(this.waiter);
    if (this.counted) this.#means.limits.release(this.from);
  }
}

export class PollRoute implements Route {
  readonly method = 'GET';
  readonly path = '/status/get';
  readonly #means: Means;
  readonly #options: PollOptions;
  readonly #names: Names;
  readonly #origins: Origins;
  /** by origin, the headers of answers in JSON to a page of it; made when needed */
  readonly #json = new Map<string, Fields>();
  /** where each question is noted; undefined: nobody wants to know */
  readonly #log: Logger | undefined;

  constructor(longpoll: LongPoll, metrics: Tally, limits: Limits, options: PollOptions) {
    this.#means = { longpoll, metrics, limits };
    this.#options = options;
    this.#names = new Names(options.callbacks);
    this.#origins = new Origins(options.origins);
    this.#log = options.log.isLevelEnabled('debug') ? options.log : undefined;
  }

  handle(exchange: Exchange): void {
    const { limits, metrics } = this.#means;
    // first of all, so that no request is free
    const from = limits.networkOf(exchange.address, exchange.header('x-forwarded-for'));
    const wait = limits.request(from);
    if (wait > 0 && this.#options.several) exchange.last();
    const parameters = split(queryOf(exchange.url));
    const form = formOf(parameters, this.#names);
    if (form instanceof BadParameter) return this.#refuse(exchange, form, wait);
    metrics.asked(form.mode);
    const fields = this.#fieldsFor(exchange, form);
    const poll = new Poll(this.#means, exchange, form, fields ?? JSON_FOR_NONE, from);
    if (wait > 0) return poll.answer(answers.busy(wait));
    if (!fields) return poll.answer(answers.forbidden);
    const question = bodyOf(exchange) ?? questionOf(parameters, this.#options.hold);
    if (!(question instanceof BadParameter)) return this.#hold(poll, question);
    if (question.unreadable) exchange.last();
    poll.answer(answers.badRequest(question.message));
  }

  /** In plain text, which runs nowhere: the name that the answer should call or assign is none. */
  #refuse(exchange: Exchange, { message }: BadParameter, wait: number): void {
    const { metrics, longpoll } = this.#means;
    metrics.asked('text');
    metrics.answered('text', wait > 0 ? 'busy' : 'badRequest');
    if (longpoll.draining) exchange.last();
    if (wait > 0) exchange.send(429, TEXT, tooMany(wait));
    else exchange.send(400, TEXT, `${message}\n`);
  }

  #hold(poll: Poll, { key, since, proof, hold: seconds }: Query): void {
    const { longpoll, limits } = this.#means;
    const { secrets, several } = this.#options;
    const { exchange, from } = poll;
    let hold = seconds * 1000;
    if (secrets) {
      const expires = verify(secrets, key, proof);
      if (expires === undefined) return poll.answer(answers.forbidden);
      const left = expires * 1000 - Date.now();
      if (left <= 0) return poll.answer(answers.expired);
      poll.ends = left < hold;
      hold = Math.min(hold, left);
    }
    // gone before it came here: nothing would tell of its leaving again
    if (exchange.gone) return;
    this.#log?.debug({ key: shortHash(key), hold }, 'asked');
    if (!exchange.next || exchange.method === 'HEAD') hold = 0;
    if (hold > 0) {
      // the pages of one address on one key give way to the newest: it may be the same page, whose leaving was not heard
      if (limits.fullFor(longpoll.heldFor(key)))
        longpoll.giveWay(key, other => other instanceof Poll && other.from === from);
      poll.wait = limits.hold(from, longpoll.held, longpoll.heldFor(key));
      poll.counted = poll.wait === 0;
      // its descriptor is wanted by others
      if (!poll.counted && (several || limits.full(longpoll.held))) exchange.last();
    }
    poll.waiter = longpoll.get({ key, since, hold: poll.counted ? hold : 0 }, poll);
    exchange.onOver(poll);
  }

  /**
   * What the answer's head says, or undefined when the asking page is not one that may hear it.
   * A browser says what it will use an answer as: one that is to run is for a script tag, and for nothing else.
   */
  #fieldsFor(exchange: Exchange, { mode }: Form): Fields | undefined {
    if (mode === 'json') return this.#origins.all ? JSON_FOR_ALL : this.#fieldsForOrigin(exchange);
    return isForScript(exchange) && this.#isOfOurs(exchange) ? SCRIPT : undefined;
  }

  /** An app, and curl, say no origin. */
  #fieldsForOrigin(exchange: Exchange): Fields | undefined {
    const origin = exchange.header('origin');
    if (origin === undefined) return JSON_FOR_NONE;
    const known = this.#json.get(origin);
    if (known || !this.#origins.allows(origin)) return known;
    const fields = new Fields({ ...JSON_TYPE, 'Access-Control-Allow-Origin': origin, Vary: 'Origin' });
    // a domain has any number of subdomains
    if (this.#json.size >= KNOWN_ORIGINS) this.#json.clear();
    this.#json.set(origin, fields);
    return fields;
  }

  /** Script requests carry no Origin in most browsers, and a Referer unless the page forbids it. */
  #isOfOurs(exchange: Exchange): boolean {
    if (this.#origins.all) return true;
    const referer = exchange.header('referer');
    const from = exchange.header('origin') ?? (referer === undefined ? undefined : originOf(referer));
    return from === undefined || this.#origins.allows(from);
  }
}

/** A poll says everything in its URL: a body would only keep its connection busy. */
function bodyOf(exchange: Exchange): BadParameter | undefined {
  if (
    exchange.header('transfer-encoding') === undefined &&
    (exchange.header('content-length') ?? '0') === '0'
  )
    return undefined;
  return new BadParameter('the body: give none', true);
}

/** A service worker passes a script tag's request on as one for nothing (`empty`) that may not be read (`no-cors`). */
function isForScript(exchange: Exchange): boolean {
  const destination = exchange.header('sec-fetch-dest') ?? 'script';
  return (
    destination === 'script' || (destination === 'empty' && exchange.header('sec-fetch-mode') === 'no-cors')
  );
}

/** A browser gives a page's URL in its normal form: what stands before the third slash is the origin. */
function originOf(url: string): string {
  const end = url.indexOf('/', url.indexOf('//') + 2);
  return end < 0 ? url : url.slice(0, end);
}
