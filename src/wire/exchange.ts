/** A request with the way back for its answer, whoever read it off the wire: `plain.ts`, or Node's HTTP. */

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
  /** of who is at the other end of the connection; '' once it is closed */
  readonly address: string;
  /** nobody is there to be answered */
  readonly gone: boolean;
  /** its answer is the connection's next; one behind another must not be held, since nothing tells when its page goes */
  readonly next: boolean;
  /** A field of the request; only while it is being handed to its route. */
  header(name: AskedFor): string | undefined;
  /** All bytes of the request's body. @param most how many are allowed @throws {Unread} perhaps by its promise */
  body(most: number): Buffer | Promise<Buffer>;
  /** @param told of the end, once: it was answered, or its client has gone; now, if that has been */
  onOver(told: { over(): void }): void;
  /** The connection is closed with this answer. */
  last(): void;
  /** Answers; nothing happens when the client has gone. @param text ASCII alone */
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
