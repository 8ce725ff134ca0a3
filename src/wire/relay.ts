import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';

/**
 * A connection of one request, for Node's HTTP: the request's bytes, and the way back for its answer on a socket that stays
 * ours. Node's server takes any Duplex for a connection (nodejs/node, doc/api/http.md: Event 'connection').
 */
export class Relay extends Duplex {
  readonly #socket: Socket;
  #answered: (() => void) | undefined;

  /** @param bytes of the request, all of them @param answered is called when the socket is free for the next */
  constructor(socket: Socket, bytes: Buffer, answered: () => void) {
    super();
    this.#socket = socket;
    this.#answered = answered;
    this.push(bytes);
  }

  get remoteAddress(): string | undefined {
    return this.#socket.remoteAddress;
  }

  /** Has a server tell relays that their request was answered. */
  static servedBy(server: Server): void {
    server.on('request', (request, response) => {
      const relay: unknown = request.socket;
      if (relay instanceof Relay) response.on('close', () => relay.#release());
    });
  }

  #release(): void {
    // else the answer said that it is the last one, or it was never finished
    if (!this.writable) return;
    const answered = this.#answered;
    this.#answered = undefined;
    this.destroy();
    answered?.();
  }

  override _read(): void {}

  override _write(chunk: Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#socket.write(chunk, encoding, done);
  }

  override _final(done: () => void): void {
    this.#socket.destroySoon();
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (this.#answered) this.#socket.destroy();
    done(error);
  }
}
