/** A request and the way to answer it, whether the fast path has read it or Node's HTTP. */

/** Header fields that are the same for many answers, made ready once for both ways of sending them. */
export class Fields {
  /** name, value, name, value … */
  readonly list: readonly string[];
  /** as they stand in an answer's head */
  readonly lines: string;

  /** @param fields texts of our own, never of a request */
  constructor(fields: Record<string, string>) {
    this.list = Object.entries(fields).flat();
    this.lines = Object.entries(fields)
      .map(([name, value]) => `${name}: ${value}\r\n`)
      .join('');
  }
}

/** Header fields of a request that anything here is decided by. */
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
  /** GET, POST or, for a GET whose answer is to have no body, HEAD; only while it is being handed to its route */
  readonly method: string;
  /** the request's target as it was sent */
  readonly url: string;
  /** of the client; '' once its connection is closed */
  readonly address: string;
  /** The client has disconnected. */
  readonly gone: boolean;
  /** False for a pipelined request that waits behind another response. Do not hold it: its disconnect cannot be detected. */
  readonly next: boolean;
  /** A field of the request; only while it is being handed to its route. */
  header(name: AskedFor): string | undefined;
  /** All bytes of the request's body. @param most how many are allowed @throws {Unread} perhaps by its promise */
  body(most: number): Buffer | Promise<Buffer>;
  /**
   * Calls the listener once, when the response was sent or the client disconnected; immediately if that already happened.
   * With a listener, a client that ends its side of the connection counts as disconnected: so do pages that leave. Without
   * one it is answered, as a backend that ends its side expects.
   */
  onOver(listener: { over(): void }): void;
  /** Closes the connection after the response. */
  last(): void;
  /** Sends the response; does nothing after a disconnect. @param text ASCII alone */
  send(status: number, fields: Fields, text: string): void;
}

/** What answers the requests of one method and path. */
export interface Route {
  readonly method: string;
  readonly path: string;
  handle(exchange: Exchange): void;
}

/** Whether a request is for this route; HEAD is for the route of GET. @param url its target */
export const isFor = (route: Route, method: string | undefined, url: string) =>
  (method === route.method || (method === 'HEAD' && route.method === 'GET')) &&
  url.startsWith(route.path) &&
  (url.length === route.path.length || url[route.path.length] === '?');
