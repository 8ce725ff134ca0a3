/** Requests that Node's HTTP has read: of one route on their own request and response, all others by Koa. */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Limits } from '../limits.js';
import { readBytes } from './bytes.js';
import { type AskedFor, type Exchange, type Fields, isFor, type Route } from './exchange.js';
import { Relay } from './relay.js';

/** An exchange on Node's request and response. */
export class HttpExchange implements Exchange {
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;

  constructor(request: IncomingMessage, response: ServerResponse) {
    this.#request = request;
    this.#response = response;
  }

  get method(): string {
    return this.#request.method ?? '';
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

  onOver(listener: { over(): void }): void {
    const connection: unknown = this.#request.socket;
    if (connection instanceof Relay) connection.endWithClient();
    this.#response.on('close', () => listener.over());
  }

  last(): void {
    this.#response.setHeader('Connection', 'close');
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

/** Counts each request for its address, and answers those that are too many, before anything else is read of them. */
export function limited(limits: Limits, others: RequestListener): RequestListener {
  return (request, response) => {
    const { headers, socket } = request;
    const forwarded = headers['x-forwarded-for'] as string | undefined;
    const wait = limits.request(limits.networkOf(socket.remoteAddress ?? '', forwarded));
    if (wait === 0) return others(request, response);
    // a body is not worth reading
    if (headers['content-length'] ?? headers['transfer-encoding']) response.setHeader('Connection', 'close');
    const text = tooMany(wait);
    response.writeHead(429, {
      'Content-Type': 'text/plain; charset=utf-8',
      'Content-Length': text.length,
      'X-Content-Type-Options': 'nosniff',
      'Cache-Control': 'no-store',
      'Retry-After': Math.ceil(wait / 1000),
    });
    response.end(text);
  };
}

/** In plain text. @param wait milliseconds */
export const tooMany = (wait: number) => `busy: ask again after ${Math.round(wait)} ms\n`;
