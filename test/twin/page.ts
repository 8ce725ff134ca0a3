/** A page of a run: asks, hears, asks again, and checks what it is answered. */

import type { Waiter } from '../../src/hold/longpoll.js';
import { type Answer, textOf } from '../../src/protocol/answers.js';
import { as } from './clock.js';
import type { Node, World } from './world.js';

interface Body {
  data?: string;
  earlier?: string[];
  lost?: number;
  cursor?: string;
  final?: boolean;
  retry?: number;
}

/**
 * While Redis has not answered for so long, ms, no page is answered that there is nothing new. Only the time counts in which
 * the node runs: one that was stopped cannot have noticed, and what Redis answered meanwhile waits for it.
 */
const UNHEARD = 10_500;
/** Nor after this time, ms, if the node was stopped in it: what it knows of a key is out of date. */
const OUTDATED = 15_000;
/** ms between an answer and the next poll */
const BETWEEN = 2;
/** ms after which a page asks again whose answer got lost */
const LOST = 50;

export class Page {
  node: Node;
  readonly key: string;
  /** number of the newest entry heard */
  heard = 0;
  /** waits, but for the moment between an answer and the next poll; undefined: is not there; ms since the start */
  since: number | undefined;
  ended = false;
  /** how often it has left */
  departures = 0;
  /** its next answer gets lost */
  loses = false;
  /** values that it has taken; what it has lost is not among them */
  readonly #taken = new Set<string>();
  readonly #name: string;
  readonly #world: World;
  readonly #hold: number;
  readonly #think: number;
  #cursor = '';
  #waiter: Waiter | undefined;
  #again: NodeJS.Timeout | undefined;
  /** counts polls: an answer to another than the last is one too many */
  #polls = 0;

  constructor(
    world: World,
    name: string,
    node: Node,
    { key, hold, think }: { key: string; hold: number; think: number },
  ) {
    this.#world = world;
    this.#name = name;
    this.node = node;
    this.key = key;
    this.#hold = hold;
    this.#think = think;
  }

  get name(): string {
    return `${this.#name} (${this.key} on ${this.node.id})`;
  }

  arrive(): void {
    if (this.since !== undefined || this.ended) return;
    this.since = performance.now();
    this.#ask();
  }

  /** Its node takes pages now. */
  restart(): void {
    this.since = performance.now();
    this.#ask();
  }

  leave(): void {
    this.since = undefined;
    this.departures++;
    clearTimeout(this.#again);
    this.#polls++;
    const waiter = this.#waiter;
    this.#waiter = undefined;
    if (waiter) this.node.longpoll.leave(waiter);
  }

  #ask(): void {
    if (this.ended || !this.node.started) return;
    const { line } = this.node;
    const stalled = line.stalledUntil - performance.now();
    if (stalled > 0) {
      this.#later(stalled);
      return;
    }
    const number = ++this.#polls;
    for (const value of this.#taken) this.#world.proved.add(value);
    let answered = false;
    const waiter = as(line, () =>
      this.node.longpoll.get(
        { key: this.key, since: this.#cursor, hold: this.#hold },
        {
          proves: true,
          answer: answer => {
            if (answered || number !== this.#polls)
              return this.#world.fail('twice', `${this.name} is answered ${textOf(answer)} after it left`);
            answered = true;
            this.#waiter = undefined;
            // the page is not stopped with its node
            as(undefined, () => this.#hear(answer));
          },
        },
      ),
    );
    if (!answered) this.#waiter = waiter;
  }

  #hear(answer: Answer): void {
    const { kind } = answer;
    if (this.loses) {
      this.loses = false;
      this.since = performance.now();
      this.#later(LOST);
      return;
    }
    const text = textOf(answer);
    const body = JSON.parse(text) as Body;
    if (kind === 'success') this.#take(body);
    else if (kind === 'expired') this.#end();
    else if (kind === 'timeout') {
      const known = this.node.known.get(this.key) ?? 0;
      if (known > this.heard)
        this.#world.fail(
          'known',
          `${this.name} is at ${this.heard}, ${known} is known, and it is answered -1`,
        );
      const { answered, line } = this.node;
      const silence = performance.now() - answered.at;
      const ran = silence - (line.stalled - answered.stalled);
      if (!this.node.longpoll.store().up || ran > UNHEARD || silence > OUTDATED)
        this.#world.fail('away', `${this.name} is answered -1, and Redis has not answered for ${silence} ms`);
      this.#cursor = body.cursor ?? '';
      this.#later(BETWEEN);
    } else if (kind === 'unavailable') {
      this.#world.checkUnavailable(this);
      this.#later(body.retry ?? 0);
      this.since = performance.now() + (body.retry ?? 0);
    } else if (!this.#world.closing) this.#world.fail('answer', `${this.name} is answered ${text}`);
  }

  #take({ data, earlier = [], lost = 0, cursor = '', final }: Body): void {
    const numbers = [...earlier, data as string].map(value => this.#world.numberOf(this.key, value));
    const expected = numbers.map((_, index) => this.heard + lost + 1 + index);
    if (String(numbers) !== String(expected))
      this.#world.fail(
        'order',
        `${this.name} was at ${this.heard}, lost ${lost}, and hears ${numbers} (${cursor})`,
      );
    for (const value of [...earlier, data as string]) this.#taken.add(value);
    this.heard = numbers.at(-1) ?? this.heard;
    this.#cursor = cursor;
    if (final) return this.#end(cursor);
    this.#later(BETWEEN + this.#think);
    if (this.#think > 100) this.since = performance.now() + this.#think;
  }

  /** @param cursor of a final value: one poll more proves that it was taken */
  #end(cursor?: string): void {
    this.ended = true;
    if (cursor !== undefined && this.node.started) {
      for (const value of this.#taken) this.#world.proved.add(value);
      const responder = { proves: true, answer() {} };
      as(this.node.line, () => this.node.longpoll.get({ key: this.key, since: cursor, hold: 0 }, responder));
    }
    const all = this.#world.stored(this.key).length;
    if (this.heard < all) this.#world.fail('end', `${this.name} ends at ${this.heard} of ${all}`);
  }

  #later(ms: number): void {
    this.#again = setTimeout(() => this.#ask(), ms);
  }
}
