/** The types of the library: what `createTagwait` takes and returns. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Broker, NodeInfo, Peek, Receipt } from './brokers/broker.js';
import type { LoginCalls } from './login/calls.js';
import type { Ticket } from './protocol/ticket.js';
import type { LibraryOptions } from './settings.js';

/** A Koa middleware, typed without Koa's types, which a user of another framework does not have. */
export type Routes = (
  ctx: { req: IncomingMessage; res: ServerResponse },
  next: () => Promise<unknown>,
) => Promise<unknown>;

/**
 * A listener for the requests of `node:http`. Given a third argument, as Express does, it calls that for requests that are
 * not tagwait's; without one it answers them 404.
 */
export type Listener = (request: IncomingMessage, response: ServerResponse, next?: () => void) => void;

/** tagwait as part of your program: mount its routes, and set values without HTTP. */
export interface Tagwait {
  /**
   * `GET /status/get`, `/status/events`, `/client.js`, `/login.js`, both also with a version, and `/healthz`; for a public
   * Koa app. `/status/socket` needs `upgrade` too
   */
  publicRoutes: Routes;
  /**
   * Takes over WebSockets of `/status/socket`; for the event 'upgrade' of the public `node:http` server.
   * Example: `server.on('upgrade', (...event) => tagwait.upgrade(...event) || event[1].destroy())`
   * @returns false for other paths, of which nothing was read or written
   */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): boolean;
  /**
   * `/status/set`, `/status/new`, `/login/…`, `/status/peek`, `/nodes`, `/metrics`, `/openapi.json`, `/healthz` and
   * `/readyz`; for an internal Koa app
   */
  internalRoutes: Routes;
  /** `publicRoutes` for `node:http`, Express and other servers */
  publicListener: Listener;
  /** `internalRoutes` for `node:http`, Express and other servers */
  internalListener: Listener;
  /**
   * Stores a value and delivers it to every page that waits for the key.
   * @param value anything that JSON can represent @param options.ttl time to live of the key, s; default: `ttl`
   * @param options.receipt seconds to wait, at most 10, until a page has proved that it has taken the value
   * @returns with `receipt` also `received`
   * @throws {TypeError} invalid key, value or option @throws {Conflict} @throws {Unavailable}
   */
  set(
    key: string,
    value: unknown,
    options?: {
      ttl?: number | undefined;
      final?: boolean | undefined;
      expect?: string | undefined;
      id?: string | undefined;
      receipt?: number | undefined;
    },
  ): Promise<Receipt>;
  /** The five calls of a scan login; they need `secret`. */
  login: LoginCalls;
  /**
   * A ticket: a random key, with the proof that a page needs for polling it. Needs `secret`.
   * @param ttl how long the proof is valid, s; default: `ttl` of the settings
   * @returns `expires` in unix seconds @throws {TypeError} no secret is set, or the ttl is invalid
   */
  newTicket(ttl?: number): Ticket;
  /**
   * The entries of a key, and how many requests wait for it. Values are JSON text, `ttl` is in ms.
   * @throws {TypeError} invalid key @throws {Unavailable}
   */
  peek(key: string): Promise<Peek>;
  nodes(): Promise<NodeInfo[]>;
  /**
   * Answers every held and every later request with `moved`.
   * @param seconds range of the random retry delays; default: `drain` of the settings @throws {TypeError} invalid number
   */
  drain(seconds?: number): void;
  close(): Promise<void>;
}

export interface Options extends LibraryOptions {
  /** your own broker, not started, instead of Redis and the embedded store; see docs/brokers.md */
  broker?: Broker | undefined;
}
