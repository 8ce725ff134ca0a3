/** How routes become part of a Koa app. */
import type Router from '@koa/router';
import type { Middleware } from 'koa';
import type { Route } from '../wire/exchange.js';
import { HttpExchange } from '../wire/http.js';

/** A route that answers by itself: Koa leaves the response alone. */
export function mount(route: Route): Middleware {
  return ctx => {
    ctx.respond = false;
    route.handle(new HttpExchange(ctx.req, ctx.res));
  };
}

/** A router's routes, with 405 and 501 for methods that they do not have. */
export function chain(router: Router): Middleware {
  const routes = router.routes() as unknown as Middleware;
  const allowed = router.allowedMethods() as unknown as Middleware;
  return (ctx, next) => routes(ctx, () => allowed(ctx, next));
}
