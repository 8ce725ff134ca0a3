/** A listening port: the fast path in front of Node's HTTP server, with timeouts and connection limits. */
import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Limits } from '../limits.js';
import { reachable, withoutBrackets } from '../loopback.js';
import { network } from '../network.js';
import { Connections } from './connections.js';
import type { Route } from './exchange.js';
import { HEADER_BYTES, type SlowReason } from './fast-path.js';
import { type Admit, dispatch, limited } from './http.js';
import { Relay } from './relay.js';
import { type SharedSocket, share } from './shared.js';
import { type UpgradeRoute, Upgrades } from './upgrades.js';

/**
 * Timeout for all headers, and for their first byte, s. A browser sends them in one packet; 10 s covers two lost ones.
 */
const HEADERS_SECONDS = 10;
/** Timeout for a complete request, s. Backends send some MB at most, from nearby. */
const REQUEST_SECONDS = 15;
/** Keep-alive timeout, s. Longer than the 60 s of most load balancers, so that they close idle connections first. */
const KEEP_ALIVE_SECONDS = 65;
/** Connections stay open this much longer than advertised, s, for a request that is sent at the last moment. */
const GRACE_SECONDS = 2;
/** How often Node checks the timeouts, s. Short, so that connections opened together are not all closed in one tick. */
const CHECK_SECONDS = 0.25;
/**
 * Listen backlog; the kernel limits it to net.core.somaxconn. With Node's default of 511, the kernel drops SYN packets
 * when many pages reconnect at once, and their clients retry after 1, 3 and 7 s.
 */
const BACKLOG = 4096;
/** A server with more than this share of its connections in use closes idle ones. */
const CROWDED = 0.9;
/** At most one such clearing in this time, ms. */
const CLEAR_INTERVAL = 500;

/** A client that reads nothing for this long counts as stalled, s; for a socket timeout the longest hold is added. */
const SILENCE_SECONDS = 10;
/** Longest wait for a response on the internal port, s: more than the command timeout of ioredis. */
const STORE_SECONDS = 30;
/** Why the server closed a connection. */
export const CUTS = ['address', 'full', 'pipelining', 'gave_way', 'internal_full'] as const;
export type Cut = (typeof CUTS)[number];

export interface PortOptions {
  /** handles its requests without Koa, most of them on the fast path */
  route: Route;
  /** handles all other requests */
  others: RequestListener;
  /** called with an unexpected error of the route */
  failed(error: unknown): void;
  /** called for each request that is not on the fast path */
  onSlowPath(reason: SlowReason): void;
  /** limit of connections */
  connections: number;
  /** changes to another protocol */
  upgrade?: UpgradeRoute;
  /** called when the server closes a connection that the client may still want */
  onCut(cut: Cut): void;
}

export interface PublicPortOptions extends PortOptions {
  limits: Limits;
  /** longest hold, s */
  hold: number;
}

export class Port {
  readonly #server: Server;
  readonly #connections: Connections;

  /** @param waits longest wait of a request for its response, s @param own options of one kind of port */
  constructor(waits: number, options: PortOptions, own: { admit?: Admit; onPipelining?: () => void } = {}) {
    const { route, others, failed, onSlowPath, upgrade } = options;
    const { onPipelining } = own;
    const silence = waits + SILENCE_SECONDS;
    this.#server = createHttpServer(silence);
    Relay.serve(this.#server, dispatch(route, others, failed, own.admit));
    this.#connections = new Connections(
      this.#server,
      { route, failed, onSlowPath, onPipelining, ...timeoutsOf(waits) },
      upgrade && new Upgrades(createHttpServer(silence), upgrade),
    );
  }

  /** @param listener called with each connection before a byte is read; it may destroy the connection */
  onConnection(listener: (socket: Socket) => void): void {
    this.#server.prependListener('connection', listener);
  }

  /**
   * @param shared the listening socket, if several processes accept from one
   * @returns the URL by which this machine reaches the port @throws errors of listening, such as EADDRINUSE
   */
  async listen(host: string, port: number, shared?: SharedSocket): Promise<string> {
    const server = this.#server;
    const name = withoutBrackets(host);
    if (shared) await share(server, shared, BACKLOG, () => this.#connections.closing);
    else await once(server.listen({ host: name, port, backlog: BACKLOG }), 'listening');
    return `http://${reachable(name)}:${(server.address() as AddressInfo).port}`;
  }

  /** Whether there is any connection. */
  connected(): Promise<boolean> {
    return new Promise(resolve =>
      this.#server.getConnections((error, count) => resolve(!error && count > 0)),
    );
  }

  /** Closes one connection, by `evictionPriority`. @returns false if there is none */
  makeRoom(): boolean {
    return this.#connections.makeRoom();
  }

  /** Closes idle connections. */
  closeIdle(): void {
    this.#connections.closeIdle();
  }

  /** Stops listening. Resolves when the last connection is closed. */
  close(): Promise<void> {
    return new Promise(resolve => {
      this.#connections.closing = true;
      this.#server.close(() => resolve());
      this.closeIdle();
    });
  }

  /** Closes all connections, also those with a request. */
  destroyAll(): void {
    this.#connections.closeAll();
    this.#server.closeAllConnections();
  }
}

/** @param waits longest wait of a request for its response, s */
export const timeoutsOf = (waits: number) => ({
  firstRequestTimeout: HEADERS_SECONDS,
  headersTimeout: HEADERS_SECONDS,
  requestTimeout: REQUEST_SECONDS,
  silenceTimeout: Math.max(waits + SILENCE_SECONDS, KEEP_ALIVE_SECONDS + GRACE_SECONDS),
  keepAliveHint: KEEP_ALIVE_SECONDS,
  drainTimeout: SILENCE_SECONDS,
});

/**
 * Node's HTTP server with timeouts. Two defaults of Node are wanted: no limit of requests per connection, because a page
 * polls on one, and `noDelay`, because an answer is one small write.
 * @param silence timeout of sockets without a byte in either direction, s
 */
function createHttpServer(silence: number): Server {
  return createServer({
    maxHeaderSize: HEADER_BYTES,
    headersTimeout: HEADERS_SECONDS * 1000,
    requestTimeout: REQUEST_SECONDS * 1000,
    keepAliveTimeout: KEEP_ALIVE_SECONDS * 1000,
    connectionsCheckingInterval: CHECK_SECONDS * 1000,
    // against request smuggling: refuse bytes that other servers read differently
    insecureHTTPParser: false,
    requireHostHeader: true,
  }).setTimeout(silence * 1000);
}

/** The port for pages. */
export function publicPort(options: PublicPortOptions): Port {
  const { limits, connections, hold, onCut } = options;
  // a held request is silent for its hold
  const port = new Port(hold, options, {
    admit: limited(limits),
    onPipelining: () => onCut('pipelining'),
  });
  let cleared = Number.NEGATIVE_INFINITY;
  const clear = () => {
    if (performance.now() - cleared < CLEAR_INTERVAL) return;
    cleared = performance.now();
    port.closeIdle();
  };
  port.onConnection(socket => {
    if (socket.destroyed) return;
    const from = network(socket.remoteAddress ?? '');
    if (!limits.connect(from)) {
      onCut('address');
      socket.destroy();
      return;
    }
    socket.on('close', () => limits.disconnect(from));
    if (limits.connections > connections * CROWDED) clear();
  });
  bound(port, connections, () => {
    onCut('full');
    clear();
    return false;
  });
  return port;
}

/**
 * 1/16 more connections than sets in flight, so that health and metrics are answered while all sets wait for the store.
 */
const SPARE_SHARE = 16;

/**
 * The port for backends and operators. Has its own descriptors, so that it works while the public port is full. If it
 * is full itself, a new connection replaces one that is idle, slow or held.
 */
export function internalPort(options: PortOptions): Port {
  const { connections, onCut } = options;
  const port = new Port(STORE_SECONDS, options);
  bound(port, connections + Math.ceil(connections / SPARE_SHARE), () => {
    const room = port.makeRoom();
    onCut(room ? 'gave_way' : 'internal_full');
    return room;
  });
  return port;
}

/**
 * Closes connections beyond a limit, unless `onFull` makes room. Not with `maxConnections`: in a cluster, Node 20
 * passes a connection from a full worker to the next, and if all are full, in a busy loop.
 */
function bound(port: Port, connections: number, onFull: () => boolean): void {
  let open = 0;
  port.onConnection(socket => {
    if (open >= connections && !onFull()) return void socket.destroy();
    open++;
    socket.on('close', () => {
      open--;
    });
  });
}
