/** Mounts routes in a Koa app. */
import type Router from '@koa/router';
import type { Middleware } from 'koa';
import type { Route } from '../wire/exchange.js';
import { HttpExchange } from '../wire/http.js';

/** A route as a Koa middleware. It writes the response itself, without Koa. */
export function mount(route: Route): Middleware {
  return ctx => {
    ctx.respond = false;
    route.handle(new HttpExchange(ctx.req, ctx.res));
  };
}

/** The routes of a router, with 405 and 501 for other methods. */
export function chain(router: Router): Middleware {
  const routes = router.routes() as unknown as Middleware;
  const allowed = router.allowedMethods() as unknown as Middleware;
  return (ctx, next) => routes(ctx, () => allowed(ctx, next));
}
