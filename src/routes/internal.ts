/** The internal port: backends set here, operators look. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import Router from '@koa/router';
import type { Middleware } from 'koa';
import { Conflict, Unavailable } from '../broker.js';
import { type Logger, shortHash } from '../log.js';
import type { LongPoll } from '../longpoll.js';
import type { Metrics, SetResult } from '../metrics.js';
import { KEY, KEY_ALLOWED } from '../question.js';
import { render } from '../script.js';
import { newTicket } from '../ticket.js';
import { badRequest, checkNew, checkSet, Refusal, readBody, tooLarge } from './body.js';
import { openapi } from './openapi.js';
import { chain } from './public.js';

export interface InternalOptions {
  /** seconds a key is kept after a set that does not say */
  ttl: number;
  /** bytes of one value, as JSON in UTF-8 */
  maxValueBytes: number;
  /** bearer tokens of backends; undefined: none asked for */
  setTokens: readonly string[] | undefined;
  secrets: readonly string[] | undefined;
  /** seconds a poll is held at most, and the version: for the description at /openapi.json */
  hold: number;
  version: string;
  log: Logger;
  /** the live page; absent: there is none, and `/` is someone else's */
  live?: LivePage | undefined;
}

/** The live page, and the long poll of its own that feeds it. */
export interface LivePage {
  page: string;
  client: string;
  /** its Content-Security-Policy */
  policy: string;
  poll(request: IncomingMessage, response: ServerResponse): void;
  /** the last minutes, and the key under which it goes on */
  now(): object;
}

/** The routes of the internal port, to be mounted in a Koa app. */
export function internalRoutes(longpoll: LongPoll, metrics: Metrics, options: InternalOptions): Middleware {
  const router = new Router();
  const authorized = authorizer(options.setTokens);

  router.use(async (ctx, next) => {
    ctx.set('Cache-Control', 'no-store');
    ctx.set('X-Content-Type-Options', 'nosniff');
    try {
      await next();
    } catch (error) {
      const { status, message, more } = refusalOf(error);
      if (status === 413) ctx.set('Connection', 'close');
      ctx.status = status;
      ctx.body = { code: status, message, ...more };
    }
  });
  const bearer: Middleware = (ctx, next) => {
    if (authorized(ctx.get('Authorization'))) return next();
    ctx.set('WWW-Authenticate', 'Bearer');
    throw new Refusal(401, 'unauthorized', {
      detail: 'Authorization: give Bearer and one of TAGWAIT_SET_TOKENS',
    });
  };
  const countSets: Middleware = async (_, next) => {
    try {
      await next();
      metrics.wasSet('stored');
    } catch (error) {
      metrics.wasSet(SET_RESULTS[refusalOf(error).status] ?? 'refused');
      throw error;
    }
  };

  router.post('/status/set', countSets, bearer, async ctx => {
    const { key, value, ttl, ...more } = checkSet(await readBody(ctx, options.maxValueBytes));
    const rendered = renderWithin(value, options.maxValueBytes);
    const receipt = await longpoll.setRendered(key, rendered, { ttl: (ttl ?? options.ttl) * 1000, ...more });
    if (options.log.isLevelEnabled('debug'))
      options.log.debug({ key: shortHash(key), bytes: rendered.length, watched: receipt.watched }, 'set');
    ctx.body = { code: 0, message: 'success', ...receipt };
  });
  router.post('/status/new', bearer, async ctx => {
    const { ttl = options.ttl } = checkNew(await readBody(ctx, options.maxValueBytes));
    const [secret] = options.secrets ?? [];
    if (secret === undefined) throw badRequest('tickets need TAGWAIT_SECRET, the same on every node');
    ctx.body = { code: 0, ...newTicket(secret, Math.ceil(ttl)) };
  });
  router.get('/status/peek', bearer, async ctx => {
    const { key } = ctx.query;
    if (typeof key !== 'string' || !KEY.test(key)) throw badRequest(KEY_ALLOWED);
    const { entries, ttl, ...more } = await longpoll.peek(key);
    const shown = entries.map(({ value, cursor }) => ({ value: JSON.parse(value), cursor }));
    ctx.body = { code: 0, key, entries: shown, ...more, ttl: Math.ceil(ttl / 1000) };
  });
  router.get('/nodes', bearer, async ctx => {
    ctx.body = { code: 0, nodes: await longpoll.nodes() };
  });
  const described = openapi({ ...options, guarded: !!options.setTokens });
  router.get('/openapi.json', bearer, ctx => {
    ctx.body = described;
  });
  const { live } = options;
  if (live) {
    // these two say nothing of this node
    router.get('/', ctx => {
      ctx.set({ 'Content-Security-Policy': live.policy, 'Referrer-Policy': 'no-referrer' });
      ctx.type = 'html';
      ctx.body = live.page;
    });
    router.get('/client.js', ctx => {
      ctx.type = 'text/javascript';
      ctx.body = live.client;
    });
    router.get('/live', bearer, ctx => {
      ctx.body = { code: 0, ...live.now() };
    });
    // a script tag has no Authorization: the key is the permission
    router.get('/status/get', ctx => {
      ctx.respond = false;
      live.poll(ctx.req, ctx.res);
    });
  }
  router.get('/metrics', async ctx => {
    ctx.set('Content-Type', metrics.contentType);
    ctx.body = await metrics.text();
  });
  router.get('/healthz', ctx => {
    ctx.body = { code: 0, message: 'success' };
  });
  router.get('/readyz', ctx => {
    if (!longpoll.ready())
      throw new Unavailable(longpoll.draining ? 'this node is draining' : 'the store cannot be reached');
    ctx.body = { code: 0, message: 'success' };
  });
  return chain(router);
}

const SET_RESULTS: Record<number, SetResult> = { 401: 'unauthorized', 409: 'conflict', 503: 'unavailable' };

function refusalOf(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  if (error instanceof Conflict)
    return new Refusal(409, 'conflict', { detail: error.message, cursor: error.cursor });
  if (error instanceof Unavailable) return new Refusal(503, 'unavailable', { detail: error.message });
  throw error;
}

/** Compares with every token in the same time, whatever is given: digests have one length. */
function authorizer(tokens: readonly string[] | undefined): (header: string) => boolean {
  if (!tokens) return () => true;
  const digest = (token: string) => createHash('sha256').update(token).digest();
  const known = tokens.map(digest);
  return header => {
    const given = digest(/^Bearer +(\S+) *$/i.exec(header)?.[1] ?? '');
    return known.map(token => timingSafeEqual(token, given)).includes(true);
  };
}

/** The value as it is stored. Its size is that of the JSON a backend would send: UTF-8, without needless spaces. */
function renderWithin(value: unknown, most: number): string {
  let rendered: string;
  try {
    rendered = render(value);
  } catch (error) {
    if (error instanceof TypeError) throw badRequest(`value: ${error.message}`);
    throw error;
  }
  if (rendered.length > most && Buffer.byteLength(JSON.stringify(value)) > most) throw tooLarge(most);
  return rendered;
}
