/** The public port: pages ask here. */
import { createHash } from 'node:crypto';
import Router from '@koa/router';
import type { Middleware } from 'koa';
import * as answers from '../answers.js';
import { ANSWERS, type Answer } from '../answers.js';
import type { Limits } from '../limits.js';
import { type Logger, shortHash } from '../log.js';
import type { LongPoll } from '../longpoll.js';
import type { Metrics } from '../metrics.js';
import { BadParameter, type Form, formOf, type Query, questionOf, split } from '../question.js';
import { assign, call } from '../script.js';
import { verify } from '../ticket.js';
import { type Exchange, Fields, type Route } from '../wire/exchange.js';
import { chain, mount } from './mount.js';

export interface PublicOptions {
  /** seconds */
  hold: number;
  /** origins whose pages may ask; empty: all */
  origins: readonly string[];
  /** that tickets are signed with; undefined: no tickets needed */
  secrets: readonly string[] | undefined;
  log: Logger;
  /** the built client, and its version */
  client: string;
  version: string;
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

/** Who counts polls and answers. */
export type Tally = Pick<Metrics, 'asked' | 'answered'>;

/** Answers `GET /status/get`: what is held keeps its answer's form and the way back alive, and nothing of the question. */
export class PollRoute implements Route {
  readonly method = 'GET';
  readonly path = '/status/get';
  readonly #longpoll: LongPoll;
  readonly #metrics: Tally;
  readonly #limits: Limits;
  readonly #options: PublicOptions;
  /** by origin, what answers in JSON say to a page of it */
  readonly #json: ReadonlyMap<string, Fields>;
  /** where each question is noted; undefined: nobody wants to know */
  readonly #log: Logger | undefined;

  constructor(longpoll: LongPoll, metrics: Tally, limits: Limits, options: PublicOptions) {
    this.#longpoll = longpoll;
    this.#metrics = metrics;
    this.#limits = limits;
    this.#options = options;
    this.#json = new Map(
      options.origins.map(origin => [
        origin,
        new Fields({ ...JSON_TYPE, 'Access-Control-Allow-Origin': origin, Vary: 'Origin' }),
      ]),
    );
    this.#log = options.log.isLevelEnabled('debug') ? options.log : undefined;
  }

  handle(exchange: Exchange): void {
    const { url } = exchange;
    const mark = url.indexOf('?');
    const parameters = split(mark < 0 ? '' : url.slice(mark + 1));
    let form: Form;
    try {
      form = formOf(parameters);
    } catch (error) {
      if (!(error instanceof BadParameter)) throw error;
      return exchange.send(400, TEXT, `${error.message}\n`);
    }
    this.#metrics.asked(form.mode);
    const from = this.#limits.networkOf(exchange.address, exchange.header('x-forwarded-for'));
    const wait = this.#limits.poll(from);
    const fields = this.#fieldsFor(exchange, form);
    const answer = (given: Answer) => this.#send(exchange, form, fields ?? JSON_FOR_NONE, given);
    if (wait > 0) {
      if (this.#options.several) exchange.last();
      return answer(answers.busy(wait));
    }
    if (!fields) return answer(answers.forbidden);
    try {
      refuseBody(exchange);
      this.#hold(exchange, questionOf(parameters, this.#options.hold), from, answer);
    } catch (error) {
      if (!(error instanceof BadParameter)) throw error;
      if (error.unreadable) exchange.last();
      answer(answers.badRequest(error.message));
    }
  }

  #hold(exchange: Exchange, query: Query, from: string, answer: (given: Answer) => void): void {
    const { secrets } = this.#options;
    const { key, since } = query;
    let hold = query.hold * 1000;
    let ending = answer;
    if (secrets) {
      const expires = verify(secrets, key, query.proof);
      if (expires === undefined) return answer(answers.forbidden);
      const left = expires * 1000 - Date.now();
      if (left <= 0) return answer(answers.expired);
      if (left < hold) {
        hold = left;
        ending = given =>
          answer(given.kind === 'timeout' || given.kind === 'unavailable' ? answers.expired : given);
      }
    }
    // gone before it came here: nothing would tell of its leaving again
    if (exchange.gone) return;
    this.#log?.debug({ key: shortHash(key), hold }, 'asked');
    if (!exchange.next) hold = 0;
    const wait = hold > 0 ? this.#limits.hold(from, this.#longpoll.held, this.#longpoll.heldFor(key)) : 0;
    if (wait > 0) {
      // its descriptor is wanted by others
      if (this.#options.several || this.#limits.full(this.#longpoll.held)) exchange.last();
      return answer(answers.busy(wait));
    }
    let leave = () => {};
    exchange.onOver(() => {
      leave();
      if (hold > 0) this.#limits.release(from);
    });
    leave = this.#longpoll.get({ key, since, hold }, ending);
  }

  /**
   * What the answer's head says, or undefined when the asking page is not one that may hear it.
   * A browser says what it will use an answer as: one that is to run is for a script tag, and for nothing else.
   */
  #fieldsFor(exchange: Exchange, { mode }: Form): Fields | undefined {
    if (mode === 'json') return this.#json.size > 0 ? this.#fieldsForOrigin(exchange) : JSON_FOR_ALL;
    const destination = exchange.header('sec-fetch-dest') ?? 'script';
    return destination === 'script' && this.#isOfOurs(exchange) ? SCRIPT : undefined;
  }

  /** An app, and curl, say no origin. */
  #fieldsForOrigin(exchange: Exchange): Fields | undefined {
    const origin = exchange.header('origin');
    return origin === undefined ? JSON_FOR_NONE : this.#json.get(origin);
  }

  /** Script requests carry no Origin in most browsers, and a Referer unless the page forbids it. */
  #isOfOurs(exchange: Exchange): boolean {
    if (this.#json.size === 0) return true;
    const referer = exchange.header('referer');
    const from = exchange.header('origin') ?? (referer === undefined ? undefined : originOf(referer));
    return from === undefined || this.#json.has(from);
  }

  #send(exchange: Exchange, form: Form, fields: Fields, answer: Answer): void {
    this.#metrics.answered(form.mode, answer.kind);
    if (this.#longpoll.draining) exchange.last();
    if (form.mode === 'callback') exchange.send(200, SCRIPT, call(form.name, answer.text));
    else if (form.mode === 'var') exchange.send(200, SCRIPT, assign(form.name, answer.text));
    else exchange.send(ANSWERS[answer.kind].status, fields, answer.text);
  }
}

/** A poll says everything in its URL: a body would only keep its connection busy. @throws {BadParameter} */
function refuseBody(exchange: Exchange): void {
  if (
    exchange.header('transfer-encoding') !== undefined ||
    (exchange.header('content-length') ?? '0') !== '0'
  )
    throw new BadParameter('the body: give none', true);
}

const originOf = (url: string) => (URL.canParse(url) ? new URL(url).origin : 'null');

/** The routes of the public port, to be mounted in a Koa app. */
export function publicRoutes(poll: PollRoute, options: PublicOptions): Middleware {
  const router = new Router();
  const client = createHash('sha256').update(options.client).digest('base64url').slice(0, 22);

  router.get(poll.path, mount(poll));
  router.options(poll.path, ctx => {
    ctx.set({ 'Access-Control-Allow-Methods': 'GET', 'Access-Control-Max-Age': '86400' });
    const { origin } = ctx.headers;
    if (options.origins.length === 0) ctx.set('Access-Control-Allow-Origin', '*');
    else if (origin && options.origins.includes(origin)) ctx.set('Access-Control-Allow-Origin', origin);
    ctx.vary('Origin');
    ctx.status = 204;
  });
  router.get(['/client.js', `/client/${options.version}.js`], ctx => {
    const versioned = ctx.path !== '/client.js';
    ctx.set({
      'Cache-Control': versioned
        ? 'public, max-age=31536000, immutable'
        : 'public, max-age=0, must-revalidate',
      'X-Content-Type-Options': 'nosniff',
      'Cross-Origin-Resource-Policy': 'cross-origin',
      'Access-Control-Allow-Origin': '*',
      ETag: `"${client}"`,
    });
    ctx.type = 'text/javascript';
    ctx.status = 200;
    if (ctx.fresh) ctx.status = 304;
    else ctx.body = options.client;
  });
  router.get('/healthz', ctx => {
    ctx.body = { code: 0, message: 'success' };
  });
  return chain(router);
}
