/** Dispatches requests that Node's HTTP server has read: to the port's route, all others to Koa. */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Limits } from '../limits.js';
import { readBytes } from './bytes.js';
import { retryEventSource } from './event-source.js';
import {
  type CloseListener,
  type Exchange,
  type HeaderBlock,
  isFor,
  type KnownHeader,
  type Route,
} from './exchange.js';
import { Relay } from './relay.js';
import { hasTwoHosts, malformed, toOriginForm } from './target.js';

/** An exchange with Node's request and response. */
export class HttpExchange implements Exchange {
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;

  constructor(request: IncomingMessage, response: ServerResponse) {
    this.#request = request;
    this.#response = response;
  }

  get method(): string {
    return this.#request.method as string;
  }

  get url(): string {
    return this.#request.url as string;
  }

  get address(): string {
    return this.#request.socket.remoteAddress ?? '';
  }

  get closed(): boolean {
    return this.#response.destroyed;
  }

  /** A pipelined response has no socket until it is its turn. */
  get headOfLine(): boolean {
    return this.#response.socket !== null;
  }

  header(name: KnownHeader): string | undefined {
    return this.#request.headers[name] as string | undefined;
  }

  body(most: number): Promise<Buffer> {
    return readBytes(this.#request, most);
  }

  onClose(listener: CloseListener): void {
    const connection: unknown = this.#request.socket;
    if (connection instanceof Relay) connection.endWithClient();
    if (this.#response.closed) listener.onClose();
    else this.#response.once('close', () => listener.onClose());
  }

  closeAfterResponse(): void {
    this.#response.setHeader('Connection', 'close');
  }

  send(status: number, { list }: HeaderBlock, text: string): void {
    this.#response.writeHead(status, [...list, 'Content-Length', String(text.length)]);
    this.#response.end(text, 'latin1');
  }
}

/** Whether a request is admitted. If not, it has been answered. */
export type Admit = (request: IncomingMessage, response: ServerResponse) => boolean;

/**
 * Calls the route for its requests and the listener for all others: Koa's context, promises and router cost more than a
 * poll.
 * @param admit called for each of the others before it is read; the route counts its own requests
 */
export function dispatch(
  route: Route,
  others: RequestListener,
  failed: (error: unknown) => void,
  admit: Admit = () => true,
): RequestListener {
  return (request, response) => {
    toOriginForm(request);
    const { method, url } = request;
    if (!isFor(route, method, url as string) || hasTwoHosts(request.rawHeaders)) {
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

/** The rate limit per address: counts each request, and answers those above the limit with 429. */
export function limited(limits: Limits): Admit {
  return (request, response) => {
    const { headers, socket } = request;
    const forwarded = headers['x-forwarded-for'] as string | undefined;
    const wait = limits.request(limits.networkOf(socket.remoteAddress ?? '', forwarded));
    if (wait === 0) return true;
    if (retryEventSource(request, response, 'busy', wait)) return false;
    response.setHeader('Retry-After', Math.ceil(wait / 1000));
    refuse(request, response, 429, tooMany(wait));
    return false;
  };
}

/** Answers in plain text. @param text ASCII only */
function refuse(
  { headers }: IncomingMessage,
  response: ServerResponse,
  status: 400 | 414 | 429,
  text: string,
): void {
  // closes the connection instead of reading a body
  if (headers['content-length'] ?? headers['transfer-encoding']) response.setHeader('Connection', 'close');
  response.writeHead(status, {
    'Content-Type': 'text/plain; charset=utf-8',
    'Content-Length': text.length,
    'X-Content-Type-Options': 'nosniff',
    'Cache-Control': 'no-store',
  });
  response.end(text);
}

/** The text of a 429 answer. @param wait ms */
export const tooMany = (wait: number) => `busy: ask again after ${Math.round(wait)} ms\n`;
