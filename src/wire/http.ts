/** Requests that Node's HTTP has read: of one route on their own request and response, all others by Koa. */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Limits } from '../limits.js';
import { readBytes } from './bytes.js';
import { type AskedFor, type Exchange, type Fields, isFor, type Route } from './exchange.js';
import { Relay } from './relay.js';
import { hasTwoHosts, malformed, toOriginForm } from './target.js';

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

/** Decides whether a request is answered at all; answers it itself where not. */
export type Admit = (request: IncomingMessage, response: ServerResponse) => boolean;

/**
 * Hands the requests of one route to it, and all others on: Koa's context, promises and router cost more than a poll.
 * @param admit is asked for each of the others, before anything is read of them; the route counts its own
 */
export function straight(
  route: Route,
  others: RequestListener,
  failed: (error: unknown) => void,
  admit: Admit = () => true,
): RequestListener {
  return (request, response) => {
    toOriginForm(request);
    const { method, url = '' } = request;
    if (!isFor(route, method, url) || hasTwoHosts(request.rawHeaders)) {
      if (!admit(request, response)) return;
      const fault = malformed(request);
      if (!fault) return others(request, response);
      return refuse(request, response, fault.status, `${fault.detail}\n`);
    }
    try {
      route.handle(new HttpExchange(request, response));
    } catch (error) {
      failed(error);
      response.destroy();
    }
  };
}

/** Counts each request for its address, and answers those that are too many. */
export function limited(limits: Limits): Admit {
  return (request, response) => {
    const { headers, socket } = request;
    const forwarded = headers['x-forwarded-for'] as string | undefined;
    const wait = limits.request(limits.networkOf(socket.remoteAddress ?? '', forwarded));
    if (wait === 0) return true;
    response.setHeader('Retry-After', Math.ceil(wait / 1000));
    refuse(request, response, 429, tooMany(wait));
    return false;
  };
}

/** In plain text. @param text ASCII alone */
function refuse(
  { headers }: IncomingMessage,
  response: ServerResponse,
  status: 400 | 414 | 429,
  text: string,
): void {
  // a body is not worth reading
  if (headers['content-length'] ?? headers['transfer-encoding']) response.setHeader('Connection', 'close');
  response.writeHead(status, {
    'Content-Type': 'text/plain; charset=utf-8',
    'Content-Length': text.length,
    'X-Content-Type-Options': 'nosniff',
    'Cache-Control': 'no-store',
  });
  response.end(text);
}

/** In plain text. @param wait milliseconds */
export const tooMany = (wait: number) => `busy: ask again after ${Math.round(wait)} ms\n`;
