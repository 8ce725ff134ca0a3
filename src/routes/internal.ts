/** The routes of the internal port, for backends and operators. */
import Router from '@koa/router';
import type { Middleware } from 'koa';
import { Unavailable } from '../brokers/broker.js';
import type { LongPoll } from '../hold/longpoll.js';
import type { Logger } from '../log.js';
import { STEPS } from '../login/steps.js';
import { KEY, KEY_ALLOWED, parseParameters, QUERY_BYTES } from '../protocol/query.js';
import { newTicket, type Ticket } from '../protocol/ticket.js';
import { METRICS_TYPE } from '../samples.js';
import type { Route } from '../wire/exchange.js';
import { HttpExchange } from '../wire/http.js';
import { badRequest, checkNew, Refusal, readBody } from './body.js';
import { guarded, guardOf } from './guard.js';
import type { LoginRoutes } from './login.js';
import { chain, mount } from './mount.js';
import { openapi } from './openapi/document.js';
import { authorizer, refusalOf, type SetRoute, unauthorized } from './set.js';
import { sparing } from './sparing.js';

export interface InternalOptions {
  /** default time to live of a key, s */
  ttl: number;
  /** limit of a value, bytes as JSON in UTF-8 */
  maxValueBytes: number;
  /** bearer tokens of backends; undefined: no token needed */
  setTokens: readonly string[] | undefined;
  secrets: readonly string[] | undefined;
  /** longest hold, s, and the version, for /openapi.json */
  hold: number;
  version: string;
  log: Logger;
  /** the metrics in the Prometheus text format */
  scrape(): Promise<string>;
  /** only for a port of its own; absent: the routes are part of another app */
  own?: OwnPort | undefined;
}

export interface OwnPort {
  live: LivePage;
  /** URL of the public port; '' before it listens */
  publicUrl(): string;
}

/** The live page, and the long poll that feeds it. */
export interface LivePage {
  page: string;
  client: string;
  /** its Content-Security-Policy */
  policy: string;
  poll: Route;
  /** the key that it polls */
  key: string;
  /** the samples so far, and the key for further ones */
  now(): Promise<object>;
}

/** A new ticket. @param body `{ ttl }`, in seconds @throws {Refusal} 400 */
export function ticketFor(body: unknown, options: Pick<InternalOptions, 'ttl' | 'secrets'>): Ticket {
  const { ttl = options.ttl } = checkNew(body);
  const [secret] = options.secrets ?? [];
  if (secret === undefined) throw badRequest('tickets need TAGWAIT_SECRET, the same on every node');
  return newTicket(secret, Math.ceil(ttl));
}

/** The routes of the internal port, for mounting in a Koa app. */
export function internalRoutes(
  longpoll: LongPoll,
  set: SetRoute,
  login: LoginRoutes,
  options: InternalOptions,
): Middleware {
  const router = new Router();
  const guard = guarded(guardOf(options.setTokens !== undefined));
  const scrape = sparing(options.scrape);

  router.use(guard, answerErrors);
  const bearer = requireToken(options.setTokens);

  router.post(set.path, mount(set));
  router.post('/status/new', bearer, async ctx => {
    const body = await readBody(new HttpExchange(ctx.req, ctx.res), options.maxValueBytes);
    ctx.body = { code: 0, ...ticketFor(body, options) };
  });
  for (const step of STEPS) router.post(`/login/${step}`, ...login.route(step, bearer));
  router.get('/status/peek', bearer, peekRoute(longpoll));
  router.get('/nodes', bearer, async ctx => {
    ctx.body = { code: 0, nodes: await longpoll.nodes() };
  });
  const described = openapi({ ...options, guarded: !!options.setTokens });
  router.get('/openapi.json', bearer, ctx => {
    ctx.body = described;
  });
  const { own } = options;
  if (own) addLivePage(router, own, bearer);
  router.get('/metrics', async ctx => {
    ctx.set('Content-Type', METRICS_TYPE);
    ctx.body = await scrape();
  });
  router.get('/healthz', ctx => {
    ctx.body = { code: 0, message: 'success' };
  });
  router.get('/readyz', ctx => {
    if (longpoll.draining) throw new Unavailable('this node is draining');
    const { up, cause } = longpoll.store();
    if (!up) throw new Unavailable(`the store cannot be reached: ${cause ?? 'connecting'}`);
    ctx.body = { code: 0, message: 'success' };
  });
  const routes = chain(router);
  if (!own) return routes;
  // on a port of its own, the guard also applies to unknown paths
  return (ctx, next) => guard(ctx, () => routes(ctx, next));
}

/** Sets the headers of all answers, and answers errors in JSON. */
const answerErrors: Middleware = async (ctx, next) => {
  ctx.set('Cache-Control', 'no-store');
  ctx.set('X-Content-Type-Options', 'nosniff');
  try {
    await next();
  } catch (error) {
    const refusal = refusalOf(error);
    if (!refusal) throw error;
    const { status, message, more } = refusal;
    if (status === 413) ctx.set('Connection', 'close');
    ctx.status = status;
    ctx.body = { code: status, message, ...more };
  }
};

/** Requires one of the tokens. @param tokens undefined: no token needed */
function requireToken(tokens: readonly string[] | undefined): Middleware {
  const authorized = authorizer(tokens);
  return (ctx, next) => {
    if (authorized(ctx.get('Authorization'))) return next();
    ctx.set('WWW-Authenticate', 'Bearer');
    throw unauthorized();
  };
}

const peekRoute =
  (longpoll: LongPoll): Middleware =>
  async ctx => {
    const { given, twice, tooLong } = parseParameters(ctx.querystring);
    const { key = '' } = given;
    if (tooLong) throw badRequest(`the query: give at most ${QUERY_BYTES} bytes`);
    if (twice.includes('key')) throw badRequest('key: give it once');
    if (!KEY.test(key)) throw badRequest(KEY_ALLOWED);
    const { entries, ttl, ...more } = await longpoll.peek(key);
    // values as they are stored: parsing and printing them again could change digits
    const items = entries.map(({ value, cursor }) => `{"value":${value},"cursor":"${cursor}"}`);
    const rest = JSON.stringify({ ...more, ttl: Math.ceil(ttl / 1000) }).slice(1);
    ctx.type = 'json';
    ctx.body = `{"code":0,"key":"${key}","entries":[${items.join()}],${rest}`;
  };

/** The live page, its script and its long poll. */
function addLivePage(router: Router, { live, publicUrl }: OwnPort, bearer: Middleware): void {
  // these two contain no data of this node
  router.get('/', ctx => {
    ctx.set({ 'Content-Security-Policy': live.policy, 'Referrer-Policy': 'no-referrer' });
    ctx.type = 'html';
    ctx.body = live.page;
  });
  router.get('/client.js', ctx => {
    ctx.type = 'text/javascript';
    ctx.body = live.client;
  });
  router.get('/live', bearer, async ctx => {
    ctx.body = { code: 0, ...(await live.now()) };
  });
  const poll = mount(live.poll);
  router.get('/status/get', (ctx, next) => {
    // a script tag has no Authorization: the key of the live page is the permission
    if (parseParameters(ctx.querystring).given.key === live.key) return poll(ctx, next);
    throw new Refusal(404, 'not found', {
      detail: `GET /status/get: poll on the public port, ${publicUrl()}`,
    });
  });
}
