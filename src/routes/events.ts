/**
 * `GET /status/events`: the values of a key as Server-Sent Events (HTML Living Standard §9.2). A stream is a poll without
 * a time limit that is repeated after each answer: the same long poll, tickets, origins, limits and drain.
 */
import type { ServerResponse } from 'node:http';
import type { Middleware } from 'koa';
import type { Entry } from '../brokers/broker.js';
import type { Responder, Waiter } from '../hold/longpoll.js';
import { ANSWERS, type Answer, FORBIDDEN, textOf } from '../protocol/answers.js';
import { advance, CURSOR } from '../protocol/cursor.js';
import { BadParameter, parseParameters, parseQuery, type Query, queryString } from '../protocol/query.js';
import { retryEventSource } from '../wire/event-source.js';
import type { Exchange } from '../wire/exchange.js';
import { HttpExchange } from '../wire/http.js';
import type { Admission } from './admission.js';
import { Expiry } from './expiry.js';
import { intervalsToRead, MAX_UNREAD, PING_INTERVAL, type TransportDeps } from './transport.js';

const COMMENT = ':\n\n';

const HEADERS = {
  'Content-Type': 'text/event-stream; charset=utf-8',
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
  'Cross-Origin-Resource-Policy': 'cross-origin',
  'Referrer-Policy': 'no-referrer',
  // nginx must not buffer events
  'X-Accel-Buffering': 'no',
};

/** One open stream. It ends with the key's final value, when the ticket expires, when the node drains, or when the client leaves. */
class EventStream implements Responder {
  readonly #deps: TransportDeps;
  readonly #response: ServerResponse;
  readonly #query: Query;
  readonly #network: string;
  #since: string;
  /** `first`: the status line is not sent yet */
  #state: 'first' | 'open' | 'closed' = 'first';
  #waiter: Waiter | undefined;
  #pings: NodeJS.Timeout | undefined;
  #expiry: Expiry | undefined;
  /** bytes written since the client was last seen to read */
  #sent = 0;
  /** ping intervals since then */
  #late = 0;

  constructor(deps: TransportDeps, response: ServerResponse, query: Query, network: string) {
    this.#deps = deps;
    this.#response = response;
    this.#query = query;
    this.#network = network;
    this.#since = query.since;
  }

  /** The first request is not held, so that a refusal can still have its own HTTP status. Later ones are. */
  start(exchange: Exchange, { expires }: Admission): void {
    exchange.onClose(this);
    if (expires !== undefined) this.#expiry = new Expiry(expires, () => this.#end('expired'));
    this.#ask(0);
  }

  answer(answer: Answer): void {
    this.#waiter = undefined;
    this.#deps.metrics.answered('events', answer.kind);
    if (this.#state === 'first' && answer.kind !== 'success' && answer.kind !== 'timeout')
      return this.#refuse(answer);
    switch (answer.kind) {
      case 'success':
        this.#writeValues(answer);
        break;
      case 'timeout':
        this.#since = answer.cursor;
        break;
      case 'expired':
        return this.#end('final');
      case 'moved':
        this.#write(`retry: ${Math.round(answer.retry)}\n\n`);
        // on a new connection the next request may reach another node
        this.#response.once('finish', () => this.#response.req.socket.end());
        return this.#finish();
      default:
    }
    this.#open();
    if (this.#state === 'open') this.#ask(Number.POSITIVE_INFINITY);
  }

  #ask(hold: number): void {
    const { key } = this.#query;
    const waiter = this.#deps.longpoll.get({ key, since: this.#since, hold }, this);
    // `answer` may have been called, and may have asked again, before `get` returns
    if (waiter?.responder) this.#waiter = waiter;
  }

  /** Writes `lost` first, then one `value` for each entry, oldest first. */
  #writeValues({ entries, lost, cursor }: Extract<Answer, { kind: 'success' }>): void {
    let text = lost > 0 ? `event: lost\ndata: ${lost}\n\n` : '';
    let id = this.#since;
    for (const entry of entries) {
      // `final` is for tagwait/subscribe; an EventSource ignores it
      const final = entry.final ? 'final: true\n' : '';
      id = advance(id, entry.cursor);
      text += `id: ${id}\nevent: value\n${final}data: ${entry.value}\n\n`;
    }
    this.#since = cursor;
    this.#open();
    this.#write(text);
    if ((entries[entries.length - 1] as Entry).final) this.#end('final');
  }

  #open(): void {
    if (this.#state !== 'first') return;
    this.#state = 'open';
    this.#response.writeHead(200, HEADERS);
    // a byte at once: a client that gets none knows that a proxy buffers the stream
    this.#write(COMMENT);
    this.#pings = setInterval(() => this.#ping(), PING_INTERVAL);
  }

  #write(text: string): void {
    if (this.#state !== 'open') return;
    if (!this.#isRead) return void this.#response.destroy();
    this.#sent += text.length;
    this.#response.write(text);
  }

  get #isRead(): boolean {
    return this.#response.writableLength <= MAX_UNREAD;
  }

  /** Tells proxies and the client that the stream lives; disconnects a client that has not read in time. */
  #ping(): void {
    if (this.#isRead) {
      this.#write(COMMENT);
      this.#sent = 0;
      this.#late = 0;
    } else if (++this.#late > intervalsToRead(this.#sent)) this.#response.destroy();
  }

  #end(reason: 'final' | 'expired'): void {
    if (this.#state === 'first') return this.#refuse({ kind: 'expired' });
    this.#write(`event: end\ndata: ${reason}\n\n`);
    this.#finish();
  }

  #refuse(answer: Answer): void {
    refuse(this.#response, answer);
    this.#close();
  }

  #finish(): void {
    if (this.#state === 'open') this.#response.end();
    this.#close();
  }

  /** The client has disconnected, or the response is sent. */
  onClose(): void {
    this.#close();
  }

  #close(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    clearInterval(this.#pings);
    this.#expiry?.cancel();
    if (this.#waiter) this.#deps.longpoll.leave(this.#waiter);
    this.#waiter = undefined;
    this.#deps.admissions.leave(this.#network);
  }
}

/**
 * Answers like a JSON poll. A key that has ended gets 204, which stops an `EventSource` from reconnecting. A temporary
 * refusal gets 200 and `retry`, so that it reconnects.
 */
function refuse(response: ServerResponse, answer: Answer): void {
  if (
    'retry' in answer &&
    retryEventSource(response.req, response, ANSWERS[answer.kind].message, answer.retry)
  )
    return;
  const text = answer.kind === 'expired' ? '' : textOf(answer);
  const { 'Content-Type': _, ...headers } = HEADERS;
  const type = text === '' ? {} : { 'Content-Type': 'application/json; charset=utf-8' };
  response.writeHead(text === '' ? 204 : ANSWERS[answer.kind].status, { ...headers, ...type });
  response.end(text);
}

/** The route, as Koa middleware. */
export function events(deps: TransportDeps): Middleware {
  const { admissions, metrics } = deps;
  return ctx => {
    ctx.respond = false;
    const response = ctx.res;
    const exchange = new HttpExchange(ctx.req, response);
    const answered = (answer: Answer) => {
      metrics.answered('events', answer.kind);
      refuse(response, answer);
    };
    metrics.asked('events');
    const origin = exchange.header('origin');
    const allowed = admissions.origins.all ? '*' : origin && admissions.origins.allows(origin) ? origin : '';
    if (allowed) response.setHeader('Access-Control-Allow-Origin', allowed);
    if (allowed !== '*') response.setHeader('Vary', 'Origin');
    if (origin !== undefined && !allowed) return answered(FORBIDDEN);
    const query = streamQueryOf(exchange.url, ctx.get('Last-Event-ID'));
    if (query instanceof BadParameter) return answered({ kind: 'badRequest', detail: query.message });
    // already disconnected: it must not count as held
    if (exchange.closed) return;
    const network = admissions.networkOf(exchange);
    const wish = { network, key: query.key, proof: query.proof, hold: Number.POSITIVE_INFINITY };
    const admission = admissions.admit(wish, () => false);
    if (admission.kind !== 'admitted') return answered(admission);
    if (admission.retry > 0) return answered({ kind: 'busy', retry: admission.retry });
    if (ctx.method === 'HEAD') {
      admissions.leave(network);
      response.writeHead(200, HEADERS);
      return response.end();
    }
    new EventStream(deps, response, query, network).start(exchange, admission);
  };
}

/** Parses the query. `Last-Event-ID`, which an `EventSource` sends when it reconnects, overrides `since`. */
function streamQueryOf(url: string, lastEventId: string): Query | BadParameter {
  const parameters = parseParameters(queryString(url));
  const { callback, var: variable } = parameters.given;
  if (callback !== undefined || variable !== undefined)
    return new BadParameter('callback, var: give none, an event stream is no script');
  const query = parseQuery(parameters, 0);
  if (query instanceof BadParameter || lastEventId === '') return query;
  if (!CURSOR.test(lastEventId)) return new BadParameter('Last-Event-ID: give the id of the last event');
  return { ...query, since: lastEventId };
}
