/** A port: plain requests read in front, Node's HTTP behind, and what a client may do to either, and for how long. */
import { createServer, type RequestListener, type Server } from 'node:http';
import { type AddressInfo, isIPv6, type Socket } from 'node:net';
import { type Limits, network } from '../limits.js';
import { PlainConnections } from './connections.js';
import type { Route } from './exchange.js';
import { limited, straight } from './http.js';
import { HEADER_BYTES } from './plain.js';

/** Seconds to send all headers, or the first byte of them: a page sends its own in one packet; 10 covers two lost ones. */
const HEADERS_SECONDS = 10;
/** Seconds to send a whole request. Backends send at most some MB, from nearby; a held poll was sent long ago. */
const REQUEST_SECONDS = 15;
/** Longer than the 60 s after which balancers drop their idle connections, so that it is they who do. */
const KEEP_ALIVE_SECONDS = 65;
/** How far the deadlines above may be overrun. Often, so that a crowd that came at once is not closed at once. */
const CHECK_SECONDS = 0.25;
/**
 * Connections that the kernel may keep until the server takes them, as far as it allows (net.core.somaxconn). With
 * Node's 511, a crowd that comes back has the others' first packets dropped, and they wait 1, 3 and 7 s to send again.
 */
const BACKLOG = 4096;
/** Requests that a connection may send, in all, before the one in front was answered. Browsers and proxies send none. */
const PIPELINED = 16;
/** With this share of its connections in use, a server closes those that nobody asks on. */
const CROWDED = 0.9;
/** Milliseconds between two such clearings. */
const CLEARING = 500;

/** Seconds without a byte, beyond those in which an answer is waited for, after which its client does not read. */
const SILENCE_SECONDS = 10;
/** Seconds that a store may take to answer a backend: ioredis gives up sooner. */
const STORE_SECONDS = 30;
/** Why a connection was closed unasked. */
export type Cut = 'address' | 'full' | 'pipelining';

interface PortOptions {
  /** answers plain requests straight from the wire, and the others of its path without Koa */
  route: Route;
  /** answers all the rest */
  others: RequestListener;
  /** an error that the route did not expect */
  failed(error: unknown): void;
  /** sockets at most */
  connections: number;
}

export interface PublicPortOptions extends PortOptions {
  limits: Limits;
  /** seconds for which a request is held at most */
  hold: number;
  onCut(cut: Cut): void;
}

export class Port {
  readonly #server: Server;
  readonly #plain: PlainConnections;

  /** @param waits seconds for which a request may have to wait for its answer @param onPipelining absent: who pipelines may */
  constructor(waits: number, { route, others, failed }: PortOptions, onPipelining?: () => void) {
    this.#server = createGuarded(waits + SILENCE_SECONDS);
    const answering = straight(route, others, failed);
    this.#server.on('request', onPipelining ? unpipelined(answering, onPipelining) : answering);
    this.#plain = new PlainConnections(this.#server, {
      route,
      failed,
      onPipelining,
      first: HEADERS_SECONDS,
      silence: Math.max(waits + SILENCE_SECONDS, KEEP_ALIVE_SECONDS),
      promised: KEEP_ALIVE_SECONDS,
      unread: SILENCE_SECONDS,
    });
  }

  /** @param listener is told of each connection before anything is read from it; it may destroy it */
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

  /** Closes the connections that nobody asks on. */
  closeIdle(): void {
    this.#plain.closeIdle();
    this.#server.closeIdleConnections();
  }

  /** Takes no more connections, and resolves when the last is gone. */
  close(): Promise<void> {
    return new Promise(resolve => {
      this.#plain.closing = true;
      this.#server.close(() => resolve());
      this.closeIdle();
    });
  }

  /** Closes all connections, whatever they wait for. */
  cut(): void {
    this.#plain.closeAll();
    this.#server.closeAllConnections();
  }
}

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
  const others = limited(limits, options.others);
  const port = new Port(hold, { ...options, others }, () => onCut('pipelining'));
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
  });
  return port;
}

/** The port of backends and operators: its own descriptors, so that it works whatever happens on the public one. */
export function internalPort(options: PortOptions): Port {
  const port = new Port(STORE_SECONDS, options);
  bound(port, options.connections, () => {});
  return port;
}

/**
 * Closes connections beyond so many. Not `maxConnections`: among workers, Node 20 hands a connection on from one that
 * is full to the next, and when all are full, round and round as fast as it can.
 */
function bound(port: Port, connections: number, onFull: () => void): void {
  let open = 0;
  port.onConnection(socket => {
    if (open >= connections) {
      socket.destroy();
      return onFull();
    }
    open++;
    socket.on('close', () => {
      open--;
    });
  });
}

/**
 * Closes a connection that sends request after request without waiting for answers: all would be kept in memory behind
 * the first, which may be held. A response that waits for another has no socket yet.
 */
function unpipelined(listener: RequestListener, onPipelining: () => void): RequestListener {
  const early = new WeakMap<Socket, number>();
  return (request, response) => {
    const { socket } = request;
    if (socket.destroyed) return;
    if (response.socket === null) {
      const count = (early.get(socket) ?? 0) + 1;
      early.set(socket, count);
      if (count > PIPELINED) {
        onPipelining();
        socket.destroy();
        return;
      }
    }
    listener(request, response);
  };
}

function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  if (host === '::') return '[::1]';
  return isIPv6(host) ? `[${host}]` : host;
}
