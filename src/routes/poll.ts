/** `GET /status/get`: a poll, as a script or as JSON. */

import type { Responder } from '../hold/longpoll.js';
import { type Logger, shortHash } from '../log.js';
import { FORBIDDEN } from '../protocol/answers.js';
import { Names } from '../protocol/names.js';
import {
  BadParameter,
  type Form,
  parseForm,
  parseParameters,
  parseQuery,
  type Query,
  queryString,
} from '../protocol/query.js';
import { parseSeveral, type SeveralQuery } from '../protocol/several.js';
import { type Exchange, HeaderBlock, type Route } from '../wire/exchange.js';
import { tooMany } from '../wire/http.js';
import { JSON_FOR_ALL, JSON_FOR_NONE, JSON_HEADERS, Poll, SCRIPT, SeveralPoll, TEXT } from './responders.js';
import type { TransportDeps } from './transport.js';

export interface PollOptions {
  /** seconds */
  hold: number;
  /** patterns of additional names for `callback` and `var`, see TAGWAIT_CALLBACKS */
  callbacks?: readonly string[] | undefined;
  log: Logger;
}

/** Limit of origins whose headers are cached. */
const MAX_CACHED_ORIGINS = 1000;

export class PollRoute implements Route {
  readonly method = 'GET';
  readonly path = '/status/get';
  readonly #deps: TransportDeps;
  readonly #options: PollOptions;
  readonly #names: Names;
  /** cached headers of JSON answers, by origin */
  readonly #json = new Map<string, HeaderBlock>();
  /** logs each poll; undefined: the level is above debug */
  readonly #log: Logger | undefined;

  constructor(deps: TransportDeps, options: PollOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#names = new Names(options.callbacks);
    this.#log = options.log.isLevelEnabled('debug') ? options.log : undefined;
  }

  handle(exchange: Exchange): void {
    const { admissions, metrics } = this.#deps;
    const { network, retry } = admissions.visit(exchange);
    const parameters = parseParameters(queryString(exchange.url));
    const form = parseForm(parameters, this.#names);
    if (form instanceof BadParameter) return this.#refuse(exchange, form, retry);
    metrics.asked(form.mode);
    const fields = this.#fieldsFor(exchange, form);
    const Kind = parameters.further ? SeveralPoll : Poll;
    const poll = new Kind(this.#deps, exchange, form, fields ?? JSON_FOR_NONE, network);
    if (retry > 0) return poll.answer({ kind: 'busy', retry });
    if (!fields) return poll.answer(FORBIDDEN);
    const { hold } = this.#options;
    const query =
      bodyFault(exchange) ??
      (parameters.further ? parseSeveral(parameters, hold) : parseQuery(parameters, hold));
    if (!(query instanceof BadParameter)) {
      if (poll instanceof SeveralPoll) return this.#holdSeveral(poll, query as SeveralQuery);
      return this.#hold(poll, query);
    }
    if (query.unreadable) exchange.closeAfterResponse();
    poll.answer({ kind: 'badRequest', detail: query.message });
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

  #hold(poll: Poll, query: Query): void {
    const { key, since, proof, drop } = query;
    const { longpoll, admissions } = this.#deps;
    const { exchange, network } = poll;
    const wanted = wantedHold(exchange, query);
    // already disconnected: it must not count as held
    if (exchange.closed) return;
    const request = { network, key, proof, hold: wanted };
    const admission = admissions.admit(request, other => other.isFrom?.(network) ?? false);
    if (admission.kind !== 'admitted') {
      // the proof is good, but its ticket has ended: the page has taken the values before
      if (admission.kind === 'expired') longpoll.noticePoll(key, since);
      return poll.answer(admission);
    }
    this.#log?.debug({ key: shortHash(key), hold: admission.hold }, 'asked');
    const hold = poll.admitted(admission, query, wanted);
    if (drop !== '') {
      longpoll.drop(key, drop, network);
      return poll.answer({ kind: 'timeout', cursor: since });
    }
    poll.waiter = longpoll.get({ key, since, hold }, poll);
    exchange.onClose(poll);
  }

  #holdSeveral(poll: SeveralPoll, query: SeveralQuery): void {
    const { keys, drop } = query;
    const { longpoll, admissions } = this.#deps;
    const { exchange, network } = poll;
    const wanted = wantedHold(exchange, query);
    if (exchange.closed) return;
    const isOfClient = (other: Responder) => other.isFrom?.(network) ?? false;
    const admission = admissions.admitSeveral({ network, hold: wanted }, keys, isOfClient);
    if (admission.kind === 'refused') return poll.refuse(admission.answer, admission.key);
    this.#log?.debug({ keys: keys.map(({ key }) => shortHash(key)), hold: admission.hold }, 'asked');
    const hold = poll.admitted(admission, query, wanted);
    if (drop !== '') {
      // a poll of several keys is found by any of them
      longpoll.drop(query.key, drop, network);
      return poll.answer({ kind: 'timeout', cursor: '', cursors: keys.map(({ since }) => since) });
    }
    poll.hold(keys, admission.tickets, hold);
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
    const fields = new HeaderBlock({
      ...JSON_HEADERS,
      'Access-Control-Allow-Origin': origin,
      Vary: 'Origin',
    });
    // limited, because a domain can have any number of subdomains
    if (this.#json.size >= MAX_CACHED_ORIGINS) this.#json.clear();
    this.#json.set(origin, fields);
    return fields;
  }
}

/** The hold that a request asks for, ms. */
function wantedHold(exchange: Exchange, { hold, drop }: Query): number {
  return exchange.headOfLine && exchange.method !== 'HEAD' && drop === '' ? hold * 1000 : 0;
}

/** The fault of a poll with a body: it would only keep the connection busy. */
function bodyFault(exchange: Exchange): BadParameter | undefined {
  if (
    exchange.header('transfer-encoding') === undefined &&
    Number(exchange.header('content-length') ?? 0) === 0
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
