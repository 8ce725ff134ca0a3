/** A page that asks as the page's script does. */
import type { Reply } from '../harness.js';
import { call, pause, within } from './call.js';
import type { Random } from './random.js';
import type { Network, Node } from './world.js';

/** How long a poll may stay unanswered beyond its hold, ms. */
const WATCHDOG = 5000;

type End = 'answered' | 'left' | 'watchdog' | 'failed' | 'over';

/** One poll in flight. */
export interface Poll {
  readonly node: Node;
  readonly at: number;
  /** the newest number that the page had heard */
  readonly seen: number;
  /** ms */
  readonly hold: number;
}

export interface Heard {
  number: number;
  at: number;
  /** how many values before it were said to be lost */
  lost: number;
}

export interface PageOptions {
  key: string;
  name: string;
  /** leaves and comes back, in every phase */
  restless: boolean;
  /** through the node's line, where half-open and slow connections are made; the others reach it directly */
  throughLine: boolean;
  /** seconds */
  hold: number;
  random: Random;
  network: Network;
  /** where a balancer would send it */
  nodes(): readonly Node[];
  /** a poll has ended */
  ended(page: Page, poll: Poll, end: End, reply: Reply | undefined): void;
}

/** One page: one poll in flight, a watchdog, backoff with jitter. */
export class Page {
  readonly heard: Heard[] = [];
  /** the newest number heard */
  number = 0;
  /** how many of `heard` its polls have proved: they were taken before it asked */
  proved = 0;
  answers = 0;
  /** it has heard the final value */
  ended = false;
  poll: Poll | undefined;
  /** since when nothing but its node decides how soon it hears, on the monotonic clock in ms */
  steadySince = performance.now();
  /** what happened to it lately, for a violation's report */
  readonly log: { at: number; text: string }[] = [];
  #since = '';
  #failures = 0;

  constructor(readonly options: PageOptions) {}

  /** Asks until the final value. */
  async live(over: AbortSignal): Promise<void> {
    while (!over.aborted && !this.ended) {
      const end = await this.#ask(over);
      if (end === 'answered') this.#failures = 0;
      else if (end === 'failed' || end === 'watchdog') await pause(this.#backoff());
      await this.#rest(end, over);
    }
  }

  #backoff(): number {
    return Math.min(250 * 2 ** this.#failures++, 2000) * (0.5 + this.options.random.next() / 2);
  }

  /** Out of reach for a while: for less than a moment, or until its key is about to be given up. */
  async #rest(end: End, over: AbortSignal): Promise<void> {
    const { restless, random, network } = this.options;
    const leaves = end === 'left' || (restless && end === 'answered' && random.next() < network.leave);
    if (!leaves || over.aborted) return;
    const long = end === 'answered' && random.next() < 0.5;
    const back =
      performance.now() +
      (long ? random.between(4500, 6500) : random.pick([0, 30, random.between(250, 2250)]));
    // at the end of a run all come back
    for (let left = back - performance.now(); left > 0 && network.leave > 0; left = back - performance.now())
      await pause(Math.min(left, 100));
    this.steadySince = performance.now();
  }

  /** After how many ms the page gives this poll up: while its subscribe is under way, or later. */
  #givesUpAfter(): number | undefined {
    const { restless, random, network } = this.options;
    if (random.next() < network.cut) return random.between(1, 500);
    if (!restless || random.next() >= network.leave) return undefined;
    return random.next() < 0.5 ? random.between(0, 30) : random.between(200, 3000);
  }

  async #ask(over: AbortSignal): Promise<End> {
    const { hold, random, network, nodes } = this.options;
    const count = random.next() < network.repeat ? 2 : 1;
    const targets = [...nodes()].sort(() => random.next() - 0.5).slice(0, count);
    if (!targets[0]) {
      await pause(100);
      return 'failed';
    }
    const poll: Poll = { node: targets[0], at: performance.now(), seen: this.number, hold: hold * 1000 };
    this.poll = poll;
    this.proved = this.heard.length;
    this.#note(`asks ${targets.map(({ name }) => name).join(' and ')} since "${this.#since}"`);
    const limit = poll.hold + WATCHDOG;
    const givesUpAfter = this.#givesUpAfter();
    let reply: Reply | undefined;
    let end: End = 'answered';
    let cause = '';
    try {
      reply = await within(Math.min(givesUpAfter ?? limit, limit), over, signal =>
        this.#send(targets, signal),
      );
    } catch (error) {
      const [first] = error instanceof AggregateError ? error.errors : [error];
      cause = String(first?.cause ?? first);
      const lasted = performance.now() - poll.at;
      if (over.aborted) end = 'over';
      else if (givesUpAfter !== undefined && lasted >= givesUpAfter - 1) end = 'left';
      else end = lasted >= limit - 1 ? 'watchdog' : 'failed';
    }
    this.poll = undefined;
    this.#note(reply ? `is answered ${JSON.stringify(reply).slice(0, 200)}` : `${end}: ${cause}`);
    // looked at with what the page knew before
    this.options.ended(this, poll, end, reply);
    if (reply) await this.#take(reply);
    return end;
  }

  /** @returns the first answer */
  #send(targets: readonly Node[], signal: AbortSignal): Promise<Reply> {
    const { key, hold, throughLine } = this.options;
    const query = `status/get?key=${key}&hold=${hold}&since=${this.#since}`;
    return Promise.any(
      targets.map(async ({ agent, lineUrl, now }) => {
        const url = `${throughLine ? lineUrl : now.publicUrl}/${query}`;
        return (await call<Reply>(url, { agent, signal })).reply;
      }),
    );
  }

  async #take(reply: Reply): Promise<void> {
    this.answers++;
    if (reply.code === 0) {
      const values = [...(reply.earlier ?? []), reply.data] as number[];
      for (const [index, number] of values.entries())
        this.heard.push({ number, at: performance.now(), lost: index === 0 ? (reply.lost ?? 0) : 0 });
      this.number = Math.max(this.number, ...values);
      this.ended = reply.final === true;
    }
    if (reply.code === -2) this.ended = true;
    if (reply.cursor !== undefined) this.#since = reply.cursor;
    if (reply.retry !== undefined) await pause(Math.min(reply.retry, 1000));
  }

  #note(text: string): void {
    this.log.push({ at: performance.now(), text });
    if (this.log.length > 16) this.log.shift();
  }
}
