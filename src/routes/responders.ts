/** A poll while it is held, and the answer of one: as a script, or as JSON. */

import type { Responder, Waiter } from '../hold/longpoll.js';
import { SeveralKeys, type SeveralResponder } from '../hold/several.js';
import { ANSWERS, type Answer, EXPIRED, textOf } from '../protocol/answers.js';
import { assign, call } from '../protocol/jsonp.js';
import type { Form, KeyQuery, Query } from '../protocol/query.js';
import { type Exchange, HeaderBlock } from '../wire/exchange.js';
import type { Admission } from './admission.js';
import type { TransportDeps } from './transport.js';

/** Headers of every answer: no caching, no content sniffing, allowed under COEP, no URL with a key in Referer. */
const COMMON = {
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
  'Cross-Origin-Resource-Policy': 'cross-origin',
  'Referrer-Policy': 'no-referrer',
};
export const SCRIPT = new HeaderBlock({
  ...COMMON,
  'Content-Type': 'text/javascript; charset=utf-8',
  'Content-Disposition': 'attachment; filename=f.txt',
});
export const JSON_HEADERS = { ...COMMON, 'Content-Type': 'application/json; charset=utf-8' };
export const JSON_FOR_ALL = new HeaderBlock({ ...JSON_HEADERS, 'Access-Control-Allow-Origin': '*' });
export const JSON_FOR_NONE = new HeaderBlock({ ...JSON_HEADERS, Vary: 'Origin' });
export const TEXT = new HeaderBlock({ ...COMMON, 'Content-Type': 'text/plain; charset=utf-8' });

/** One poll: the form of its answer, and its exchange. Nothing else of the request is retained while it is held. */
export class Poll implements Responder {
  protected readonly deps: TransportDeps;
  readonly exchange: Exchange;
  readonly #mode: Form['mode'];
  readonly #name: string;
  readonly #fields: HeaderBlock;
  readonly network: string;
  /** it counts as held for its network */
  counted = false;
  /** retry delay if a limit is reached, ms: it is not held, and answered `busy` unless there is a newer value */
  retry = 0;
  /** its ticket expires before the end of its hold */
  ends = false;
  /** when its ticket ends, unix ms; undefined without tickets */
  expires: number | undefined;
  /** its name, see `drop`; '' for none */
  named = '';
  waiter: Waiter | undefined;

  constructor(
    deps: TransportDeps,
    exchange: Exchange,
    { mode, name }: Form,
    fields: HeaderBlock,
    network: string,
  ) {
    this.deps = deps;
    this.exchange = exchange;
    this.#mode = mode;
    this.#name = name;
    this.#fields = fields;
    this.network = network;
  }

  answer(given: Answer): void {
    this.write(this.outcome(given), this.expires);
  }

  /** @param expires end of the ticket that the answer is about, unix ms @param key of several */
  protected write(answer: Answer, expires: number | undefined, key?: string): void {
    const { metrics, longpoll } = this.deps;
    metrics.answered(this.#mode, answer.kind);
    if (longpoll.draining) this.exchange.closeAfterResponse();
    const left = expires === undefined ? undefined : Math.max(0, expires - Date.now()) / 1000;
    const text = textOf(answer, left, key);
    if (this.#mode === 'callback') this.exchange.send(200, SCRIPT, call(this.#name, text));
    else if (this.#mode === 'var') this.exchange.send(200, SCRIPT, assign(this.#name, text));
    else this.exchange.send(ANSWERS[answer.kind].status, this.#fields, text);
  }

  /** It may be held, or is answered at once. @param wanted the hold that it asks for, ms @returns its hold, ms */
  admitted({ expires, hold, retry, close }: Admission, { poll }: Query, wanted: number): number {
    this.expires = expires;
    this.named = poll;
    this.ends = hold < wanted;
    this.retry = retry;
    this.counted = wanted > 0 && retry === 0;
    if (close) this.exchange.closeAfterResponse();
    return this.counted ? hold : 0;
  }

  protected outcome(given: Answer): Answer {
    if (given.kind !== 'timeout' && given.kind !== 'unavailable') return given;
    if (this.retry > 0) return { kind: 'busy', retry: this.retry };
    return this.ends ? EXPIRED : given;
  }

  get proves(): boolean {
    return true;
  }

  isNamed(name: string, network: string): boolean {
    return this.named === name && this.network === network;
  }

  isFrom(network: string): boolean {
    return this.network === network;
  }

  onClose(): void {
    if (this.waiter) this.deps.longpoll.leave(this.waiter);
    if (this.counted) this.deps.admissions.leave(this.network);
  }
}

/** A poll of several keys: each answer names its key. */
export class SeveralPoll extends Poll implements SeveralResponder {
  readonly #tickets = new Map<string, number>();
  #held: SeveralKeys | undefined;

  /** @param tickets when they expire, unix ms, in the order of the keys; empty without tickets @param hold ms */
  hold(keys: readonly KeyQuery[], tickets: readonly number[], hold: number): void {
    for (const [at, expires] of tickets.entries()) this.#tickets.set((keys[at] as KeyQuery).key, expires);
    this.#held = new SeveralKeys(this.deps.longpoll, keys, hold, this);
  }

  override answer(given: Answer, key?: string): void {
    const answer = this.outcome(given);
    const its = key ?? (answer === EXPIRED ? this.#firstToExpire() : undefined);
    this.write(answer, its === undefined ? this.expires : this.#tickets.get(its), its);
  }

  /** Answers that a key is refused. */
  refuse(answer: Answer, key: string): void {
    this.write(answer, undefined, key);
  }

  #firstToExpire(): string | undefined {
    for (const [key, expires] of this.#tickets) if (expires === this.expires) return key;
    return undefined;
  }

  override onClose(): void {
    this.#held?.leave();
    super.onClose();
  }
}
