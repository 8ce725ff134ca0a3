/** A request with the means to answer it, whether it was read by the fast path or by Node's HTTP server. */

/** Response headers that many answers share, formatted once. */
export class HeaderBlock {
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
export const KNOWN_HEADERS = [
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
export type KnownHeader = (typeof KNOWN_HEADERS)[number];

/** Is called once when a response was sent or its client disconnected. An object, so that a held request needs no closure. */
export interface CloseListener {
  onClose(): void;
}

export interface Exchange {
  /** GET, POST or HEAD; only while its route is called */
  readonly method: string;
  /** the request target as it was sent; only while its route is called */
  readonly url: string;
  /** address of the peer; '' once the connection is closed */
  readonly address: string;
  /** The client has disconnected. */
  readonly closed: boolean;
  /**
   * False for a pipelined request that waits behind another response. Do not hold it: its disconnect cannot be
   * detected.
   */
  readonly headOfLine: boolean;
  /** A request header; only while its route is called. */
  header(name: KnownHeader): string | undefined;
  /** The body of the request. @param most limit in bytes @throws {BodyError} or rejects with it */
  body(most: number): Buffer | Promise<Buffer>;
  /**
   * Calls the listener once, when the response was sent or the client disconnected; immediately if that already
   * happened. With a listener, a client that ends its side of the connection counts as disconnected, as a page that
   * leaves does. Without one it is answered, as a backend that ends its side expects.
   */
  onClose(listener: CloseListener): void;
  /** Closes the connection after the response. */
  closeAfterResponse(): void;
  /** Sends the response; does nothing after a disconnect. @param text ASCII only */
  send(status: number, fields: HeaderBlock, text: string): void;
}

/** Handles the requests of one method and path. */
export interface Route {
  readonly method: string;
  readonly path: string;
  handle(exchange: Exchange): void;
}

/** Whether a request is for this route. HEAD is for the route of GET. @param url request target */
export const isFor = (route: Pick<Route, 'method' | 'path'>, method: string | undefined, url: string) =>
  (method === route.method || (method === 'HEAD' && route.method === 'GET')) &&
  url.startsWith(route.path) &&
  (url.length === route.path.length || url[route.path.length] === '?');
