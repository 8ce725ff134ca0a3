/** `GET /status/get`: a client asks, and its answer waits. */

import type { LongPoll, Responder, Waiter } from '../hold/longpoll.js';
import { type Logger, shortHash } from '../log.js';
import type { Metrics } from '../metrics.js';
import { ANSWERS, type Answer, EXPIRED, FORBIDDEN, textOf } from '../protocol/answers.js';
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
import { type Exchange, Fields, type Route } from '../wire/exchange.js';
import { tooMany } from '../wire/http.js';
import type { Admissions } from './admission.js';

export interface PollOptions {
  /** seconds */
  hold: number;
  /** patterns of further names that `callback` and `var` may be, as TAGWAIT_CALLBACKS has them */
  callbacks?: readonly string[] | undefined;
  log: Logger;
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

/** Counts polls and answers. */
export type PollCounter = Pick<Metrics, 'asked' | 'answered'>;

/** What every poll needs to be answered. */
interface PollDeps {
  longpoll: LongPoll;
  admissions: Admissions;
  metrics: PollCounter;
}

/** One poll: how its answer is wrapped, and the way back. That is all of a request that is kept while it is held. */
class Poll implements Responder {
  readonly #deps: PollDeps;
  readonly exchange: Exchange;
  readonly #mode: Form['mode'];
  readonly #name: string;
  readonly #fields: Fields;
  readonly network: string;
  /** it is counted among those that are held for its address */
  counted = false;
  /** milliseconds until it may ask again, where there is no room: it is told so, or what is new, but not held */
  retry = 0;
  /** its ticket ends before its hold would */
  ends = false;
  /** when its ticket ends, unix ms; undefined without tickets */
  expires: number | undefined;
  /** its name, see `drop`; '' for none */
  named = '';
  waiter: Waiter | undefined;

  constructor(deps: PollDeps, exchange: Exchange, { mode, name }: Form, fields: Fields, network: string) {
    this.#deps = deps;
    this.exchange = exchange;
    this.#mode = mode;
    this.#name = name;
    this.#fields = fields;
    this.network = network;
  }

  answer(given: Answer): void {
    const { metrics, longpoll } = this.#deps;
    const answer = this.#outcome(given);
    metrics.answered(this.#mode, answer.kind);
    if (longpoll.draining) this.exchange.last();
    const text = textOf(answer, this.#left());
    if (this.#mode === 'callback') this.exchange.send(200, SCRIPT, call(this.#name, text));
    else if (this.#mode === 'var') this.exchange.send(200, SCRIPT, assign(this.#name, text));
    else this.exchange.send(ANSWERS[answer.kind].status, this.#fields, text);
  }

  #outcome(given: Answer): Answer {
    if (given.kind !== 'timeout' && given.kind !== 'unavailable') return given;
    if (this.retry > 0) return { kind: 'busy', retry: this.retry };
    return this.ends ? EXPIRED : given;
  }

  #left(): number | undefined {
    return this.expires === undefined ? undefined : Math.max(0, this.expires - Date.now()) / 1000;
  }

  isNamed(name: string, network: string): boolean {
    return this.named === name && this.network === network;
  }

  over(): void {
    if (this.waiter) this.#deps.longpoll.leave(this.waiter);
    if (this.counted) this.#deps.admissions.leave(this.network);
  }
}

export class PollRoute implements Route {
  readonly method = 'GET';
  readonly path = '/status/get';
  readonly #deps: PollDeps;
  readonly #options: PollOptions;
  readonly #names: Names;
  /** by origin, the headers of answers in JSON to a page of it; made when needed */
  readonly #json = new Map<string, Fields>();
  /** where each question is noted; undefined: the level is above debug */
  readonly #log: Logger | undefined;

  constructor(longpoll: LongPoll, metrics: PollCounter, admissions: Admissions, options: PollOptions) {
    this.#deps = { longpoll, metrics, admissions };
    this.#options = options;
    this.#names = new Names(options.callbacks);
    this.#log = options.log.isLevelEnabled('debug') ? options.log : undefined;
  }

  handle(exchange: Exchange): void {
    const { admissions, metrics } = this.#deps;
    const { network, retry } = admissions.visit(exchange);
    const parameters = split(queryOf(exchange.url));
    const form = formOf(parameters, this.#names);
    if (form instanceof BadParameter) return this.#refuse(exchange, form, retry);
    metrics.asked(form.mode);
    const fields = this.#fieldsFor(exchange, form);
    const poll = new Poll(this.#deps, exchange, form, fields ?? JSON_FOR_NONE, network);
    if (retry > 0) return poll.answer({ kind: 'busy', retry });
    if (!fields) return poll.answer(FORBIDDEN);
    const question = bodyOf(exchange) ?? questionOf(parameters, this.#options.hold);
    if (!(question instanceof BadParameter)) return this.#hold(poll, question);
    if (question.unreadable) exchange.last();
    poll.answer({ kind: 'badRequest', detail: question.message });
  }

  /** In plain text, which runs nowhere: the name that the answer should call or assign is none. */
  #refuse(exchange: Exchange, { message }: BadParameter, retry: number): void {
    const { metrics, longpoll } = this.#deps;
    metrics.asked('text');
    metrics.answered('text', retry > 0 ? 'busy' : 'badRequest');
    if (longpoll.draining) exchange.last();
    if (retry > 0) exchange.send(429, TEXT, tooMany(retry));
    else exchange.send(400, TEXT, `${message}\n`);
  }

  #hold(poll: Poll, { key, since, proof, hold: seconds, poll: named, drop }: Query): void {
    const { longpoll, admissions } = this.#deps;
    const { exchange, network } = poll;
    const wanted = exchange.next && exchange.method !== 'HEAD' && drop === '' ? seconds * 1000 : 0;
    // of one that has disconnected before it came here no listener would be called
    if (exchange.gone) return;
    const admission = admissions.admit(
      { network, key, proof, hold: wanted },
      other => other instanceof Poll && other.network === network,
    );
    if (admission.kind !== 'admitted') return poll.answer(admission);
    const { hold, retry, close } = admission;
    this.#log?.debug({ key: shortHash(key), hold }, 'asked');
    poll.expires = admission.expires;
    if (drop !== '') {
      longpoll.drop(key, drop, network);
      return poll.answer({ kind: 'timeout', cursor: since });
    }
    poll.named = named;
    poll.ends = hold < wanted;
    poll.retry = retry;
    poll.counted = wanted > 0 && retry === 0;
    if (close) exchange.last();
    poll.waiter = longpoll.get({ key, since, hold: poll.counted ? hold : 0 }, poll);
    exchange.onOver(poll);
  }

  /**
   * What the answer's head says, or undefined when the asking page is not one that may hear it.
   * A browser says what it will use an answer as: one that is to run is for a script tag, and for nothing else.
   */
  #fieldsFor(exchange: Exchange, { mode }: Form): Fields | undefined {
    if (mode === 'json')
      return this.#deps.admissions.origins.all ? JSON_FOR_ALL : this.#fieldsForOrigin(exchange);
    return isForScript(exchange) && this.#deps.admissions.allowsPageOf(exchange) ? SCRIPT : undefined;
  }

  /** An app, and curl, say no origin. */
  #fieldsForOrigin(exchange: Exchange): Fields | undefined {
    const origin = exchange.header('origin');
    if (origin === undefined) return JSON_FOR_NONE;
    const known = this.#json.get(origin);
    if (known || !this.#deps.admissions.origins.allows(origin)) return known;
    const fields = new Fields({ ...JSON_TYPE, 'Access-Control-Allow-Origin': origin, Vary: 'Origin' });
    // a domain has any number of subdomains
    if (this.#json.size >= KNOWN_ORIGINS) this.#json.clear();
    this.#json.set(origin, fields);
    return fields;
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
