/**
 * Reads the requests of a connection one at a time. Buffers incomplete requests, and bytes that arrive before their
 * turn.
 */
import type { Socket } from 'node:net';
import { BODY_BYTES } from './bytes.js';
import { isFor } from './exchange.js';
import { HEADER_BYTES, type Head, readHead, skipEmptyLines } from './fast-path.js';
import type { ConnectionOptions } from './options.js';
import { TIMED_OUT } from './response.js';

/**
 * fresh: no request yet; idle: no request now; part: an incomplete request is buffered; held: the route has the
 * request; relayed: Node's HTTP server has it; flushing: the client has not read the response yet; queued: the next
 * request is buffered and will be read in a later turn of the event loop; closed
 */
export type State = 'fresh' | 'idle' | 'part' | 'held' | 'relayed' | 'flushing' | 'queued' | 'closed';

interface Part {
  bytes: Buffer;
  /** set once the head is complete and part of the body is missing */
  head: Head | undefined;
  deadline: NodeJS.Timeout;
}

/** A logical clock: orders connections by their last activity without reading the time. */
let clock = 0;

export abstract class Reader {
  protected readonly socket: Socket;
  protected readonly options: ConnectionOptions;
  protected state: State = 'fresh';
  /** logical time of the last activity: opened, answered, or request begun */
  lastActivity = ++clock;
  /** bytes that arrived before the response to the present request */
  protected early: Buffer | undefined;
  #part: Part | undefined;

  constructor(socket: Socket, options: ConnectionOptions) {
    this.socket = socket;
    this.options = options;
    socket.setTimeout(options.firstRequestTimeout * 1000);
  }

  /** A complete request for the route. @param end position of its end in these bytes */
  protected abstract handle(head: Head, bytes: Buffer, end: number): void;
  /** A request for Node's HTTP server. @param bytes its first bytes, with the head */
  protected abstract pass(head: Head, bytes: Buffer): void;
  /** More bytes of that request. */
  protected abstract passMore(bytes: Buffer): void;
  /** Closes the connection once everything is sent. */
  abstract end(): void;
  /** Runs a job in a later turn of the event loop. */
  protected abstract later(job: () => void): void;

  protected onData = (bytes: Buffer): void => {
    if (this.state === 'idle' || this.state === 'fresh') this.#read(bytes);
    else if (this.state === 'part') this.#readOn(bytes);
    else if (this.state === 'relayed') this.passMore(bytes);
    else if (this.state !== 'closed') this.bufferEarly(bytes);
  };

  /** @param seen number of bytes that were searched for the end of the head before, not counting empty lines */
  #read(given: Buffer, seen = 0): void {
    const bytes = skipEmptyLines(given);
    if (bytes.length === 0) return this.#rest();
    const head = readHead(bytes, seen);
    if (!head) this.#keep(bytes, undefined);
    else if (head.slow || !isFor(this.options.route, head.method, head.url)) this.pass(head, bytes);
    else if (Number(head.body) > BODY_BYTES) this.pass({ ...head, slow: 'large_body' }, bytes);
    else this.#readBody(head, bytes);
  }

  #readBody(head: Head, bytes: Buffer): void {
    const end = head.length + Number(head.body);
    if (bytes.length < end) this.#keep(bytes, head);
    else this.handle(head, bytes, end);
  }

  #readOn(more: Buffer): void {
    const { bytes, head } = this.#part as Part;
    const all = Buffer.concat([bytes, more]);
    if (head) this.#readBody(head, all);
    else this.#read(all, bytes.length);
  }

  /** Buffers an incomplete request. Its timeout starts with its first byte, and again with the end of its head. */
  #keep(bytes: Buffer, head: Head | undefined): void {
    if (this.socket.readableEnded) return this.end();
    this.state = 'part';
    if (this.#part && this.#part.head === head) {
      this.#part.bytes = bytes;
      return;
    }
    const { headersTimeout, requestTimeout } = this.options;
    this.forget();
    this.#settle();
    const deadline = setTimeout(this.#onDeadline, (head ? requestTimeout : headersTimeout) * 1000);
    this.#part = { bytes, head, deadline };
  }

  /** Drops an incomplete request. */
  protected forget(): void {
    clearTimeout(this.#part?.deadline);
    this.#part = undefined;
  }

  /** A request is handed over for its answer. @param early bytes that follow it */
  protected begin(state: 'held' | 'relayed', early: Buffer | undefined): void {
    this.#settle();
    if (this.#part) this.forget();
    this.state = state;
    this.lastActivity = ++clock;
    if (early) this.bufferEarly(early);
  }

  /** Replaces the timeout of the first request by that of later ones. */
  #settle(): void {
    const silence = this.options.silenceTimeout * 1000;
    if (this.socket.timeout !== silence) this.socket.setTimeout(silence);
  }

  /** Buffers up to 16 KiB instead of pausing: a paused socket does not emit 'end' or 'close'. */
  protected bufferEarly(bytes: Buffer): void {
    this.early = this.early ? Buffer.concat([this.early, bytes]) : bytes;
    if (this.early.length <= HEADER_BYTES) return;
    const { onPipelining } = this.options;
    if (!onPipelining) return void this.socket.pause();
    onPipelining();
    this.socket.destroy();
  }

  /** Ready for the next request, which may be buffered already. */
  protected proceed(): void {
    if (!this.early) return this.#rest();
    this.state = 'queued';
    // later: the caller may not be done with the last request, and other connections must be read in between
    this.later(this.#readEarly);
  }

  #readEarly = (): void => {
    const { early } = this;
    if (!early || this.state !== 'queued') return;
    this.early = undefined;
    this.socket.resume();
    this.#read(early);
  };

  #rest(): void {
    if (this.socket.readableEnded) return this.end();
    this.state = 'idle';
    this.lastActivity = ++clock;
  }

  #onDeadline = (): void => {
    this.socket.write(TIMED_OUT);
    this.end();
  };
}
