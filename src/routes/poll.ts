/** `GET /status/get`: a poll, as a script or as JSON. */

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
import { type Exchange, HeaderBlock, type Route } from '../wire/exchange.js';
import { tooMany } from '../wire/http.js';
import type { Admissions } from './admission.js';

export interface PollOptions {
  /** seconds */
  hold: number;
  /** patterns of additional names for `callback` and `var`, see TAGWAIT_CALLBACKS */
  callbacks?: readonly string[] | undefined;
  log: Logger;
}

/** Headers of every answer: no caching, no content sniffing, allowed under COEP, no URL with a key in Referer. */
const COMMON = {
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
  'Cross-Origin-Resource-Policy': 'cross-origin',
  'Referrer-Policy': 'no-referrer',
};
const SCRIPT = new HeaderBlock({
  ...COMMON,
  'Content-Type': 'text/javascript; charset=utf-8',
  'Content-Disposition': 'attachment; filename=f.txt',
});
const JSON_TYPE = { ...COMMON, 'Content-Type': 'application/json; charset=utf-8' };
const JSON_FOR_ALL = new HeaderBlock({ ...JSON_TYPE, 'Access-Control-Allow-Origin': '*' });
const JSON_FOR_NONE = new HeaderBlock({ ...JSON_TYPE, Vary: 'Origin' });
const TEXT = new HeaderBlock({ ...COMMON, 'Content-Type': 'text/plain; charset=utf-8' });

/** Limit of origins whose headers are cached. */
const MAX_CACHED_ORIGINS = 1000;

/** Counts polls and answers. */
export type PollCounter = Pick<Metrics, 'asked' | 'answered'>;

/** The dependencies of a poll. */
interface PollDeps {
  longpoll: LongPoll;
  admissions: Admissions;
  metrics: PollCounter;
}

/** One poll: the form of its answer, and its exchange. Nothing else of the request is retained while it is held. */
class Poll implements Responder {
  readonly #deps: PollDeps;
  readonly exchange: Exchange;
  readonly #mode: Form['mode'];
  readonly #name: string;
  readonly #fields: HeaderBlock;
  readonly network: string;
  /** it counts as held for its network */
  counted = false;
  /** retry delay if a limit is reached, ms: it is not held, and answered `busy` unless there is a newer value */
  retry = 0;
  /** its ticket expires before the end of its hold */
  ends = false;
  /** when its ticket ends, unix ms; undefined without tickets */
  expires: number | undefined;
  /** its name, see `drop`; '' for none */
  named = '';
  waiter: Waiter | undefined;

  constructor(
    deps: PollDeps,
    exchange: Exchange,
    { mode, name }: Form,
    fields: HeaderBlock,
    network: string,
  ) {
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
    if (longpoll.draining) this.exchange.closeAfterResponse();
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

  onClose(): void {
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
  /** cached headers of JSON answers, by origin */
  readonly #json = new Map<string, HeaderBlock>();
  /** logs each poll; undefined: the level is above debug */
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
    if (question.unreadable) exchange.closeAfterResponse();
    poll.answer({ kind: 'badRequest', detail: question.message });
  }

  /** Refuses an invalid callback or variable name in plain text, which no browser runs. */
  #refuse(exchange: Exchange, { message }: BadParameter, retry: number): void {
    const { metrics, longpoll } = this.#deps;
    metrics.asked('text');
    metrics.answered('text', retry > 0 ? 'busy' : 'badRequest');
    if (longpoll.draining) exchange.closeAfterResponse();
    if (retry > 0) exchange.send(429, TEXT, tooMany(retry));
    else exchange.send(400, TEXT, `${message}\n`);
  }

  #hold(poll: Poll, { key, since, proof, hold: seconds, poll: named, drop }: Query): void {
    const { longpoll, admissions } = this.#deps;
    const { exchange, network } = poll;
    const wanted = exchange.headOfLine && exchange.method !== 'HEAD' && drop === '' ? seconds * 1000 : 0;
    // a request that has already disconnected would call no listener
    if (exchange.closed) return;
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
    if (close) exchange.closeAfterResponse();
    poll.waiter = longpoll.get({ key, since, hold: poll.counted ? hold : 0 }, poll);
    exchange.onClose(poll);
  }

  /**
   * The headers of the answer, or undefined if the page must not get it: its origin is not allowed, or a script would
   * not go to a script tag, as Sec-Fetch-Dest says.
   */
  #fieldsFor(exchange: Exchange, { mode }: Form): HeaderBlock | undefined {
    if (mode === 'json')
      return this.#deps.admissions.origins.all ? JSON_FOR_ALL : this.#fieldsForOrigin(exchange);
    return isForScript(exchange) && this.#deps.admissions.allowsPageOf(exchange) ? SCRIPT : undefined;
  }

  /** Apps and curl send no Origin. */
  #fieldsForOrigin(exchange: Exchange): HeaderBlock | undefined {
    const origin = exchange.header('origin');
    if (origin === undefined) return JSON_FOR_NONE;
    const known = this.#json.get(origin);
    if (known || !this.#deps.admissions.origins.allows(origin)) return known;
    const fields = new HeaderBlock({ ...JSON_TYPE, 'Access-Control-Allow-Origin': origin, Vary: 'Origin' });
    // limited, because a domain can have any number of subdomains
    if (this.#json.size >= MAX_CACHED_ORIGINS) this.#json.clear();
    this.#json.set(origin, fields);
    return fields;
  }
}

/** The fault of a poll with a body: it would only keep the connection busy. */
function bodyOf(exchange: Exchange): BadParameter | undefined {
  if (
    exchange.header('transfer-encoding') === undefined &&
    (exchange.header('content-length') ?? '0') === '0'
  )
    return undefined;
  return new BadParameter('the body: give none', true);
}

/** Whether the request is for a script tag. A service worker forwards one as `empty` and `no-cors`. */
function isForScript(exchange: Exchange): boolean {
  const destination = exchange.header('sec-fetch-dest') ?? 'script';
  return (
    destination === 'script' || (destination === 'empty' && exchange.header('sec-fetch-mode') === 'no-cors')
  );
}
