/**
 * A request that waits for several keys: the first news of any of them answers it, and its waiters of the other keys are
 * let go. It counts as one held request; for the limit of a key, as one of that key.
 */
import type { Answer } from '../protocol/answers.js';
import { away } from './holder.js';
import type { LongPoll, Responder, Waiter } from './longpoll.js';

/** Sends the answer of a request for several keys. */
export interface SeveralResponder extends Responder {
  /** @param key that the answer is for; absent: all of them */
  answer(answer: Answer, key?: string): void;
}

/** One of the keys. */
class Part implements Responder {
  readonly key: string;
  readonly uncounted: boolean;
  /** where the page is, as far as it is known */
  cursor: string;
  /** undefined: not held, or answered */
  waiter: Waiter | undefined;
  readonly #of: SeveralKeys;

  constructor(of: SeveralKeys, key: string, since: string, uncounted: boolean) {
    this.#of = of;
    this.key = key;
    this.cursor = since;
    this.uncounted = uncounted;
  }

  answer(answer: Answer): void {
    this.waiter = undefined;
    this.#of.answered(this, answer);
  }

  get proves(): boolean {
    return this.#of.responder.proves ?? false;
  }

  isNamed(name: string, from: string): boolean {
    return this.#of.responder.isNamed?.(name, from) ?? false;
  }

  isFrom(from: string): boolean {
    return this.#of.responder.isFrom?.(from) ?? false;
  }

  abandon(): void {
    this.#of.leave();
  }
}

export class SeveralKeys {
  readonly responder: SeveralResponder;
  readonly #longpoll: LongPoll;
  readonly #parts: readonly Part[];
  readonly #hold: number;
  /** keys that may still have news */
  #waiting: number;
  #failure: Answer | undefined;
  #answered = false;

  /**
   * @param keys each once @param hold longest hold, ms; 0: answer at once
   * @param responder answered at most once, maybe before `start` returns, never after `leave`
   */
  constructor(
    longpoll: LongPoll,
    keys: readonly { key: string; since: string }[],
    hold: number,
    responder: SeveralResponder,
  ) {
    this.#longpoll = longpoll;
    this.#hold = hold;
    this.responder = responder;
    // begins with any of them: the values of one key must not keep those of another waiting
    const first = Math.floor(Math.random() * keys.length);
    this.#parts = keys.map(({ key, since }, at) => new Part(this, key, since, at !== first));
    this.#waiting = keys.length;
    this.#start(first);
  }

  /** The first one has the timer and is counted. */
  #start(first: number): void {
    const parts = this.#parts;
    for (let at = 0; at < parts.length && !this.#answered; at++) {
      const part = parts[(first + at) % parts.length] as Part;
      const hold = at === 0 || this.#hold === 0 ? this.#hold : Number.POSITIVE_INFINITY;
      const waiter = this.#longpoll.get({ key: part.key, since: part.cursor, hold }, part);
      if (waiter?.responder) part.waiter = waiter;
    }
  }

  /** The client has disconnected, or its page has stopped watching: removes its waiters. */
  leave(): void {
    for (const part of this.#parts) {
      if (part.waiter) this.#longpoll.leave(part.waiter);
      part.waiter = undefined;
    }
  }

  /** A waiter was answered: with news, or because there are none. */
  answered(part: Part, answer: Answer): void {
    switch (answer.kind) {
      case 'success':
      case 'expired':
        return this.#finish(answer, part.key);
      case 'timeout':
        part.cursor = answer.cursor;
        return this.#quiet();
      case 'unavailable':
        this.#failure = answer;
        return this.#quiet();
      default:
        return this.#finish(answer);
    }
  }

  /** A key has no news: waits for the other ones if they are asked once, too; otherwise the hold has ended. */
  #quiet(): void {
    this.#waiting--;
    if (this.#hold === 0 && this.#waiting > 0) return;
    for (const part of this.#parts) {
      if (!part.waiter) continue;
      const cursor = this.#longpoll.cursorOf(part.waiter);
      if (cursor === undefined) this.#failure ??= away();
      else part.cursor = cursor;
    }
    const cursors = this.#parts.map(({ cursor }) => cursor);
    this.#finish(this.#failure ?? { kind: 'timeout', cursor: '', cursors });
  }

  #finish(answer: Answer, key?: string): void {
    if (this.#answered) return;
    this.#answered = true;
    for (const part of this.#parts) {
      if (part.waiter) this.#longpoll.letGo(part.waiter);
      part.waiter = undefined;
    }
    this.responder.answer(answer, key);
  }
}
