/** Hands connections off to another protocol, such as WebSocket (RFC 9110 §7.8, RFC 6455). */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { isFor } from './exchange.js';
import type { Head } from './fast-path.js';

/** A path whose requests may change to another protocol. */
export interface UpgradeRoute {
  readonly path: string;
  /** Takes over the connection of a request. @param head bytes that follow the request */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): unknown;
  /** Answers a request that names another protocol, but whose `Connection` does not ask for the change. */
  refuse(response: ServerResponse): void;
}

const UPGRADE_HEADER = /\r\nupgrade:/i;

/**
 * Requests of one path for another protocol. An HTTP server of their own reads their heads: on the port's server a
 * listener of 'upgrade' would also take the polls of clients that offer HTTP/2, as Java's does, and end them.
 */
export class Upgrades {
  readonly #server: Server;
  readonly #route: { method: string; path: string };
  readonly #slashed: { method: string; path: string };
  readonly #open = new Set<Socket>();

  /** @param server not listening */
  constructor(server: Server, route: UpgradeRoute) {
    this.#server = server;
    this.#route = { method: 'GET', path: route.path };
    this.#slashed = { method: 'GET', path: `${route.path}/` };
    server.on('upgrade', (request, socket, head) => void route.upgrade(request, socket, head));
    const refuse = (_: IncomingMessage, response: ServerResponse) => route.refuse(response);
    server.on('request', refuse);
    // without a listener Node's HTTP server answers 417, and keeps the connection
    server.on('checkExpectation', refuse);
  }

  /**
   * Whether a request is for this path, maybe with a slash at its end, and names another protocol.
   * @param bytes from its start
   */
  takes({ method, url, length }: Head, bytes: Buffer): boolean {
    return (
      (isFor(this.#route, method, url) || isFor(this.#slashed, method, url)) &&
      UPGRADE_HEADER.test(bytes.toString('latin1', 0, length))
    );
  }

  /** Takes a connection whose next bytes are such a request. */
  take(socket: Socket): void {
    this.#open.add(socket);
    socket.on('close', () => this.#open.delete(socket));
    this.#server.emit('connection', socket);
  }

  /** Closes all connections that were handed off. */
  closeAll(): void {
    for (const socket of this.#open) socket.destroy();
  }
}
