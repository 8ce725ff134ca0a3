/** A request with the means to answer it, whether it was read by the fast path or by Node's HTTP server. */

/** Response headers that many answers share, formatted once. */
export class Fields {
  /** name, value, name, value … */
  readonly list: readonly string[];
  /** formatted for the head of a response */
  readonly lines: string;

  /** @param fields constant texts; never text of a request, which could contain a line break */
  constructor(fields: Record<string, string>) {
    this.list = Object.entries(fields).flat();
    this.lines = Object.entries(fields)
      .map(([name, value]) => `${name}: ${value}\r\n`)
      .join('');
  }
}

/** The request headers that tagwait reads. */
export const ASKED_FOR = [
  'authorization',
  'connection',
  'content-encoding',
  'content-length',
  'content-type',
  'host',
  'origin',
  'referer',
  'sec-fetch-dest',
  'sec-fetch-mode',
  'sec-fetch-site',
  'transfer-encoding',
  'x-forwarded-for',
] as const;
export type AskedFor = (typeof ASKED_FOR)[number];

export interface Exchange {
  /** GET, POST or HEAD; only while its route is called */
  readonly method: string;
  /** the request target as it was sent; only while its route is called */
  readonly url: string;
  /** address of the peer; '' once the connection is closed */
  readonly address: string;
  /** The client has disconnected. */
  readonly gone: boolean;
  /**
   * False for a pipelined request that waits behind another response. Do not hold it: its disconnect cannot be
   * detected.
   */
  readonly next: boolean;
  /** A request header; only while its route is called. */
  header(name: AskedFor): string | undefined;
  /** The body of the request. @param most limit in bytes @throws {Unread} or rejects with it */
  body(most: number): Buffer | Promise<Buffer>;
  /**
   * Calls the listener once, when the response was sent or the client disconnected; immediately if that already
   * happened. With a listener, a client that ends its side of the connection counts as disconnected, as a page that
   * leaves does. Without one it is answered, as a backend that ends its side expects.
   */
  onOver(listener: { over(): void }): void;
  /** Closes the connection after the response. */
  last(): void;
  /** Sends the response; does nothing after a disconnect. @param text ASCII only */
  send(status: number, fields: Fields, text: string): void;
}

/** Handles the requests of one method and path. */
export interface Route {
  readonly method: string;
  readonly path: string;
  handle(exchange: Exchange): void;
}

/** Whether a request is for this route. HEAD is for the route of GET. @param url request target */
export const isFor = (route: Route, method: string | undefined, url: string) =>
  (method === route.method || (method === 'HEAD' && route.method === 'GET')) &&
  url.startsWith(route.path) &&
  (url.length === route.path.length || url[route.path.length] === '?');
