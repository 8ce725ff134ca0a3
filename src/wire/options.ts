/** What connections need from their server. */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Route } from './exchange.js';
import type { SlowReason } from './fast-path.js';
import type { Turns } from './turns.js';

/** Times in seconds. */
export interface ConnectionOptions {
  /** the route of the fast path */
  route: Route;
  /** until the first byte of the first request */
  firstRequestTimeout: number;
  /** from the first byte of a request to the end of its head */
  headersTimeout: number;
  /** from the end of its head to the end of its body */
  requestTimeout: number;
  /** without a byte either way, after the first request; longer than a response may have to wait */
  silenceTimeout: number;
  /** Keep-Alive timeout advertised to clients; less than `silenceTimeout` */
  keepAliveHint: number;
  /** for which a response may lie unread */
  drainTimeout: number;
  /** Is called with an error that the route did not expect. */
  failed(error: unknown): void;
  /** Is called for each request that is not on the fast path. */
  onSlowPath(reason: SlowReason): void;
  /**
   * Is called when a connection was closed because it sent too much before a response. If omitted, pipelining is allowed:
   * reading pauses until the response is sent.
   */
  onPipelining: (() => void) | undefined;
}

/** The server of a connection. */
export interface Owner<Connection> {
  readonly all: Set<Connection>;
  readonly options: ConnectionOptions;
  /** Pipelined requests of all connections, waiting for their turn. */
  readonly pipelined: Turns;
  /** Connections are closed after their response. */
  readonly closing: boolean;
  /** The server takes upgrades: such a request takes its connection along. */
  readonly upgrades: boolean;
  /** Gives a connection to Node's HTTP. */
  serve(connection: Socket | Duplex): void;
}
