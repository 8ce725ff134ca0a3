/** Hands one request of a connection to Node's HTTP, and takes the connection back after the response. */
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import type { Head } from './fast-path.js';
import { Framing } from './framing.js';
import { TOO_FINE } from './response.js';

/** The connection of a relay. */
export interface RelayOwner {
  /** The response was sent, and the request has ended where it was expected to: the next may be read. */
  release(): void;
  /** The connection is to be closed once everything is sent. */
  end(): void;
}

/**
 * A connection of one request, for Node's HTTP: the request's bytes, and the way back for its response on a socket that
 * stays ours. Node's server takes any Duplex for a connection (nodejs/node, doc/api/http.md: Event 'connection'), and a
 * request says when it was received whole (`message.complete`).
 */
export class Relay extends Duplex {
  readonly #socket: Socket;
  readonly #owner: RelayOwner;
  readonly #framing: Framing;
  #request: IncomingMessage | undefined;
  #state: 'open' | 'responded' | 'over' = 'open';
  /** a client that ends its side of the connection has gone: nothing that it still hears is waited for */
  #endsWithClient = false;

  constructor(socket: Socket, head: Head, owner: RelayOwner) {
    super();
    this.#socket = socket;
    this.#owner = owner;
    this.#framing = new Framing(head.length, head.body);
  }

  /** The request is here as a whole. */
  get received(): boolean {
    return this.#framing.done;
  }

  get remoteAddress(): string | undefined {
    return this.#socket.remoteAddress;
  }

  /** Has requests of relays call a listener: one for each relay, and none for what follows it on the same one. */
  static serve(server: Server, listener: RequestListener): void {
    const serve: RequestListener = (request, response) => {
      const relay: unknown = request.socket;
      if (!(relay instanceof Relay) || relay.#begin(request, response)) listener(request, response);
    };
    server.on('request', serve);
    // without a listener Node's HTTP answers 417 by itself, and no event says when it has
    server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
      const relay: unknown = request.socket;
      if (relay instanceof Relay && !relay.#begin(request, response)) return;
      response.writeHead(417).end();
    });
  }

  /** Has a client count as gone when it ends its side of the connection, as a page that leaves does. */
  endWithClient(): void {
    this.#endsWithClient = true;
  }

  /** Passes bytes on, or closes the connection when they are not worth it. @returns those that follow the request, if any */
  pass(bytes: Buffer): Buffer | undefined {
    const length = this.#framing.take(bytes);
    if (this.#framing.tooFine) {
      if (!this.#request) this.#socket.write(TOO_FINE);
      this.#owner.end();
      return undefined;
    }
    if (length > 0 && !this.push(bytes.subarray(0, length)) && !this.#framing.done) this.#socket.pause();
    return length < bytes.length ? bytes.subarray(length) : undefined;
  }

  /** The client has ended its side of the connection. */
  clientEnded(): void {
    if (this.#endsWithClient) this.#owner.end();
    else if (!this.#framing.done) this.push(null);
  }

  /** @returns false when the relay has had its request */
  #begin(request: IncomingMessage, response: ServerResponse): boolean {
    if (this.#request) {
      this.destroy();
      return false;
    }
    this.#request = request;
    if (this.#framing.unclear) response.setHeader('Connection', 'close');
    response.on('close', () => {
      if (this.#state === 'open') this.#state = 'responded';
      this.#release();
    });
    request.on('end', () => this.#release());
    return true;
  }

  /** Gives the connection back when both are over, unless the response was the last one or was never finished. */
  #release(): void {
    if (this.#state !== 'responded' || !this.#request?.complete || !this.writable) return;
    this.#state = 'over';
    const ended = this.#framing.done;
    this.destroy();
    if (ended) this.#owner.release();
    else this.#owner.end();
  }

  override _read(): void {
    if (!this.#framing.done) this.#socket.resume();
  }

  /** An error of the socket is no error here: it closes the connection, which the owner sees. */
  override _write(chunk: Buffer, encoding: BufferEncoding, done: () => void): void {
    this.#socket.write(chunk, encoding, () => done());
  }

  override _final(done: () => void): void {
    this.#state = 'over';
    done();
    this.#owner.end();
  }

  override _destroy(_: Error | null, done: () => void): void {
    done();
    if (this.#state !== 'over') this.#owner.end();
  }
}
