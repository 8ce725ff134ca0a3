/** The wire without a network: connections whose clients the test plays, and a route that it answers by hand. */
import { createServer, type RequestListener, type Server } from 'node:http';
import { Duplex } from 'node:stream';
import { Connections } from '../../src/wire/connections.js';
import { type Exchange, HeaderBlock } from '../../src/wire/exchange.js';
import { dispatch } from '../../src/wire/http.js';
import type { ConnectionOptions } from '../../src/wire/options.js';
import { Relay } from '../../src/wire/relay.js';
import type { Upgrades } from '../../src/wire/upgrades.js';
import { request } from '../raw.js';
import { until } from '../wait.js';

/** The server's end of a connection. */
export class Line extends Duplex {
  /** what the client was sent so far */
  text = '';
  timeout = 0;
  /** the client does not read: set by `stall` */
  #stalled = false;
  #unread: (() => void)[] = [];

  get remoteAddress(): string | undefined {
    return this.destroyed ? undefined : '127.0.0.1';
  }

  /** The client sends these bytes. */
  send(bytes: string): void {
    this.push(Buffer.from(bytes, 'latin1'));
  }

  /** The client ends its side. */
  leave(): void {
    this.push(null);
  }

  /** The client stops to read: what is sent from now on is not delivered. */
  stall(): void {
    this.#stalled = true;
  }

  readOn(): void {
    this.#stalled = false;
    for (const done of this.#unread.splice(0)) done();
  }

  setTimeout(ms: number): this {
    this.timeout = ms;
    return this;
  }
  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once('finish', () => this.destroy());
  }
  override _read(): void {}
  override _write(chunk: Buffer, _: string, done: () => void): void {
    this.text += chunk.toString('latin1');
    if (this.#stalled) this.#unread.push(done);
    else done();
  }
}

/** Options that nothing happens by. Seconds. */
export const CALM = {
  firstRequestTimeout: 11,
  headersTimeout: 12,
  requestTimeout: 13,
  silenceTimeout: 14,
  keepAliveHint: 7,
  drainTimeout: 15,
  onPipelining: undefined,
};

/** A request as the route was given it. */
export interface Asked {
  exchange: Exchange;
  method: string;
  url: string;
}

export interface Wired {
  server: Server;
  connections: Connections;
  /** the requests of the route, in their order */
  asked: Asked[];
  /** URLs of the requests that are not of the route */
  others: string[];
  /** reasons of requests that are not on the fast path */
  slow: string[];
  errors: unknown[];
  /** A client connects, and sends. */
  connect(bytes?: string): Line;
}

export const PATH = '/a';
export const NONE = new HeaderBlock({});

/**
 * Connections of an HTTP server that does not listen. The route of `/a` answers `/a?now` at once, throws for `/a?throw`,
 * and leaves all other requests to the test; other paths are answered with their URL, `/never` is not.
 */
export function wired({
  method = 'GET',
  upgrades,
  handled = () => {},
  ...own
}: Partial<ConnectionOptions> & {
  method?: 'GET' | 'POST';
  upgrades?: Upgrades;
  /** called while the route is */
  handled?: (exchange: Exchange) => void;
} = {}): Wired {
  const asked: Asked[] = [];
  const others: string[] = [];
  const slow: string[] = [];
  const errors: unknown[] = [];
  const route = {
    method,
    path: PATH,
    handle: (exchange: Exchange) => {
      asked.push({ exchange, method: exchange.method, url: exchange.url });
      handled(exchange);
      if (exchange.url === '/a?throw') throw new Error('of the route');
      if (exchange.url === '/a?now') exchange.send(200, NONE, 'now');
    },
  };
  const failed = (error: unknown) => void errors.push(error);
  const listener: RequestListener = (request, response) => {
    others.push(request.url as string);
    request.resume();
    if (request.url !== '/never') response.end(request.url);
  };
  const server = createServer();
  Relay.serve(server, dispatch(route, listener, failed));
  const onSlowPath = (reason: string) => void slow.push(reason);
  const connections = new Connections(server, { ...CALM, route, failed, onSlowPath, ...own }, upgrades);
  const connect = (bytes = '') => {
    const line = new Line();
    server.emit('connection', line);
    if (bytes) line.send(bytes);
    return line;
  };
  return { server, connections, asked, others, slow, errors, connect };
}

/** Turns of the event loop in which everything happens that needs no time: for what must not happen. */
export async function turns(count = 12): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(setImmediate);
}

/** Waits for a condition that needs turns of the event loop, and no time. */
export const soon = <T>(condition: () => T) => until(condition, { every: 1, within: 10_000 });

export const get = (target = PATH, headers: string[] = []) => request(target, headers);
export const post = (target: string, body: string, headers: string[] = []) =>
  request(target, [`Content-Length: ${body.length}`, ...headers], 'POST') + body;
/** The same header twice: Node's HTTP server reads it, and nothing else changes. */
export const TWICE = ['Referer: a', 'Referer: b'];
