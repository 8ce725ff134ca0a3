/** tagwait inside another program: what `createTagwait` gives and takes. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Broker, NodeInfo, Peek, Receipt } from './brokers/broker.js';
import type { LoginCalls } from './login/calls.js';
import type { Ticket } from './protocol/ticket.js';
import type { LibraryOptions } from './settings.js';

/** A Koa middleware, in words that need no types of Koa: who mounts it elsewhere, or in JavaScript, has none. */
export type Routes = (
  ctx: { req: IncomingMessage; res: ServerResponse },
  next: () => Promise<unknown>,
) => Promise<unknown>;

/** tagwait inside a program of yours: mount the routes where you like, and set without HTTP. */
export interface Tagwait {
  /** `GET /status/get`, `/client.js`, `/login.js` and those of a version, `/healthz`; for a Koa app that pages reach */
  publicRoutes: Routes;
  /** `/status/set`, `/status/new`, `/login/…`, `/status/peek`, `/nodes`, `/metrics`, `/openapi.json`, `/healthz`, `/readyz`; for one they do not */
  internalRoutes: Routes;
  /**
   * Stores a value and hands it to every page that waits for it.
   * @param value anything JSON can say @param options.ttl seconds the key is kept from now
   * @throws {TypeError} no page could ask for the key, or the value cannot be stored @throws {Conflict} @throws {Unavailable}
   */
  set(
    key: string,
    value: unknown,
    options?: { ttl?: number; final?: boolean; expect?: string; id?: string },
  ): Promise<Receipt>;
  /** The five calls of a scan login; they need `secret`. */
  login: LoginCalls;
  /**
   * A random key with the proof that lets a page watch it, for use with `secret`.
   * @param ttl seconds the proof is good for, `ttl` of the settings by default
   * @returns `expires` in unix seconds @throws {TypeError} no secret is set, or this is no ttl
   */
  newTicket(ttl?: number): Ticket;
  /**
   * What is kept under a key, and how many requests wait for it; values as JSON text, `ttl` in milliseconds.
   * @throws {TypeError} no page could ask for the key @throws {Unavailable}
   */
  peek(key: string): Promise<Peek>;
  nodes(): Promise<NodeInfo[]>;
  /**
   * Answers every held request, and all later ones, `moved`.
   * @param seconds over which pages are told to come back, `drain` of the settings by default @throws {TypeError} no such number
   */
  drain(seconds?: number): void;
  close(): Promise<void>;
}

export interface Options extends LibraryOptions {
  /** a store of your own, not yet started, in place of the embedded one and Redis; see docs/brokers.md */
  broker?: Broker;
}
