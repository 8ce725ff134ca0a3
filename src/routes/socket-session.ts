/** One WebSocket of `GET /status/socket`: each key that it watches is a poll without an end, which asks again by itself. */
import type { RawData, WebSocket } from 'ws';
import type { Entry } from '../brokers/broker.js';
import type { Responder, Waiter } from '../hold/longpoll.js';
import { type Answer, EXPIRED, textOf } from '../protocol/answers.js';
import { COMMANDS_ALLOWED, commandOf, type WatchCommand } from '../protocol/commands.js';
import { BadParameter, parseQuery, type Query } from '../protocol/query.js';
import { Expiry } from './expiry.js';
import { intervalsToRead, MAX_UNREAD, PING_INTERVAL, type TransportDeps } from './transport.js';

/** Keys on one socket. */
const MAX_KEYS = 100;
/** Messages over the rate limit that are refused, one after another, before the socket is closed. */
const MAX_REFUSED = 100;

/** Why the server closes a socket (RFC 6455 §7.4.1, and the IANA registry for 1012). */
const CLOSE = {
  idle: [1000, 'idle: watch a key'],
  binary: [1003, 'give text, not binary'],
  kind: [1008, COMMANDS_ALLOWED],
  flood: [1008, 'too many messages'],
} as const;
const RESTART = 1012;

/** One key of a socket: hears its values until it ends, its ticket expires, or the client stops it. */
class WatchedKey implements Responder {
  readonly key: string;
  readonly #socket: SocketSession;
  readonly #expires: number | undefined;
  readonly #expiry: Expiry | undefined;
  #since: string;
  #waiter: Waiter | undefined;
  #state: 'watched' | 'ended' = 'watched';

  /** @param expires when the ticket ends, unix ms */
  constructor(socket: SocketSession, { key, since }: Query, expires: number | undefined) {
    this.#socket = socket;
    this.key = key;
    this.#since = since;
    this.#expires = expires;
    this.#expiry = expires === undefined ? undefined : new Expiry(expires, () => this.#finish(EXPIRED));
  }

  ask(): void {
    const question = { key: this.key, since: this.#since, hold: Number.POSITIVE_INFINITY };
    const waiter = this.#socket.deps.longpoll.get(question, this);
    // it may have been answered, and asked again, before this returns
    if (waiter?.responder) this.#waiter = waiter;
  }

  answer(answer: Answer): void {
    this.#waiter = undefined;
    if (answer.kind === 'moved') return this.#socket.restart(answer.retry);
    if (answer.kind === 'success') this.#hear(answer);
    else if (answer.kind === 'timeout') this.#since = answer.cursor;
    // the store is away: it is asked again when it is back
    else if (answer.kind !== 'unavailable') return this.#finish(answer);
    if (this.#state === 'watched') this.ask();
  }

  #hear(answer: Extract<Answer, { kind: 'success' }>): void {
    this.#since = answer.cursor;
    if ((answer.entries[answer.entries.length - 1] as Entry).final) return this.#finish(answer);
    this.#socket.send(this.key, answer, this.#left());
  }

  #finish(answer: Answer): void {
    this.#socket.send(this.key, answer, this.#left());
    this.#socket.stop(this.key);
  }

  /** seconds */
  #left(): number | undefined {
    return this.#expires === undefined ? undefined : Math.max(0, this.#expires - Date.now()) / 1000;
  }

  leave(): void {
    this.#state = 'ended';
    this.#expiry?.cancel();
    if (this.#waiter) this.#socket.deps.longpoll.leave(this.#waiter);
    this.#waiter = undefined;
  }
}

/** One open socket. It counts as one held request of its address, and as one more for each key after the first. */
export class SocketSession {
  readonly deps: TransportDeps;
  readonly #webSocket: WebSocket;
  readonly #network: string;
  readonly #onClose: (session: SocketSession) => void;
  readonly #keys = new Map<string, WatchedKey>();
  readonly #pings: NodeJS.Timeout;
  #state: 'open' | 'closed' = 'open';
  /** the last ping was answered */
  #alive = true;
  /** bytes sent since the last ping */
  #sent = 0;
  /** ping intervals that the client has left to answer the last ping: it reads first what was sent before */
  #patience = 0;
  /** no key was watched at the last ping */
  #idle = false;
  /** messages over the rate limit, one after another */
  #refused = 0;

  /** @param network is counted as holding one request already */
  constructor(
    deps: TransportDeps,
    webSocket: WebSocket,
    network: string,
    onClose: (session: SocketSession) => void,
  ) {
    this.deps = deps;
    this.#webSocket = webSocket;
    this.#network = network;
    this.#onClose = onClose;
    this.#pings = setInterval(() => this.#ping(), PING_INTERVAL);
    webSocket.on('message', (data, isBinary) => this.#onMessage(data, isBinary));
    webSocket.on('ping', () => void this.#count());
    webSocket.on('pong', () => this.#onPong());
    webSocket.on('close', () => this.#leave());
    // the package closes the socket with the code that fits
    webSocket.on('error', () => this.#leave());
  }

  #onMessage(data: RawData, isBinary: boolean): void {
    if (this.#state === 'closed') return;
    if (isBinary) return this.#close(CLOSE.binary);
    const command = commandOf(String(data));
    if (!command) return this.#close(CLOSE.kind);
    const retry = this.#count();
    if ('stop' in command) return this.stop(command.stop);
    this.deps.metrics.asked('socket');
    this.stop(command.watch);
    if (retry > 0) return this.send(command.watch, { kind: 'busy', retry });
    this.#watch(command);
  }

  /** Counts a frame as a request of its address. @returns retry delay, ms; 0: it is within the rate limit */
  #count(): number {
    const retry = this.deps.admissions.count(this.#network);
    this.#refused = retry > 0 ? this.#refused + 1 : 0;
    if (this.#refused > MAX_REFUSED) this.#close(CLOSE.flood);
    return retry;
  }

  #watch({ watch, since, proof }: WatchCommand): void {
    const given = { key: watch, since, proof };
    const query = parseQuery({ given, twice: [], garbled: [], tooLong: false }, 0);
    if (query instanceof BadParameter) return this.send(watch, { kind: 'badRequest', detail: query.message });
    if (this.#keys.size >= MAX_KEYS)
      return this.send(watch, { kind: 'badRequest', detail: `watch: at most ${MAX_KEYS} on one socket` });
    const { admissions } = this.deps;
    const hold = Number.POSITIVE_INFINITY;
    const first = this.#keys.size === 0;
    if (first) admissions.leave(this.#network);
    const admission = admissions.admit({ network: this.#network, ...query, hold }, () => false);
    const admitted = admission.kind === 'admitted' && admission.retry === 0;
    if (first && !admitted) admissions.stay(this.#network);
    if (admission.kind !== 'admitted') return this.send(watch, admission);
    if (!admitted) return this.send(watch, { kind: 'busy', retry: admission.retry });
    const watched = new WatchedKey(this, query, admission.expires);
    this.#keys.set(watch, watched);
    watched.ask();
  }

  /** Sends an answer, unless the client does not read. @param left seconds until the ticket of the key ends */
  send(key: string, answer: Answer, left?: number): void {
    if (this.#state === 'closed') return;
    this.deps.metrics.answered('socket', answer.kind);
    if (!this.#isRead()) return;
    const text = `${textOf(answer, left).slice(0, -1)},"key":${JSON.stringify(key)}}`;
    this.#sent += text.length;
    this.#webSocket.send(text);
  }

  /** Closes the connection if too much waits for the client to read. @returns false if so */
  #isRead(): boolean {
    if (this.#webSocket.bufferedAmount <= MAX_UNREAD) return true;
    this.#leave();
    this.#webSocket.terminate();
    return false;
  }

  /** Stops watching a key, if it is watched. */
  stop(key: string): void {
    const watched = this.#keys.get(key);
    if (!watched) return;
    this.#keys.delete(key);
    watched.leave();
    // the last key's place is kept for the socket itself
    if (this.#keys.size > 0) this.deps.admissions.leave(this.#network);
  }

  /** This node is closing. @param retry ms until the client connects again; the reason is the answer of a poll */
  restart(retry: number): void {
    this.#close([RESTART, textOf({ kind: 'moved', retry })]);
  }

  #ping(): void {
    if (!this.#alive) return this.#patience-- > 0 ? undefined : this.#webSocket.terminate();
    if (this.#keys.size > 0) this.#idle = false;
    else if (this.#idle) return this.#close(CLOSE.idle);
    else this.#idle = true;
    this.#alive = false;
    this.#patience = intervalsToRead(this.#sent);
    this.#sent = 0;
    this.#webSocket.ping();
  }

  #onPong(): void {
    if (this.#alive) this.#count();
    this.#alive = true;
  }

  #close([code, reason]: readonly [code: number, reason: string]): void {
    this.#leave();
    this.#webSocket.close(code, reason);
  }

  #leave(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    clearInterval(this.#pings);
    for (const key of this.#keys.keys()) this.stop(key);
    this.deps.admissions.leave(this.#network);
    this.#onClose(this);
  }
}
