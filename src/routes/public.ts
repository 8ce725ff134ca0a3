/** The public port: pages ask here. */
import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
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
const COMMON = [
  ['Cache-Control', 'no-store'],
  ['X-Content-Type-Options', 'nosniff'],
  ['Cross-Origin-Resource-Policy', 'cross-origin'],
  ['Referrer-Policy', 'no-referrer'],
].flat();
const SCRIPT = [
  ...COMMON,
  'Content-Type',
  'text/javascript; charset=utf-8',
  'Content-Disposition',
  'attachment; filename=f.txt',
];
const JSON_TYPE = [...COMMON, 'Content-Type', 'application/json; charset=utf-8'];
const TEXT = [...COMMON, 'Content-Type', 'text/plain; charset=utf-8'];

/** Who counts polls and answers. */
export type Tally = Pick<Metrics, 'asked' | 'answered'>;

/** Answers `GET /status/get` on Node's own request and response: a held request keeps nothing else alive. */
export class PollRoute {
  readonly method = 'GET';
  readonly path = '/status/get';
  readonly #longpoll: LongPoll;
  readonly #metrics: Tally;
  readonly #limits: Limits;
  readonly #options: PublicOptions;
  /** where each question is noted; undefined: nobody wants to know */
  readonly #log: Logger | undefined;

  constructor(longpoll: LongPoll, metrics: Tally, limits: Limits, options: PublicOptions) {
    this.#longpoll = longpoll;
    this.#metrics = metrics;
    this.#limits = limits;
    this.#options = options;
    this.#log = options.log.isLevelEnabled('debug') ? options.log : undefined;
  }

  handle(request: IncomingMessage, response: ServerResponse): void {
    const url = request.url ?? '';
    const mark = url.indexOf('?');
    const parameters = split(mark < 0 ? '' : url.slice(mark + 1));
    let form: Form;
    try {
      form = formOf(parameters);
    } catch (error) {
      if (!(error instanceof BadParameter)) throw error;
      return send(response, 400, TEXT, `${error.message}\n`);
    }
    this.#metrics.asked(form.mode);
    const from = this.#limits.networkOf(request);
    const wait = this.#limits.poll(from);
    const origin = this.#allowed(request, form);
    const answer = (given: Answer) => this.#send(response, form, origin, given);
    if (wait > 0) {
      if (this.#options.several) response.shouldKeepAlive = false;
      return answer(answers.busy(wait));
    }
    if (origin === undefined) return answer(answers.forbidden);
    try {
      refuseBody(request);
      this.#hold(response, questionOf(parameters, this.#options.hold), from, answer);
    } catch (error) {
      if (!(error instanceof BadParameter)) throw error;
      if (error.unreadable) response.shouldKeepAlive = false;
      answer(answers.badRequest(error.message));
    }
  }

  #hold(response: ServerResponse, query: Query, from: string, answer: (given: Answer) => void): void {
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
    if (response.destroyed) return;
    this.#log?.debug({ key: shortHash(key), hold }, 'asked');
    // an answer that waits for another has no socket yet, and is not told when its page goes
    if (response.socket === null) hold = 0;
    const wait = hold > 0 ? this.#limits.hold(from, this.#longpoll.held, this.#longpoll.heldFor(key)) : 0;
    if (wait > 0) {
      // its descriptor is wanted by others
      if (this.#options.several || this.#limits.full(this.#longpoll.held)) response.shouldKeepAlive = false;
      return answer(answers.busy(wait));
    }
    const leave = this.#longpoll.get({ key, since, hold }, ending);
    response.on('close', () => {
      leave();
      if (hold > 0) this.#limits.release(from);
    });
  }

  /**
   * The value of Access-Control-Allow-Origin, '' for none, or undefined when the asking page is not one that may.
   * A browser says what it will use an answer as: one that is to run is for a script tag, and for nothing else.
   */
  #allowed(request: IncomingMessage, { mode }: Form): string | undefined {
    if (mode === 'json') return this.#allowOrigin(request);
    const { 'sec-fetch-dest': destination = 'script' } = request.headers;
    return destination === 'script' ? this.#referrer(request) : undefined;
  }

  /** The value of Access-Control-Allow-Origin, or undefined when the asking page is not one that may. */
  #allowOrigin(request: IncomingMessage): string | undefined {
    const { origins } = this.#options;
    const { origin } = request.headers;
    if (origins.length === 0) return '*';
    if (origin === undefined) return '';
    return origins.includes(origin) ? origin : undefined;
  }

  /** Script requests carry no Origin in most browsers, and a Referer unless the page forbids it. */
  #referrer(request: IncomingMessage): '' | undefined {
    const { origins } = this.#options;
    if (origins.length === 0) return '';
    const { origin, referer } = request.headers;
    const from = origin ?? (referer === undefined ? undefined : originOf(referer));
    return from === undefined || origins.includes(from) ? '' : undefined;
  }

  #send(response: ServerResponse, form: Form, origin: string | undefined, answer: Answer): void {
    this.#metrics.answered(form.mode, answer.kind);
    if (this.#longpoll.draining) response.shouldKeepAlive = false;
    if (form.mode === 'callback') return send(response, 200, SCRIPT, call(form.name, answer.text));
    if (form.mode === 'var') return send(response, 200, SCRIPT, assign(form.name, answer.text));
    const headers = origin ? [...JSON_TYPE, 'Access-Control-Allow-Origin', origin] : [...JSON_TYPE];
    if (this.#options.origins.length > 0) headers.push('Vary', 'Origin');
    send(response, ANSWERS[answer.kind].status, headers, answer.text);
  }
}

/** A poll says everything in its URL: a body would only keep its connection busy. @throws {BadParameter} */
function refuseBody({ headers }: IncomingMessage): void {
  if (headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0')
    throw new BadParameter('the body: give none', true);
}

const originOf = (url: string) => (URL.canParse(url) ? new URL(url).origin : 'null');

/** Sends text that is ASCII alone, so that its length is its bytes. */
function send(response: ServerResponse, status: number, headers: string[], text: string): void {
  response.writeHead(status, [...headers, 'Content-Length', String(text.length)]);
  response.end(text, 'latin1');
}

/** The routes of the public port, to be mounted in a Koa app. */
export function publicRoutes(poll: PollRoute, options: PublicOptions): Middleware {
  const router = new Router();
  const client = createHash('sha256').update(options.client).digest('base64url').slice(0, 22);

  router.get(poll.path, ctx => {
    ctx.respond = false;
    poll.handle(ctx.req, ctx.res);
  });
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

/** A router's routes, with 405 and 501 for methods that they do not have. */
export function chain(router: Router): Middleware {
  const routes = router.routes() as unknown as Middleware;
  const allowed = router.allowedMethods() as unknown as Middleware;
  return (ctx, next) => routes(ctx, () => allowed(ctx, next));
}
