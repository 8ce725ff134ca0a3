/** The options of connections, and the interface to their server. */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Route } from './exchange.js';
import type { SlowReason } from './fast-path.js';
import type { RoundRobin } from './round-robin.js';
import type { Upgrades } from './upgrades.js';

/** Timeouts are in seconds. */
export interface ConnectionOptions {
  /** the route of the fast path */
  route: Route;
  /** from the connection to the first byte of the first request */
  firstRequestTimeout: number;
  /** from the first byte of a request to the end of its head */
  headersTimeout: number;
  /** from the end of its head to the end of its body */
  requestTimeout: number;
  /** without a byte in either direction, after the first request; longer than the longest hold */
  silenceTimeout: number;
  /** Keep-Alive timeout advertised to clients; less than `silenceTimeout` */
  keepAliveHint: number;
  /** for which a client may leave a response unread */
  drainTimeout: number;
  /** Called with an unexpected error of the route. */
  failed(error: unknown): void;
  /** Called for each request that is not on the fast path. */
  onSlowPath(reason: SlowReason): void;
  /**
   * Called when a connection was closed because it sent too many bytes before a response. If omitted, pipelining is
   * allowed: reading pauses until the response is sent.
   */
  onPipelining: (() => void) | undefined;
}

/** The server of a connection. */
export interface Owner<Connection> {
  readonly all: Set<Connection>;
  readonly options: ConnectionOptions;
  /** pipelined requests of all connections, in a round-robin queue */
  readonly pipelined: RoundRobin;
  /** the server is closing: connections close after their response */
  readonly closing: boolean;
  /** for requests that change to another protocol */
  readonly upgrades: Upgrades | undefined;
  /** Passes a connection to Node's HTTP server. */
  serve(connection: Socket | Duplex): void;
}
