/** A connection: passes its requests to the route or to Node's HTTP server, and sends the responses of the route. */
import type { Socket } from 'node:net';
import { BodyError } from './bytes.js';
import type { CloseListener, Exchange, HeaderBlock, KnownHeader } from './exchange.js';
import { type Head, headerOf } from './fast-path.js';
import type { Owner } from './options.js';
import { Reader, type State } from './reader.js';
import { Relay, type RelayOwner } from './relay.js';
import { responseOf, TOO_LARGE } from './response.js';
import type { Upgrades } from './upgrades.js';

const NOTHING: Buffer = Buffer.alloc(0);

/** It has one exchange at a time and is that exchange itself, so that a held request needs no second object. */
export class Connection extends Reader implements Exchange, RelayOwner {
  readonly headOfLine = true;
  method = '';
  url = '';
  readonly #of: Owner<Connection>;
  /** of the request; only while its route is called */
  #head: Head | undefined;
  #body = NOTHING;
  #closeAfter = false;
  #listener: CloseListener | undefined;
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
   * The order in which connections are closed to make room: 1 idle, 2 the client must still send or read, 3 waiting for
   * Node's HTTP server. undefined: must not be closed, because its request must be answered.
   */
  get evictionPriority(): 1 | 2 | 3 | undefined {
    if (this.state === 'idle') return 1;
    if (this.state === 'relayed') return this.#relay?.received ? 3 : 2;
    return UNFINISHED.has(this.state) ? 2 : undefined;
  }

  /** Closes the connection at once, to make room. */
  evict(): void {
    this.socket.destroy();
    this.#leave();
  }

  get address(): string {
    return this.socket.remoteAddress ?? '';
  }

  get closed(): boolean {
    return this.state === 'closed';
  }

  header(name: KnownHeader): string | undefined {
    return this.#head && headerOf(this.#head.headers, name);
  }

  body(most: number): Buffer {
    if (!this.#head) throw new BodyError('ended early');
    if (this.#body.length > most) throw new BodyError('too large');
    return this.#body;
  }

  onClose(listener: CloseListener): void {
    if (this.state === 'held') this.#listener = listener;
    else listener.onClose();
  }

  closeAfterResponse(): void {
    this.#closeAfter = true;
  }

  send(status: number, fields: HeaderBlock, text: string): void {
    if (this.state !== 'held') return;
    const mayAskAgain = this.early !== undefined || !this.socket.readableEnded;
    const keepAlive =
      mayAskAgain && !this.#closeAfter && !this.#of.closing ? this.options.keepAliveHint : undefined;
    const response = responseOf(status, fields, text, keepAlive, this.method === 'HEAD');
    const taken = this.socket.write(response, 'latin1');
    if (!taken) this.socket.setTimeout(this.options.drainTimeout * 1000);
    if (keepAlive === undefined) return this.end();
    this.state = 'flushing';
    this.#notifyClose();
    if (taken) this.release();
    else this.socket.once('drain', this.#onDrain);
  }

  protected handle(head: Head, bytes: Buffer, end: number): void {
    this.#head = head;
    this.method = head.method;
    this.url = head.url;
    this.#closeAfter = headerOf(head.headers, 'connection')?.toLowerCase() === 'close';
    if (end > head.length) this.#body = bytes.subarray(head.length, end);
    this.begin('held', bytes.length > end ? bytes.subarray(end) : undefined);
    const { route, failed } = this.options;
    try {
      if (!this.socket.destroyed) route.handle(this);
    } catch (error) {
      failed(error);
      this.socket.destroy();
    }
    // a held request retains nothing of its head, except what the route keeps
    this.#head = undefined;
    this.url = '';
    this.#body = NOTHING;
  }

  protected pass(head: Head, bytes: Buffer): void {
    const { upgrades } = this.#of;
    if (head.slow && upgrades?.takes(head, bytes)) return this.#handOff(upgrades, bytes);
    if (head.slow) this.options.onSlowPath(head.slow);
    if (head.slow === 'many_headers') {
      this.socket.write(TOO_LARGE);
      return this.end();
    }
    const relay = new Relay(this.socket, head, this);
    this.#relay = relay;
    const early = relay.pass(bytes);
    if (this.closed) return;
    this.#of.serve(relay);
    this.begin('relayed', early);
  }

  protected passMore(bytes: Buffer): void {
    const early = this.#relay?.pass(bytes);
    if (early) this.bufferEarly(early);
  }

  /** Hands the connection off permanently, with the bytes of its request and all that follow. */
  #handOff(upgrades: Upgrades, bytes: Buffer): void {
    const { socket } = this;
    this.forget();
    this.#of.all.delete(this);
    socket.off('data', this.onData);
    socket.off('end', this.#onEnd);
    socket.off('close', this.#onClose);
    socket.off('timeout', this.#onTimeout);
    socket.off('error', ignore);
    socket.unshift(bytes);
    upgrades.take(socket);
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

  #notifyClose(): void {
    const listener = this.#listener;
    this.#listener = undefined;
    listener?.onClose();
  }

  /** The response is with the kernel; until now the slow-reader timeout applied. */
  #onDrain = (): void => {
    this.socket.setTimeout(this.options.silenceTimeout * 1000);
    this.release();
  };

  /** The client ended its side: it counts as disconnected if there is a listener for that, or no response is due. */
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
    this.#notifyClose();
  }
}

/** States with a response due, other than held and relayed. */
const ANSWERING: ReadonlySet<State> = new Set(['flushing', 'queued']);

/** States in which the client must send or read. */
const UNFINISHED: ReadonlySet<State> = new Set(['fresh', 'part', 'flushing']);

/** An error closes the socket, which emits 'close'. */
const ignore = () => {};
