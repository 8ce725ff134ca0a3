/** Passes one request of a connection to Node's HTTP server, and takes the connection back after the response. */
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import type { Head } from './fast-path.js';
import { Framing } from './framing.js';
import { refusal, TOO_LARGE } from './response.js';

/** The connection of a relay. */
export interface RelayOwner {
  /** The response was sent and the request ended as expected: the next request may be read. */
  release(): void;
  /** The connection must be closed once everything is sent. */
  end(): void;
}

/**
 * A virtual connection with one request, for Node's HTTP server: passes the bytes of the request on, and writes the
 * response to the real socket. Node's server accepts any Duplex as a connection (nodejs/node, doc/api/http.md: Event
 * 'connection'), and `message.complete` says that a request was received completely.
 */
export class Relay extends Duplex {
  readonly #socket: Socket;
  readonly #owner: RelayOwner;
  readonly #framing: Framing;
  /** the head is larger than ours may be, which Node's HTTP server measures in another way */
  readonly #large: boolean;
  #request: IncomingMessage | undefined;
  #response: ServerResponse | undefined;
  #state: 'open' | 'responded' | 'over' = 'open';
  /** a client that ends its side of the connection counts as disconnected */
  #endsWithClient = false;

  constructor(socket: Socket, head: Head, owner: RelayOwner) {
    super();
    this.#socket = socket;
    this.#owner = owner;
    this.#framing = new Framing(head.length, head.body);
    this.#large = head.slow === 'large_head';
  }

  /** All bytes of the request have arrived. */
  get received(): boolean {
    return this.#framing.done;
  }

  get remoteAddress(): string | undefined {
    return this.#socket.remoteAddress;
  }

  /** Calls the listener for requests of relays: once for each relay, not for further requests on the same one. */
  static serve(server: Server, listener: RequestListener): void {
    const serve: RequestListener = (request, response) => {
      const relay: unknown = request.socket;
      if (!(relay instanceof Relay) || relay.#begin(request, response)) listener(request, response);
    };
    server.on('request', serve);
    // without a listener Node's HTTP server answers 417 by itself, without an event
    server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
      const relay: unknown = request.socket;
      if (relay instanceof Relay && !relay.#begin(request, response)) return;
      response.writeHead(417).end();
    });
  }

  /** From now on a client that ends its side of the connection counts as disconnected, as a page that leaves does. */
  endWithClient(): void {
    this.#endsWithClient = true;
  }

  /**
   * Passes bytes on, or refuses the request because of its chunks: its body is not complete, so nothing was done for it.
   * @returns the bytes that follow the request, if any
   */
  pass(bytes: Buffer): Buffer | undefined {
    const length = this.#framing.take(bytes);
    if (this.#framing.refused) {
      this.#refuse();
      return undefined;
    }
    if (this.#framing.unusual) this.#closeAfterResponse();
    if (length > 0 && !this.push(bytes.subarray(0, length)) && !this.#framing.done) this.#socket.pause();
    return length < bytes.length ? bytes.subarray(length) : undefined;
  }

  /** Answers 400 or 431, unless a response has begun, and closes the connection. */
  #refuse(): void {
    const answer = this.#large ? TOO_LARGE : refusal(this.#request?.method === 'HEAD');
    if (!this.#response?.headersSent) this.#socket.write(answer);
    this.#owner.end();
  }

  /** Against request smuggling: what follows the request is not read. Does nothing once the response has begun. */
  #closeAfterResponse(): void {
    if (this.#response?.headersSent === false) this.#response.setHeader('Connection', 'close');
  }

  /** The client has ended its side of the connection. */
  clientEnded(): void {
    if (this.#endsWithClient) this.#owner.end();
    else if (!this.#framing.done) this.push(null);
  }

  /** @returns false if the relay already had its request */
  #begin(request: IncomingMessage, response: ServerResponse): boolean {
    if (this.#request) {
      this.destroy();
      return false;
    }
    this.#request = request;
    this.#response = response;
    if (this.#framing.unclear) {
      // where it ends is for Node's HTTP server to say, which then also begins with what follows, or refuses that
      this.#refuse();
      return false;
    }
    if (this.#framing.unusual) this.#closeAfterResponse();
    response.on('close', () => {
      if (this.#state === 'open') this.#state = 'responded';
      this.#release();
    });
    request.on('end', () => this.#release());
    return true;
  }

  /** Gives the connection back when request and response are complete, unless the response closes the connection. */
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

  /** Ignores errors of the socket: they close the connection, which the owner handles. */
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
