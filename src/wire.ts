/** Node's HTTP servers, set up on purpose: what a client may do to the wire, and for how long. */
import type { RequestListener } from 'node:http';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, isIPv6, type Socket } from 'node:net';
import { type Limits, network } from './limits.js';

/**
 * Request line and headers, bytes. Script requests bring all cookies of a parent domain along, which browsers let grow
 * to several KiB; more than this is 431. Slow senders make the server keep no more than this each.
 */
const HEADER_BYTES = 16 * 1024;
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
/** A server that closes what is slow. @param silence seconds without a byte either way after which a socket is closed */
function createGuarded(silence: number, listener?: RequestListener): Server {
  return createServer(
    {
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
    },
    listener,
  ).setTimeout(silence * 1000);
  // maxRequestsPerSocket stays 0: a page asks again on its connection for as long as it is open
}

/** Why a connection was closed unasked. */
export type Cut = 'address' | 'full' | 'pipelining';

export interface PublicServerOptions {
  limits: Limits;
  /** sockets at most */
  connections: number;
  /** seconds for which a request is held at most */
  hold: number;
  onCut(cut: Cut): void;
}

/** The server that everyone reaches. Its requests go through `unpipelined`. */
export function createPublicServer(options: PublicServerOptions): Server {
  const { limits, connections, hold, onCut } = options;
  // a held request is silent for its hold; what is silent for longer is not being read
  const server = createGuarded(hold + SILENCE_SECONDS);
  let cleared = Number.NEGATIVE_INFINITY;
  const clear = () => {
    if (performance.now() - cleared < CLEARING) return;
    cleared = performance.now();
    server.closeIdleConnections();
  };
  bound(server, connections, () => {
    onCut('full');
    clear();
  });
  server.on('connection', socket => {
    if (socket.destroyed) return;
    const from = network(socket.remoteAddress ?? '');
    if (!limits.connect(from)) {
      onCut('address');
      return socket.destroy();
    }
    socket.on('close', () => limits.disconnect(from));
    if (limits.connections > connections * CROWDED) clear();
  });
  return server;
}

/** The server of backends and operators: its own descriptors, so that it works whatever happens on the public one. */
export function createInternalServer(listener: RequestListener, connections: number): Server {
  const server = createGuarded(STORE_SECONDS + SILENCE_SECONDS, listener);
  bound(server, connections, () => {});
  return server;
}

/**
 * Closes connections beyond so many. Not `maxConnections`: among workers, Node 20 hands a connection on from one that
 * is full to the next, and when all are full, round and round as fast as it can.
 */
function bound(server: Server, connections: number, onFull: () => void): void {
  let open = 0;
  // before the server's own listener, which would begin to read
  server.prependListener('connection', socket => {
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
export function unpipelined(listener: RequestListener, onCut: (cut: Cut) => void): RequestListener {
  const early = new WeakMap<Socket, number>();
  return (request, response) => {
    const { socket } = request;
    if (socket.destroyed) return;
    if (response.socket === null) {
      const count = (early.get(socket) ?? 0) + 1;
      early.set(socket, count);
      if (count > PIPELINED) {
        onCut('pipelining');
        socket.destroy();
        return;
      }
    }
    listener(request, response);
  };
}

/** @returns the URL at which this machine reaches it @throws what listening throws, such as EADDRINUSE */
export function listen(server: Server, host: string, port: number): Promise<string> {
  const name = host.replace(/^\[|\]$/g, '');
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: name, port, backlog: BACKLOG }, () => {
      server.off('error', reject);
      resolve(`http://${reachable(name)}:${(server.address() as AddressInfo).port}`);
    });
  });
}

function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  if (host === '::') return '[::1]';
  return isIPv6(host) ? `[${host}]` : host;
}

/** Takes no more connections, and resolves when the last is gone. */
export function close(server: Server): Promise<void> {
  return new Promise(resolve => {
    server.close(() => resolve());
    server.closeIdleConnections();
  });
}

/** Whether anyone is connected. */
export const connected = (server: Server) =>
  new Promise<boolean>(resolve => server.getConnections((error, count) => resolve(!error && count > 0)));
