/** The requests of one subscription: event streams, and polls where streams do not pass. */
import { TagwaitError } from './errors.js';
import { fieldsOf, type Reply, replyOf } from './reply.js';
import { isServiceUrl, Request } from './request.js';
import { eventsOf, type ServerEvent } from './sse.js';
import type { Ending, SubscribeOptions, Update } from './types.js';

/** ms for the first byte of a stream: a proxy that buffers passes none on. */
const FIRST_BYTE = 5000;
/** ms without a byte of a stream. The service sends one every 15 s. */
const SILENCE = 40_000;
/** ms for the answer to a poll, more than the longest hold of 300 s. */
const LONGEST_POLL = 310_000;
/** Streams in a row that passed nothing on after their beginning, until polls take their place. */
const STREAM_TRIES = 2;
/** ms after which a stream is tried again. */
const POLLING = 300_000;
/** ms before the request after a failed one: doubled with each further failure, half of it at random. */
const BACKOFF = { first: 500, most: 15_000 };

/** @throws {TagwaitError} an argument is not what is allowed */
function allow(allowed: boolean, detail: string): asserts allowed {
  if (!allowed) throw new TagwaitError('TAGWAIT_BAD_REQUEST', detail);
}

/** What a request brings; its return value is how the subscription ends, or undefined if it goes on. */
type Updates = AsyncGenerator<Update, Ending | undefined, undefined>;

export class Source {
  readonly #url: string;
  readonly #key: string;
  readonly #proof: string;
  readonly #signal: AbortSignal;
  #cursor: string;
  /** values missed before the next one */
  #lost = 0;
  /** delay that the service has asked for, ms */
  #wait = 0;
  /** failed polls in a row */
  #failures = 0;
  /** streams in a row that passed nothing on after their beginning */
  #streamFailures = 0;
  /** pollOnce: a stream has failed, and the answer to a poll will tell whether the service is well */
  #mode: 'stream' | 'pollOnce' | 'poll' = 'stream';
  /** when a stream is tried again, ms on the monotonic clock */
  #pollUntil = 0;
  /** the service has answered once */
  #known = false;

  /** @param ends ends its requests @throws {TagwaitError} */
  constructor(
    key: string,
    { url, proof = '', since = '', signal }: Partial<SubscribeOptions> = {},
    ends: AbortSignal,
  ) {
    allow(typeof key === 'string', 'key: give a string');
    allow(isServiceUrl(String(url)), 'url: give the URL of the service, with http:// or https://');
    allow(signal === undefined || signal instanceof AbortSignal, 'signal: give an AbortSignal');
    this.#url = String(url).replace(/\/$/, '');
    this.#key = key;
    this.#proof = proof;
    this.#cursor = since;
    this.#signal = ends;
  }

  /** Makes one request. */
  ask(): Updates {
    if (this.#mode === 'poll' && performance.now() >= this.#pollUntil) this.#mode = 'stream';
    return this.#mode === 'stream' ? this.#stream() : this.#poll();
  }

  /** ms until the next request */
  delay(): number {
    const wait = this.#wait;
    this.#wait = 0;
    if (wait > 0 || this.#failures === 0) return wait;
    const most = Math.min(BACKOFF.most, BACKOFF.first * 2 ** (this.#failures - 1));
    return (most * (1 + Math.random())) / 2;
  }

  async *#stream(): Updates {
    const request = new Request(this.#signal);
    try {
      request.expect(FIRST_BYTE);
      const response = await request.send(this.#target('events'), 'text/event-stream');
      if (response.status === 204) return 'expired';
      if (isStream(response)) {
        const ending = yield* this.#read(response.body, request);
        if (ending || this.#wait > 0) return ending;
      } else {
        const reply = replyOf(await response.text());
        if (reply || response.headers.has('retry-after')) return this.#settle(reply, response);
      }
    } catch (error) {
      this.#rethrow(error);
    } finally {
      request.end();
    }
    this.#streamFailed();
  }

  async *#read(body: ReadableStream<Uint8Array>, request: Request): Updates {
    let chunks = 0;
    const onBytes = () => {
      this.#known = true;
      this.#failures = 0;
      // the first may be all that a proxy passes on
      if (++chunks > 1) this.#streamFailures = 0;
      request.expect(SILENCE);
    };
    for await (const event of eventsOf(body, onBytes)) {
      if (event.retry > 0) this.#wait = event.retry;
      if (event.type === 'lost') this.#lost += Number(event.data);
      if (event.type === 'end') return endingOf(event);
      if (event.type !== 'value') continue;
      this.#cursor = event.id;
      // the program may take its time
      request.expect(0);
      yield this.#update(JSON.parse(event.data), event.final);
      if (event.final) return 'final';
      request.expect(SILENCE);
    }
  }

  #streamFailed(): void {
    this.#streamFailures++;
    this.#mode = this.#streamFailures >= STREAM_TRIES ? 'poll' : 'pollOnce';
    this.#pollUntil = performance.now() + POLLING;
  }

  async *#poll(): Updates {
    const request = new Request(this.#signal);
    try {
      request.expect(LONGEST_POLL);
      const response = await request.send(this.#target('get'), 'application/json');
      const text = await response.text();
      const reply = replyOf(text);
      request.end();
      if (reply?.kind === 'success') {
        yield* this.#values(reply);
        return reply.final ? 'final' : undefined;
      }
      if (!reply && response.status === 404 && !this.#known) throw notFound(this.#url, text);
      return this.#settle(reply, response);
    } catch (error) {
      this.#rethrow(error);
      this.#failures++;
    } finally {
      request.end();
    }
  }

  async *#values(reply: Reply): AsyncGenerator<Update, void, undefined> {
    this.#answered();
    this.#lost += reply.lost ?? 0;
    for (const value of reply.earlier ?? []) yield this.#update(value, false);
    this.#cursor = reply.cursor ?? '';
    yield this.#update(reply.data, reply.final === true);
  }

  /** An answer without values. @throws {TagwaitError} */
  #settle(reply: Reply | undefined, response: Response): Ending | undefined {
    if (!reply) {
      this.#failures++;
      this.#wait = Number(response.headers.get('retry-after') ?? 0) * 1000 || 0;
      return undefined;
    }
    if (reply.kind === 'expired') return 'expired';
    if (reply.kind === 'badRequest')
      throw new TagwaitError('TAGWAIT_BAD_REQUEST', reply.detail ?? 'bad request');
    if (reply.kind === 'forbidden') throw forbidden();
    this.#answered();
    this.#cursor = reply.cursor ?? this.#cursor;
    this.#wait = reply.retry ?? 0;
    return undefined;
  }

  #answered(): void {
    this.#known = true;
    this.#failures = 0;
    if (this.#mode === 'pollOnce') this.#mode = 'stream';
  }

  /** Lets a failed request be repeated. */
  #rethrow(error: unknown): void {
    if (this.#signal.aborted) throw this.#signal.reason;
    if (error instanceof TagwaitError) throw error;
  }

  #update(value: unknown, final: boolean): Update {
    const lost = this.#lost;
    this.#lost = 0;
    return { value, cursor: this.#cursor, lost, final };
  }

  #target(way: 'events' | 'get'): string {
    const query = new URLSearchParams({ key: this.#key, since: this.#cursor });
    if (this.#proof) query.set('proof', this.#proof);
    return `${this.#url}/status/${way}?${query}`;
  }
}

function endingOf({ data }: ServerEvent): Ending {
  if (data === 'forbidden') throw forbidden();
  return data === 'final' ? 'final' : 'expired';
}

const forbidden = () =>
  new TagwaitError(
    'TAGWAIT_FORBIDDEN',
    'forbidden: wrong or missing proof, or an origin that is not allowed',
  );

const isStream = (response: Response): response is Response & { body: ReadableStream<Uint8Array> } =>
  response.status === 200 &&
  response.body !== null &&
  (response.headers.get('content-type') ?? '').startsWith('text/event-stream');

/** @param text the answer: the internal port says where the public one is */
function notFound(url: string, text: string): TagwaitError {
  const { detail } = fieldsOf(text);
  const message = detail ? `${url}: ${detail}` : `no tagwait at ${url}: /status/get is not found`;
  return new TagwaitError('TAGWAIT_NOT_FOUND', message);
}
