/**
 * `GET /status/socket`: the values of many keys over one WebSocket (RFC 6455), subprotocol `tagwait.1`. The client sends
 * `{"watch":"KEY","since":"","proof":""}` and `{"stop":"KEY"}`; the server sends the answers of a poll with `"key"`, but
 * never -1. Here are the handshake, and all open sockets of this node.
 */
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Middleware } from 'koa';
import { WebSocketServer } from 'ws';
import { ANSWERS, type Answer, FORBIDDEN, textOf } from '../protocol/answers.js';
import type { KnownHeader } from '../wire/exchange.js';
import type { UpgradeRoute } from '../wire/upgrades.js';
import { SocketSession } from './socket-session.js';
import type { TransportDeps } from './transport.js';

const SUBPROTOCOL = 'tagwait.1';
/** Those that ws speaks: that of RFC 6455, and the draft of Firefox 6 to 10. */
const VERSIONS = ['13', '8'];
/** 16 bytes in base64. */
const KEY = /^[A-Za-z0-9+/]{22}==$/;
/** RFC 9110 §5.6.2 */
const TOKEN = /^[\w!#$%&'*+.^`|~-]+$/;
/** Longest message of a client, bytes. */
const MAX_MESSAGE = 4096;
/** Fragments of one message. */
const MAX_FRAGMENTS = 64;
/** ms that a client has to confirm the close of a socket. */
const CLOSE_TIMEOUT = 2000;

/** Named, because @types/ws 8.18 does not know `maxFragments` and `closeTimeout`. */
const OPTIONS = {
  noServer: true,
  maxPayload: MAX_MESSAGE,
  maxFragments: MAX_FRAGMENTS,
  closeTimeout: CLOSE_TIMEOUT,
  perMessageDeflate: false,
  clientTracking: false,
  handleProtocols: () => SUBPROTOCOL,
};

const NO_STORE = { 'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff' };
const UPGRADE_REQUIRED = `This address is for WebSocket, subprotocol ${SUBPROTOCOL}.\n`;
/** Headers of an answer to a request that is no WebSocket handshake. */
const UPGRADE_HEADERS = {
  ...NO_STORE,
  'Content-Type': 'text/plain; charset=utf-8',
  Upgrade: 'websocket',
  Connection: 'Upgrade, close',
};

export class SocketRoute implements UpgradeRoute {
  readonly path = '/status/socket';
  readonly #deps: TransportDeps;
  /** time over which clients are sent to other nodes, ms; undefined: not draining */
  #draining: number | undefined;
  readonly #sessions = new Set<SocketSession>();
  readonly #server = new WebSocketServer(OPTIONS);

  constructor(deps: TransportDeps) {
    this.#deps = deps;
  }

  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): boolean {
    const { url = '', method, headers } = request;
    const [path] = url.split('?', 1);
    // other routes also take a slash at the end
    if (path !== this.path && path !== `${this.path}/`) return false;
    if (method !== 'GET' || headers.upgrade?.toLowerCase() !== 'websocket') {
      write(socket, 426, UPGRADE_HEADERS, UPGRADE_REQUIRED);
      return true;
    }
    const { admissions, metrics } = this.#deps;
    const network = admissions.networkOf({
      address: request.socket.remoteAddress ?? '',
      header: (name: KnownHeader) => headers[name] as string | undefined,
    });
    const refusal = this.#refusalOf(headers, network);
    if (refusal) {
      metrics.asked('socket');
      metrics.answered('socket', refusal.kind);
      refuse(socket, refusal);
    } else this.#accept(request, socket, head, network);
    return true;
  }

  /** In this order: rate limit of the address, origin, the handshake's headers, drain, and limit of held requests. */
  #refusalOf(headers: IncomingMessage['headers'], network: string): Answer | undefined {
    const { admissions } = this.#deps;
    const wait = admissions.count(network);
    if (wait > 0) return { kind: 'busy', retry: wait };
    const { origin } = headers;
    if (origin !== undefined && !admissions.origins.allows(origin)) return FORBIDDEN;
    const detail = faultOf(headers);
    if (detail !== undefined) return { kind: 'badRequest', detail };
    if (this.#draining !== undefined) return { kind: 'moved', retry: Math.random() * this.#draining };
    const retry = admissions.enter(network);
    return retry > 0 ? { kind: 'busy', retry } : undefined;
  }

  #accept(request: IncomingMessage, socket: Duplex, head: Buffer, network: string): void {
    let accepted = false;
    // calls back at once, or destroys a socket whose client has ended its side
    this.#server.handleUpgrade(request, socket, head, webSocket => {
      accepted = true;
      const onClose = (session: SocketSession) => this.#sessions.delete(session);
      this.#sessions.add(new SocketSession(this.#deps, webSocket, network, onClose));
    });
    if (!accepted) this.#deps.admissions.leave(network);
  }

  /** Answers a request that asks for no other protocol. */
  refuse(response: ServerResponse): void {
    response.writeHead(426, { ...UPGRADE_HEADERS, 'Content-Length': UPGRADE_REQUIRED.length });
    response.end(UPGRADE_REQUIRED);
  }

  /** The same, for a router of Koa. */
  readonly refusal: Middleware = ctx => {
    ctx.respond = false;
    this.refuse(ctx.res);
  };

  /** Closes every socket, and refuses new ones. @param spread range of the random retry delays, ms */
  drain(spread: number): void {
    this.#draining = spread;
    for (const session of this.#sessions) session.restart(Math.random() * spread);
  }

  /** Drains at once, unless it is draining. */
  close(): void {
    this.drain(this.#draining ?? 0);
  }
}

/** What is wrong with a handshake, of all that ws would refuse in HTML (RFC 6455 §4.2.1). */
function faultOf(headers: IncomingMessage['headers']): string | undefined {
  const {
    'sec-websocket-key': key,
    'sec-websocket-version': version,
    'sec-websocket-protocol': offered,
  } = headers;
  if (!KEY.test(key ?? '')) return 'Sec-WebSocket-Key: give 16 random bytes in base64';
  if (!VERSIONS.includes(version ?? '')) return `Sec-WebSocket-Version: give ${VERSIONS[0]}`;
  if (offered === undefined) return undefined;
  const names = offered.split(',').map(name => name.trim());
  const valid = names.every(name => TOKEN.test(name)) && new Set(names).size === names.length;
  return valid && names.includes(SUBPROTOCOL) ? undefined : `Sec-WebSocket-Protocol: give ${SUBPROTOCOL}`;
}

/** Refuses a handshake as a poll in JSON is refused. */
function refuse(socket: Duplex, answer: Answer): void {
  const headers: Record<string, string> = { ...NO_STORE, 'Content-Type': 'application/json; charset=utf-8' };
  // tells the client which versions there are (RFC 6455 §4.4)
  if (answer.kind === 'badRequest') headers['Sec-WebSocket-Version'] = VERSIONS.join(', ');
  if ('retry' in answer) headers['Retry-After'] = String(Math.ceil(answer.retry / 1000));
  write(socket, ANSWERS[answer.kind].status, { ...headers, Connection: 'close' }, textOf(answer));
}

/** Answers in HTTP and closes the connection. @param text ASCII only */
function write(socket: Duplex, status: number, headers: Record<string, string>, text: string): void {
  const lines = Object.entries({ ...headers, 'Content-Length': text.length }).map(
    ([name, value]) => `${name}: ${value}\r\n`,
  );
  socket.on('error', () => socket.destroy());
  socket.once('finish', () => socket.destroy());
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join('')}\r\n${text}`);
}
