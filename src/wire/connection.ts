/** A connection: hands the requests that it reads to the route or to Node's HTTP, and sends the responses. */
import type { Socket } from 'node:net';
import { Unread } from './bytes.js';
import type { AskedFor, Exchange, Fields } from './exchange.js';
import { type Head, headerOf } from './fast-path.js';
import type { Owner } from './options.js';
import { Reader } from './reader.js';
import { Relay, type RelayOwner } from './relay.js';
import { responseOf, TOO_MANY_HEADERS } from './response.js';

const NOTHING: Buffer = Buffer.alloc(0);

/** One exchange is under way on it at a time: it is that exchange itself, so that a held request costs no second object. */
export class Connection extends Reader implements Exchange, RelayOwner {
  readonly next = true;
  method = '';
  url = '';
  readonly #of: Owner<Connection>;
  /** of the request while it is being handed to its route */
  #head: Head | undefined;
  #body = NOTHING;
  #last = false;
  #listener: { over(): void } | undefined;
  #relay: Relay | undefined;

  constructor(of: Owner<Connection>, socket: Socket) {
    super(socket, of.options);
    this.#of = of;
    socket.on('data', this.onData);
    socket.on('end', this.#onEnd);
    socket.on('close', this.#onClose);
    socket.on('timeout', this.#onTimeout);
    socket.on('error', ignore);
  }

  get idle(): boolean {
    return this.state === 'idle';
  }

  close(): void {
    this.socket.destroy();
  }

  /**
   * Which connections are closed first where there is no room: 1 for idle ones, 2 for those whose client has yet to send
   * or read something, 3 for those that wait for Node's HTTP. undefined: it has to be answered.
   */
  get dispensable(): 1 | 2 | 3 | undefined {
    if (this.state === 'idle') return 1;
    if (this.state === 'relayed') return this.#relay?.received ? 3 : 2;
    return UNFINISHED.has(this.state) ? 2 : undefined;
  }

  /** Closes it at once, to make room. */
  giveWay(): void {
    this.socket.destroy();
    this.#leave();
  }

  get address(): string {
    return this.socket.remoteAddress ?? '';
  }

  get gone(): boolean {
    return this.state === 'closed';
  }

  header(name: AskedFor): string | undefined {
    return this.#head && headerOf(this.#head.headers, name);
  }

  body(most: number): Buffer {
    if (!this.#head) throw new Unread('ended early');
    if (this.#body.length > most) throw new Unread('too large');
    return this.#body;
  }

  onOver(listener: { over(): void }): void {
    if (this.state === 'held') this.#listener = listener;
    else listener.over();
  }

  last(): void {
    this.#last = true;
  }

  send(status: number, fields: Fields, text: string): void {
    if (this.state !== 'held') return;
    const asked = this.early !== undefined || !this.socket.readableEnded;
    const keepAlive = asked && !this.#last && !this.#of.closing ? this.options.keepAliveHint : undefined;
    const response = responseOf(status, fields, text, keepAlive, this.method === 'HEAD');
    const taken = this.socket.write(response, 'latin1');
    if (!taken) this.socket.setTimeout(this.options.drainTimeout * 1000);
    if (keepAlive === undefined) return this.end();
    this.state = 'flushing';
    this.#over();
    if (taken) this.release();
    else this.socket.once('drain', this.#onDrain);
  }

  protected handle(head: Head, bytes: Buffer, end: number): void {
    this.#head = head;
    this.method = head.method;
    this.url = head.url;
    this.#last = headerOf(head.headers, 'connection')?.toLowerCase() === 'close';
    if (end > head.length) this.#body = bytes.subarray(head.length, end);
    this.begin('held', bytes.length > end ? bytes.subarray(end) : undefined);
    const { route, failed } = this.options;
    try {
      if (!this.socket.destroyed) route.handle(this);
    } catch (error) {
      failed(error);
      this.socket.destroy();
    }
    // a held request keeps nothing of its head but what the route does
    this.#head = undefined;
    this.url = '';
    this.#body = NOTHING;
  }

  protected pass(head: Head, bytes: Buffer): void {
    if (head.slow) this.options.onSlowPath(head.slow);
    if (head.slow === 'many_headers') {
      this.socket.write(TOO_MANY_HEADERS);
      return this.end();
    }
    if (head.slow === 'upgrade' && this.#of.upgrades) return this.#handOff(bytes);
    const relay = new Relay(this.socket, head, this);
    this.#relay = relay;
    const early = relay.pass(bytes);
    if (this.gone) return;
    this.#of.serve(relay);
    this.begin('relayed', early);
  }

  protected passMore(bytes: Buffer): void {
    const early = this.#relay?.pass(bytes);
    if (early) this.bufferEarly(early);
  }

  /** Gives the connection to Node's HTTP for good. */
  #handOff(bytes: Buffer): void {
    const { socket } = this;
    this.forget();
    this.#of.all.delete(this);
    socket.off('data', this.onData);
    socket.off('end', this.#onEnd);
    socket.off('close', this.#onClose);
    socket.off('timeout', this.#onTimeout);
    socket.off('error', ignore);
    socket.unshift(bytes);
    this.#of.serve(socket);
  }

  release(): void {
    this.#relay = undefined;
    if (this.state === 'closed') return;
    if (this.#of.closing) this.end();
    else this.proceed();
  }

  protected later(job: () => void): void {
    this.#of.pipelined.add(job);
  }

  end(): void {
    this.socket.destroySoon();
    this.#leave();
  }

  #over(): void {
    const listener = this.#listener;
    this.#listener = undefined;
    listener?.over();
  }

  /** The whole response is with the kernel; until now the time-out for slow readers applied. */
  #onDrain = (): void => {
    this.socket.setTimeout(this.options.silenceTimeout * 1000);
    this.release();
  };

  /** The client has ended its side of the connection: it has gone if something waits for that, or if no response is to come. */
  #onEnd = (): void => {
    if (this.state === 'relayed') this.#relay?.clientEnded();
    else if (this.state === 'held' ? this.#listener : !ANSWERING.has(this.state)) this.end();
  };

  #onClose = (): void => {
    this.#of.all.delete(this);
    this.#leave();
  };

  #onTimeout = (): void => {
    this.socket.destroy();
  };

  #leave(): void {
    if (this.state === 'closed') return;
    this.state = 'closed';
    this.forget();
    this.early = undefined;
    this.#relay?.destroy();
    this.#over();
  }
}

/** States with a response still to come, other than held and relayed. */
const ANSWERING: ReadonlySet<string> = new Set(['flushing', 'queued']);

/** States in which the client has to go on. */
const UNFINISHED: ReadonlySet<string> = new Set(['fresh', 'part', 'flushing']);

/** An error closes the socket, and 'close' is what counts. */
const ignore = () => {};
