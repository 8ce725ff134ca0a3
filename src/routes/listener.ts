/** Routes as a request listener, for servers that are not Koa apps. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import Koa, { type Middleware } from 'koa';

/** @param failed called with errors that no route expects; the client then gets 500 */
export function listenerOf(routes: Middleware, failed: (error: unknown) => void) {
  const waiting = new WeakMap<IncomingMessage, (() => void) | undefined>();
  const app = new Koa();
  app.on('error', failed);
  app.use(routes);
  app.use(ctx => {
    const next = waiting.get(ctx.req);
    if (!next) return;
    ctx.respond = false;
    ctx.res.statusCode = 200; // Koa has set 404
    next();
  });
  const handle = app.callback();
  return (request: IncomingMessage, response: ServerResponse, next?: () => void): void => {
    waiting.set(request, next);
    void handle(request, response);
  };
}
