/** Requests that skip Koa: the two that all the others wait behind. */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';

/** A route on Node's own request and response. */
export interface Route {
  readonly method: string;
  readonly path: string;
  handle(request: IncomingMessage, response: ServerResponse): void;
}

/**
 * Hands the requests of one route to it, and all others on. A poll or a set costs less than Koa's context, promises
 * and router do, and a held request would keep all of these alive (bench/README.md has the figures).
 */
export function straight(
  route: Route,
  others: RequestListener,
  failed: (error: unknown) => void,
): RequestListener {
  const asked = `${route.path}?`;
  return (request, response) => {
    const { method, url = '' } = request;
    if (method !== route.method || (url !== route.path && !url.startsWith(asked)))
      return others(request, response);
    try {
      route.handle(request, response);
    } catch (error) {
      failed(error);
      response.destroy();
    }
  };
}
