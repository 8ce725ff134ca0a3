/** A port: plain requests read in front, Node's HTTP behind, and what a client may do to either, and for how long. */
import { createServer, type RequestListener, type Server } from 'node:http';
import { type AddressInfo, isIPv6, type Socket } from 'node:net';
import type { Limits } from '../limits.js';
import { network } from '../network.js';
import { Connections } from './connections.js';
import type { Route } from './exchange.js';
import { HEADER_BYTES, type SlowReason } from './fast-path.js';
import { type Admit, limited, straight } from './http.js';
import { Relay } from './relay.js';

/** Seconds to send all headers, or the first byte of them: a page sends its own in one packet; 10 covers two lost ones. */
const HEADERS_SECONDS = 10;
/** Seconds to send a whole request. Backends send at most some MB, from nearby; a held poll was sent long ago. */
const REQUEST_SECONDS = 15;
/** Longer than the 60 s after which balancers drop their idle connections, so that it is they who do. */
const KEEP_ALIVE_SECONDS = 65;
/** Connections stay open for longer than responses say, for a request that is sent at the last moment. */
const GRACE_SECONDS = 2;
/** How far the deadlines above may be overrun. Often, so that a crowd that came at once is not closed at once. */
const CHECK_SECONDS = 0.25;
/**
 * Connections that the kernel may keep until the server takes them, as far as it allows (net.core.somaxconn). With
 * Node's 511, a crowd that comes back has the others' first packets dropped, and they wait 1, 3 and 7 s to send again.
 */
const BACKLOG = 4096;
/** With this share of its connections in use, a server closes those that nobody asks on. */
const CROWDED = 0.9;
/** Milliseconds between two such clearings. */
const CLEARING = 500;

/** Seconds without a byte, beyond those in which an answer is waited for, after which its client does not read. */
const SILENCE_SECONDS = 10;
/** Seconds that a store may take to answer a backend: ioredis gives up sooner. */
const STORE_SECONDS = 30;
/** Why a connection was closed unasked. */
export const CUTS = ['address', 'full', 'pipelining', 'gave_way', 'internal_full'] as const;
export type Cut = (typeof CUTS)[number];

interface PortOptions {
  /** answers plain requests straight from the wire, and the others of its path without Koa */
  route: Route;
  /** answers all the rest */
  others: RequestListener;
  /** an error that the route did not expect */
  failed(error: unknown): void;
  /** a request was read that is not on the fast path */
  onSlowPath(reason: SlowReason): void;
  /** sockets at most */
  connections: number;
}

export interface InternalPortOptions extends PortOptions {
  onCut(cut: Cut): void;
}

export interface PublicPortOptions extends PortOptions {
  limits: Limits;
  /** seconds for which a request is held at most */
  hold: number;
  onCut(cut: Cut): void;
}

export class Port {
  readonly #server: Server;
  readonly #connections: Connections;

  /** @param waits seconds for which a request may have to wait for its response @param own of one kind of port */
  constructor(waits: number, options: PortOptions, own: { admit?: Admit; onPipelining?: () => void } = {}) {
    const { route, others, failed, onSlowPath } = options;
    this.#server = createGuarded(waits + SILENCE_SECONDS);
    Relay.serve(this.#server, straight(route, others, failed, own.admit));
    this.#connections = new Connections(this.#server, {
      route,
      failed,
      onSlowPath,
      onPipelining: own.onPipelining,
      ...timeoutsOf(waits),
    });
  }

  /** @param listener is called with each connection before anything is read from it; it may destroy it */
  onConnection(listener: (socket: Socket) => void): void {
    this.#server.prependListener('connection', listener);
  }

  /** @returns the URL at which this machine reaches it @throws what listening throws, such as EADDRINUSE */
  listen(host: string, port: number): Promise<string> {
    const server = this.#server;
    const name = host.replace(/^\[|\]$/g, '');
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: name, port, backlog: BACKLOG }, () => {
        server.off('error', reject);
        resolve(`http://${reachable(name)}:${(server.address() as AddressInfo).port}`);
      });
    });
  }

  /** Whether anyone is connected. */
  connected(): Promise<boolean> {
    return new Promise(resolve =>
      this.#server.getConnections((error, count) => resolve(!error && count > 0)),
    );
  }

  /** Closes one connection, of those that can be spared. @returns false when there is none */
  makeRoom(): boolean {
    return this.#connections.makeRoom();
  }

  /** Closes the connections that nobody asks on. */
  closeIdle(): void {
    this.#connections.closeIdle();
  }

  /** Takes no more connections, and resolves when the last is gone. */
  close(): Promise<void> {
    return new Promise(resolve => {
      this.#connections.closing = true;
      this.#server.close(() => resolve());
      this.closeIdle();
    });
  }

  /** Closes all connections, whatever they wait for. */
  cut(): void {
    this.#connections.closeAll();
    this.#server.closeAllConnections();
  }
}

/** @param waits seconds for which a request may have to wait for its response */
export const timeoutsOf = (waits: number) => ({
  firstRequestTimeout: HEADERS_SECONDS,
  headersTimeout: HEADERS_SECONDS,
  requestTimeout: REQUEST_SECONDS,
  silenceTimeout: Math.max(waits + SILENCE_SECONDS, KEEP_ALIVE_SECONDS + GRACE_SECONDS),
  keepAliveHint: KEEP_ALIVE_SECONDS,
  drainTimeout: SILENCE_SECONDS,
});

/** A server that closes what is slow. @param silence seconds without a byte either way after which a socket is closed */
function createGuarded(silence: number): Server {
  return createServer({
    maxHeaderSize: HEADER_BYTES,
    headersTimeout: HEADERS_SECONDS * 1000,
    requestTimeout: REQUEST_SECONDS * 1000,
    keepAliveTimeout: KEEP_ALIVE_SECONDS * 1000,
    connectionsCheckingInterval: CHECK_SECONDS * 1000,
    // bytes that no other server reads alike are how requests are smuggled past proxies
    insecureHTTPParser: false,
    requireHostHeader: true,
    // an answer is one small write: waiting for more only delays it
    noDelay: true,
  }).setTimeout(silence * 1000);
  // maxRequestsPerSocket stays 0: a page asks again on its connection for as long as it is open
}

/** The port that everyone reaches. */
export function publicPort(options: PublicPortOptions): Port {
  const { limits, connections, hold, onCut } = options;
  // a held request is silent for its hold; what is silent for longer is not being read
  const port = new Port(hold, options, {
    admit: limited(limits),
    onPipelining: () => onCut('pipelining'),
  });
  let cleared = Number.NEGATIVE_INFINITY;
  const clear = () => {
    if (performance.now() - cleared < CLEARING) return;
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

/** Connections beyond those of sets, so that health and metrics are answered while all sets wait for the store. */
const SPARE_SHARE = 16;

/**
 * The port of backends and operators: its own descriptors, so that it works whatever happens on the public one. Where it
 * is full, a new connection takes the place of one that is idle, sends or reads slowly, or is held.
 */
export function internalPort(options: InternalPortOptions): Port {
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
 * Closes connections beyond so many, unless room was made. Not `maxConnections`: among workers, Node 20 hands a connection on from one that
 * is full to the next, and when all are full, round and round as fast as it can.
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

function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  if (host === '::') return '[::1]';
  return isIPv6(host) ? `[${host}]` : host;
}
