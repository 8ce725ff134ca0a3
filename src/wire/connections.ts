/** The connections of a server on which plain requests are read and answered, without its HTTP. */
import { type Server, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { Unread } from './bytes.js';
import { type AskedFor, type Exchange, type Fields, isFor, type Route } from './exchange.js';
import { fieldOf, HEADER_BYTES, type Plain, readPlain } from './plain.js';
import { Relay } from './relay.js';

export interface PlainOptions {
  route: Route;
  /** seconds until the first request must have come */
  first: number;
  /** seconds that a connection may be silent between two bytes later on */
  silence: number;
  /** seconds of that which its answers promise */
  promised: number;
  /** seconds that an answer may lie unread */
  unread: number;
  /** an error that a route did not expect */
  failed(error: unknown): void;
  /** too much came before an answer: the connection was closed; absent: it is not read further until the answer is out */
  onPipelining: (() => void) | undefined;
}

/** The connections of a server that have only ever sent plain requests. */
export class PlainConnections {
  readonly all = new Set<Connection>();
  readonly options: PlainOptions;
  /** gives a connection to Node's HTTP */
  readonly serve: (connection: Socket | Relay) => void;
  /** no connection stays open after its answer */
  closing = false;

  /** Takes a server's connections, in place of its own HTTP. */
  constructor(server: Server, options: PlainOptions) {
    this.options = options;
    const [own] = server.listeners('connection');
    if (!own) throw new Error('the server has no HTTP of its own');
    server.off('connection', own as () => void);
    this.serve = connection => own.call(server, connection);
    Relay.servedBy(server);
    server.on('connection', (socket: Socket) => {
      if (!socket.destroyed) this.all.add(new Connection(this, socket));
    });
  }

  /** Closes those that were answered and ask nothing now. */
  closeIdle(): void {
    for (const connection of this.all) if (connection.idle) connection.close();
  }

  closeAll(): void {
    for (const connection of this.all) connection.close();
  }
}

/** A connection, and the exchange that is under way on it: there is one at a time. */
class Connection implements Exchange {
  readonly next = true;
  url = '';
  readonly #of: PlainConnections;
  readonly #socket: Socket;
  /** fresh: has asked nothing yet; busy: is to be answered, or has an answer that the kernel did not take yet */
  #state: 'fresh' | 'busy' | 'idle' | 'gone' = 'fresh';
  /** a route has the request, and did not answer it */
  #open = false;
  #plain: Plain | undefined;
  #last = false;
  #told: { over(): void } | undefined;
  #relay: Relay | undefined;
  /** what came while it was busy */
  #early: Buffer | undefined;

  constructor(of: PlainConnections, socket: Socket) {
    this.#of = of;
    this.#socket = socket;
    socket.on('data', this.#onData);
    socket.on('end', this.#onEnd);
    socket.on('close', this.#onClose);
    socket.on('timeout', this.#onTimeout);
    socket.on('error', ignore);
    socket.setTimeout(of.options.first * 1000);
  }

  get method(): string {
    return this.#plain?.method ?? '';
  }

  get idle(): boolean {
    return this.#state === 'idle';
  }

  close(): void {
    this.#socket.destroy();
  }

  get address(): string {
    return this.#socket.remoteAddress ?? '';
  }

  get gone(): boolean {
    return this.#state === 'gone';
  }

  header(name: AskedFor): string | undefined {
    return this.#plain && fieldOf(this.#plain.fields, name);
  }

  body(most: number): Buffer {
    const { body } = this.#plain ?? {};
    if (!body) throw new Unread('ended early');
    if (body.length > most) throw new Unread('too large');
    return body;
  }

  onOver(told: { over(): void }): void {
    if (this.#open) this.#told = told;
    else told.over();
  }

  last(): void {
    this.#last = true;
  }

  send(status: number, { lines }: Fields, text: string): void {
    if (!this.#open) return;
    const stays = !this.#last && !this.#of.closing;
    const after = stays
      ? `Connection: keep-alive\r\nKeep-Alive: timeout=${this.#of.options.promised}`
      : 'Connection: close';
    const taken = this.#socket.write(
      `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines}Content-Length: ${text.length}\r\nDate: ${date()}\r\n${after}\r\n\r\n${text}`,
      'latin1',
    );
    if (!taken) this.#socket.setTimeout(this.#of.options.unread * 1000);
    if (!stays) return this.#end();
    this.#over();
    if (taken) this.#ready();
    else this.#socket.once('drain', this.#onDrain);
  }

  #onData = (bytes: Buffer): void => {
    if (this.#state === 'busy') this.#putOff(bytes);
    else if (this.#state !== 'gone') this.#read(bytes);
  };

  #read(bytes: Buffer): void {
    const plain = readPlain(bytes);
    if (!plain) return this.#handOver(bytes);
    const { route, silence, failed } = this.#of.options;
    if (this.#state === 'fresh') this.#socket.setTimeout(silence * 1000);
    this.#state = 'busy';
    if (!isFor(route, plain.method, plain.url)) return this.#pass(bytes);
    this.#plain = plain;
    this.url = plain.url;
    this.#last = fieldOf(plain.fields, 'connection')?.toLowerCase() === 'close';
    this.#open = true;
    try {
      route.handle(this);
    } catch (error) {
      failed(error);
      this.#socket.destroy();
    }
    // while it is held it keeps nothing of its question but what the route does
    this.#plain = undefined;
    this.url = '';
  }

  /** A plain request of another route. */
  #pass(bytes: Buffer): void {
    this.#relay = new Relay(this.#socket, bytes, () => {
      this.#relay = undefined;
      this.#ready();
    });
    this.#of.serve(this.#relay);
  }

  /** Gives the connection to Node's HTTP, for good. */
  #handOver(bytes: Buffer): void {
    const socket = this.#socket;
    this.#of.all.delete(this);
    socket.off('data', this.#onData);
    socket.off('end', this.#onEnd);
    socket.off('close', this.#onClose);
    socket.off('timeout', this.#onTimeout);
    socket.off('error', ignore);
    socket.unshift(bytes);
    this.#of.serve(socket);
  }

  /** Keeps what came early: no more than a head may have. Of one that is not read it would not be heard that it closes. */
  #putOff(bytes: Buffer): void {
    this.#early = this.#early ? Buffer.concat([this.#early, bytes]) : bytes;
    if (this.#early.length <= HEADER_BYTES) return;
    const { onPipelining } = this.#of.options;
    if (!onPipelining) return void this.#socket.pause();
    onPipelining();
    this.#socket.destroy();
  }

  /** Ready for the next request, which may be here already. */
  #ready(): void {
    if (this.#state === 'gone') return;
    if (this.#of.closing) return this.#end();
    this.#state = this.#early ? 'busy' : 'idle';
    // not here: whoever answers may not have done with the one that was answered
    if (this.#early) process.nextTick(() => this.#readEarly());
  }

  #readEarly(): void {
    const early = this.#early;
    this.#early = undefined;
    if (!early || this.#state === 'gone') return;
    this.#read(early);
    this.#socket.resume();
  }

  /** Closes once all is sent; what still comes is not heard. */
  #end(): void {
    this.#socket.destroySoon();
    this.#leave();
  }

  #over(): void {
    this.#open = false;
    const told = this.#told;
    this.#told = undefined;
    told?.over();
  }

  /** The whole answer is with the kernel now; before, it is its page's turn to read. */
  #onDrain = (): void => {
    this.#socket.setTimeout(this.#of.options.silence * 1000);
    this.#ready();
  };

  #onEnd = (): void => {
    this.#end();
  };

  #onClose = (): void => {
    this.#of.all.delete(this);
    this.#leave();
  };

  #onTimeout = (): void => {
    this.#socket.destroy();
  };

  #leave(): void {
    if (this.#state === 'gone') return;
    this.#state = 'gone';
    this.#relay?.destroy();
    this.#over();
  }
}

/** What goes wrong with a socket closes it, which is heard. */
const ignore = () => {};

let second = 0;
let text = '';
/** Now, as RFC 9110 §5.6.7 has it: made once a second. */
function date(): string {
  const now = Math.floor(Date.now() / 1000);
  if (now !== second) {
    second = now;
    text = new Date(now * 1000).toUTCString();
  }
  return text;
}
