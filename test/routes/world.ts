/** The routes without ports: requests and answers as data, and a log and metrics that are lists. Milliseconds for a test. */
import { EventEmitter } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Broker } from '../../src/brokers/broker.js';
import { MemoryBroker } from '../../src/brokers/memory.js';
import { configOf } from '../../src/config.js';
import { LongPoll, type Question, type Responder, type Waiter } from '../../src/hold/longpoll.js';
import { fdBudget, Limits } from '../../src/limits.js';
import { createLog } from '../../src/log.js';
import type { Metrics } from '../../src/metrics.js';
import { Admissions } from '../../src/routes/admission.js';
import { PollRoute } from '../../src/routes/poll.js';
import { SetRoute } from '../../src/routes/set.js';
import type { Config } from '../../src/settings.js';
import type { CloseListener, Exchange, HeaderBlock, KnownHeader } from '../../src/wire/exchange.js';

export const SECRET = 'a-secret-of-thirty-two-characters';
export const JSON_BODY = { 'content-type': 'application/json' };
export const FORM_BODY = { 'content-type': 'application/x-www-form-urlencoded' };

/** Until everything that is under way, and waits for no timer, is done. */
export const turn = () => new Promise(resolve => setImmediate(resolve));

type Headers = Partial<Record<KnownHeader, string>>;

/** A request, and what it was answered. */
export class Asked implements Exchange {
  method = 'GET';
  address = '192.0.2.1';
  closed = false;
  headOfLine = true;
  status = 0;
  fields: Record<string, string> = {};
  text = '';
  /** the connection is closed after the answer */
  closes = false;
  readonly answered: Promise<void>;
  #resolve: () => void = () => {};
  readonly #headers: Headers;
  readonly #body: string | Buffer;
  #listener: CloseListener | undefined;

  constructor(
    readonly url: string,
    headers: Headers = {},
    body: string | Buffer = '',
  ) {
    const length = String(Buffer.byteLength(body));
    const counted = body.length > 0 && !headers['transfer-encoding'];
    this.#headers = counted ? { 'content-length': length, ...headers } : headers;
    this.#body = body;
    this.answered = new Promise(resolve => {
      this.#resolve = resolve;
    });
  }

  header(name: KnownHeader): string | undefined {
    return this.#headers[name];
  }

  body(): Buffer {
    return Buffer.from(this.#body);
  }

  onClose(listener: CloseListener): void {
    if (this.status > 0) listener.onClose();
    else this.#listener = listener;
  }

  closeAfterResponse(): void {
    this.closes = true;
  }

  send(status: number, { list }: HeaderBlock, text: string): void {
    if (this.status > 0) throw new Error('it is answered twice');
    this.status = status;
    for (let at = 0; at < list.length; at += 2) this.fields[list[at] as string] = list[at + 1] as string;
    this.text = text;
    this.#resolve();
    this.#listener?.onClose();
  }

  /** The client disconnects. */
  leave(): void {
    this.closed = true;
    this.#listener?.onClose();
  }
}

/** A set of a backend on this machine, without a token. */
export function setOf(body: string | Buffer | object, headers: Headers = JSON_BODY): Asked {
  const text = typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
  const asked = new Asked('/status/set', headers, text);
  return Object.assign(asked, { method: 'POST', address: '127.0.0.1' });
}

/** What was counted: `['answered', 'json', 'busy']`. */
function counting() {
  const counted: unknown[][] = [];
  const note =
    (name: string) =>
    (...labels: unknown[]) =>
      void counted.push([name, ...labels]);
  const metrics = {
    asked: note('asked'),
    answered: note('answered'),
    wasSet: note('set'),
    login: note('login'),
  };
  return { counted, metrics: metrics as unknown as Metrics };
}

interface Wish extends Partial<Config> {
  sharedPort?: boolean;
}

const NO_LIMITS = { maxHeld: 0, maxHeldPerKey: 0, maxHeldPerIp: 0, maxPollsPerIp: 0 };

/** A node with its routes for polls and sets. */
export async function world(
  { sharedPort = false, ...wish }: Wish = {},
  broker: Broker = new MemoryBroker({ history: 8 }),
) {
  const config = configOf({ hold: 60, logLevel: 'silent', ...NO_LIMITS, ...wish });
  const lines: Record<string, unknown>[] = [];
  const log = createLog(config.logLevel, 'n', { write: line => void lines.push(JSON.parse(line)) });
  const { counted, metrics } = counting();
  const longpoll = new LongPoll(broker, { id: 'n', version: '0', maxReceipts: 8 });
  await longpoll.start();
  const options = { ...config, secrets: config.secret, log, sharedPort, maxConcurrent: 2, version: '0' };
  const limits = new Limits(config, fdBudget(1024));
  const admissions = new Admissions(longpoll, limits, options);
  const poll = new PollRoute({ longpoll, metrics, admissions }, options);
  const set = new SetRoute(longpoll, metrics, options);
  /** A poll, and its answer, if it has one by the next turn. */
  const ask = async (query: string, headers?: Headers, more: Partial<Asked> = {}) => {
    const asked = Object.assign(new Asked(`/status/get?${query}`, headers), more);
    poll.handle(asked);
    await turn();
    return asked;
  };
  const post = async (asked: Asked) => {
    set.handle(asked);
    await asked.answered;
    await turn();
    return asked;
  };
  return {
    config,
    options,
    log,
    lines,
    counted,
    metrics,
    longpoll,
    limits,
    admissions,
    poll,
    set,
    ask,
    post,
  };
}

/** A long poll that answers when the test says so. */
export class Script {
  readonly asked: Question[] = [];
  /** the one that waits */
  responder: Responder | undefined;
  /** how many were let go before they were answered */
  left = 0;
  held = 0;
  readonly draining = false;

  heldFor(): number {
    return 0;
  }

  get(question: Question, responder: Responder): Waiter {
    this.asked.push(question);
    this.responder = responder;
    return { responder } as Waiter;
  }

  leave(): void {
    this.left++;
    this.responder = undefined;
  }

  get longpoll(): LongPoll {
    return this as unknown as LongPoll;
  }
}

/** A long poll that is scripted, with real limits. */
export function scripted(wish: Partial<Config> = {}) {
  const config = configOf({ ...NO_LIMITS, ...wish });
  const script = new Script();
  const { counted, metrics } = counting();
  const limits = new Limits(config, fdBudget(1024));
  const { longpoll } = script;
  const admissions = new Admissions(longpoll, limits, { origins: config.origins, secrets: config.secret });
  return { script, counted, limits, deps: { longpoll, admissions, metrics } };
}

/** A response of `node:http` that keeps what it is given. */
export class Response extends EventEmitter {
  status = 0;
  fields: Record<string, string> = {};
  text = '';
  over = false;
  destroyed = false;
  writableLength = 0;
  /** the connection was ended */
  ended = false;
  readonly req: IncomingMessage;
  readonly socket = { remoteAddress: '192.0.2.1', end: () => void Object.assign(this, { ended: true }) };

  constructor(url: string, headers: Record<string, string> = {}) {
    super();
    this.req = { method: 'GET', url, headers, socket: this.socket } as unknown as IncomingMessage;
  }

  setHeader(name: string, value: string): void {
    this.fields[name] = value;
  }

  hasHeader(name: string): boolean {
    return name in this.fields;
  }

  writeHead(status: number, fields: Record<string, string>): void {
    this.status = status;
    Object.assign(this.fields, fields);
  }

  write(text: string): void {
    this.text += text;
  }

  end(text = ''): void {
    this.text += text;
    this.over = true;
    this.emit('finish');
    this.emit('close');
  }

  destroy(): void {
    this.destroyed = true;
    this.emit('close');
  }

  get response(): ServerResponse {
    return this as unknown as ServerResponse;
  }
}
