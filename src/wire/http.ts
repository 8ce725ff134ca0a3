/** Requests that Node's HTTP has read: of one route on their own request and response, all others by Koa. */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { readBytes } from './bytes.js';
import { type AskedFor, type Exchange, type Fields, isFor, type Route } from './exchange.js';

/** An exchange on Node's request and response. */
export class HttpExchange implements Exchange {
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;

  constructor(request: IncomingMessage, response: ServerResponse) {
    this.#request = request;
    this.#response = response;
  }

  get url(): string {
    return this.#request.url ?? '';
  }

  get address(): string {
    return this.#request.socket.remoteAddress ?? '';
  }

  get gone(): boolean {
    return this.#response.destroyed;
  }

  /** A response behind another has no socket yet. */
  get next(): boolean {
    return this.#response.socket !== null;
  }

  header(name: AskedFor): string | undefined {
    return this.#request.headers[name] as string | undefined;
  }

  body(most: number): Promise<Buffer> {
    return readBytes(this.#request, most);
  }

  onOver(told: { over(): void }): void {
    this.#response.on('close', () => told.over());
  }

  last(): void {
    this.#response.shouldKeepAlive = false;
  }

  send(status: number, { list }: Fields, text: string): void {
    this.#response.writeHead(status, [...list, 'Content-Length', String(text.length)]);
    this.#response.end(text, 'latin1');
  }
}

/** Hands the requests of one route to it, and all others on: Koa's context, promises and router cost more than a poll. */
export function straight(
  route: Route,
  others: RequestListener,
  failed: (error: unknown) => void,
): RequestListener {
  return (request, response) => {
    const { method, url = '' } = request;
    if (!isFor(route, method, url)) return others(request, response);
    try {
      route.handle(new HttpExchange(request, response));
    } catch (error) {
      failed(error);
      response.destroy();
    }
  };
}
