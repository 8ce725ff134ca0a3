/** The routes of the public port, for pages. */
import { createHash } from 'node:crypto';
import Router from '@koa/router';
import type { Middleware } from 'koa';
import { STEPS } from '../login/steps.js';
import { events } from './events.js';
import { chain, mount } from './mount.js';
import { Origins } from './origins.js';
import type { PollRoute } from './poll.js';
import type { SocketRoute } from './socket.js';
import type { TransportDeps } from './transport.js';

export interface PublicOptions {
  /** origins of pages that may poll; empty: all */
  origins: readonly string[];
  /** the built scripts */
  scripts: Scripts;
  version: string;
}

/** Scripts for pages: the client, the one for several keys, the login box, and the phone's side of it. */
export interface Scripts {
  client: string;
  'client/many': string;
  login: string;
  'login/phone': string;
}

/** A longer If-None-Match is ignored, characters. Browsers send a single ETag. */
const MAX_TAGS_LENGTH = 256;

/** The routes of the public port, for mounting in a Koa app. */
export function publicRoutes(
  poll: PollRoute,
  transport: TransportDeps,
  socket: SocketRoute,
  options: PublicOptions,
): Middleware {
  const router = new Router();
  const origins = new Origins(options.origins);

  router.get(poll.path, mount(poll));
  router.get('/status/events', events(transport));
  router.get('/status/socket', socket.refusal);
  router.options([poll.path, '/status/events'], ctx => {
    // `*` covers all headers except Authorization (Fetch standard, CORS-preflight fetch)
    ctx.set({
      'Access-Control-Allow-Methods': 'GET, HEAD',
      'Access-Control-Allow-Headers': '*, Authorization',
      'Access-Control-Max-Age': '86400',
    });
    const { origin } = ctx.headers;
    if (origins.all) ctx.set('Access-Control-Allow-Origin', '*');
    else if (origin && origins.allows(origin)) ctx.set('Access-Control-Allow-Origin', origin);
    ctx.vary('Origin');
    ctx.status = 204;
  });
  for (const [name, text] of Object.entries(options.scripts))
    serveScript(router, name, text, options.version);
  router.get('/healthz', ctx => {
    ctx.body = { code: 0, message: 'success' };
  });
  return chain(router);
}

/** Serves a script as `/name.js`, revalidated on each use, and as `/name/<version>.js`, cached for a year. */
function serveScript(router: Router, name: string, text: string, version: string): void {
  const hash = createHash('sha256').update(text).digest('base64url').slice(0, 22);
  router.get([`/${name}.js`, `/${name}/${version}.js`], ctx => {
    // exactly: the router also takes other cases, and a slash at the end
    const versioned = ctx.path === `/${name}/${version}.js`;
    ctx.set({
      'Cache-Control': versioned
        ? 'public, max-age=31536000, immutable'
        : 'public, max-age=0, must-revalidate',
      'X-Content-Type-Options': 'nosniff',
      'Cross-Origin-Resource-Policy': 'cross-origin',
      'Access-Control-Allow-Origin': '*',
      ETag: `"${hash}"`,
    });
    ctx.type = 'text/javascript';
    ctx.status = 200;
    // not for a long list: each ETag would be compared
    if (ctx.get('If-None-Match').length <= MAX_TAGS_LENGTH && ctx.fresh) ctx.status = 304;
    else ctx.body = text;
  });
}

const INTERNAL_PATHS: readonly string[] = [
  '/status/set',
  '/status/new',
  '/status/peek',
  '/nodes',
  '/live',
  '/openapi.json',
  '/metrics',
  '/readyz',
  ...STEPS.map(step => `/login/${step}`),
];

/** Answers the paths of the internal port where the public one has nothing, for backends with the wrong port. */
export const internalPaths: Middleware = (ctx, next) => {
  const path = INTERNAL_PATHS.find(known => known === ctx.path);
  if (path === undefined) return next();
  const detail = `${path}: this is the public port; backends use TAGWAIT_INTERNAL_PORT`;
  ctx.set({ 'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff' });
  ctx.status = 404;
  ctx.body = { code: 404, message: 'not found', detail };
  return undefined;
};
