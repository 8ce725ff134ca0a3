/** Looks at all pages and nodes of a run, all the time, and keeps what breaks a rule. */
import type { Reply } from '../harness.js';
import { type Backend, type Stored, trySet } from './backend.js';
import { clock, pause } from './call.js';
import {
  BOUND,
  DEAD,
  type Facts,
  isBehind,
  isUnproved,
  isUnwatched,
  isWrongTimeout,
  notReady,
  RULES,
  type Rule,
  steadyAfter,
  story,
  type Violation,
} from './invariants.js';
import { Page, type Poll } from './page.js';
import type { Random } from './random.js';
import type { Node, World } from './world.js';

const TICK = 250;
const PROBE = 1000;
/** A node that has had its Redis for so long knows which others live, ms. */
const ACQUAINTED = 5000;
/** Violations whose story is printed; all are counted. */
const STORIES = 5;

export class Monitor {
  readonly violations: Violation[] = [];
  /** how often a set was made for a page of a dead node */
  deadChecks = 0;
  /** the most that `late` was, ms */
  longestLate = 0;
  readonly timeline: { at: number; text: string }[] = [];
  /** when Redis lost values: `to` is Infinity while it does */
  readonly losses: { from: number; to: number }[] = [];
  readonly #start = performance.now();
  readonly #pages = new Map<string, Page[]>();
  readonly #backends = new Map<string, Backend>();
  readonly #reported = new Set<Page>();
  readonly #over = new AbortController();
  readonly #checks: Promise<void>[] = [];
  #lateness: { at: number; late: number }[] = [];

  /** @param print is given the story of a violation, or a line of the time line */
  constructor(
    readonly title: string,
    readonly print: (text: string, important: boolean) => void,
  ) {}

  note(text: string): void {
    const at = performance.now();
    this.timeline.push({ at, text });
    this.print(`${this.title}, ${clock(at - this.#start)}: ${text}`, false);
  }

  watch(world: World, pages: readonly Page[], backends: readonly Backend[]): void {
    for (const backend of backends) this.#backends.set(backend.key, backend);
    for (const page of pages)
      this.#pages.set(page.options.key, [...(this.#pages.get(page.options.key) ?? []), page]);
    void this.#tick();
    for (const node of world.nodes) void this.#probe(node);
  }

  /** @param soon leaves out what would take 10 s more */
  async stop(soon: boolean): Promise<void> {
    if (!soon) await Promise.all(this.#checks);
    this.#over.abort();
  }

  /** For a page's `ended`. */
  pollEnded(page: Page, poll: Poll, end: string, reply: Reply | undefined): void {
    const now = performance.now();
    const facts = this.#facts(page.options.key, now);
    if (reply?.code === -1 && isWrongTimeout(poll, facts))
      this.#violate('wrongTimeout', `${poll.node.name} said -1 to a page that had heard ${poll.seen}`, page);
    if (end === 'watchdog' && poll.node.health.reachableSince < poll.at && poll.node.alive)
      this.#violate('unanswered', `${poll.node.name}, asked ${clock(now - poll.at)} ago`, page);
    page.steadySince = steadyAfter(page, poll, end, reply, now);
  }

  /** For a backend's `acknowledged`. */
  setAcknowledged(stored: Stored, node: Node, key: string): void {
    const facts = this.#facts(key, performance.now());
    if (isUnproved(this.#pages.get(key) ?? [], stored))
      this.#violate('unproved', `${node.name} said so of ${stored.number} of ${key}`);
    if (node.health.missedAt + BOUND > stored.sent) return;
    const page = this.#pages.get(key)?.find(one => isUnwatched(one, stored, facts));
    if (page) this.#violate('unwatched', `${node.name} said so of ${stored.number}`, page);
  }

  /**
   * A page on one node alone, for the death of that node.
   * @returns a function to call at its death: 10 s later a set must find nobody
   */
  async witness(world: World, node: Node, random: Random): Promise<() => void> {
    const key = `w${Math.floor(random.next() * 1e9).toString(36)}`;
    const gone = new AbortController();
    const page = new Page({
      key,
      name: `the only page of ${key}`,
      restless: false,
      throughLine: false,
      hold: 25,
      random,
      network: { repeat: 0, cut: 0, leave: 0 },
      nodes: () => [node],
      ended() {},
    });
    void page.live(gone.signal);
    await pause(500);
    return () => {
      const death = performance.now();
      gone.abort();
      this.#checks.push(this.#expectUnwatched(world, node, key, death));
    };
  }

  async #expectUnwatched(world: World, dead: Node, key: string, death: number): Promise<void> {
    await pause(DEAD);
    for (let number = 1; number <= 20 && !this.#over.signal.aborted; number++) {
      const now = performance.now();
      const others = world
        .alive()
        .filter(node => node !== dead && now - node.health.reachableSince > ACQUAINTED);
      const result = others[0] && (await trySet(others[0], { key, value: number }, this.#over.signal));
      if (result?.status === 200) {
        this.deadChecks++;
        const ago = clock(now - death);
        if (result.watched)
          this.#violate(
            'watchedDead',
            `${others[0]?.name} said so of ${dead.name}, which died ${ago} before`,
          );
        return;
      }
      await pause(1000);
    }
  }

  notRecovered(page: Page): void {
    this.#violate('notRecovered', `has heard ${page.number}`, page);
  }

  /** Shows a page's history, and that of its key. */
  show(page: Page): void {
    const { key } = page.options;
    const stored = this.#backends.get(key)?.stored ?? [];
    this.print(story(this.timeline, key, stored, page, this.#start), false);
  }

  #facts(key: string, now: number): Facts {
    const stored = this.#backends.get(key)?.stored ?? [];
    return { now, stored, lostUntil: this.losses.at(-1)?.to ?? Number.NEGATIVE_INFINITY, late: this.late() };
  }

  /**
   * How slow the machine was in the last half minute, ms: the longest delay of this process, and the longest time that a
   * node took to answer a probe while nothing was done to it.
   */
  late(): number {
    return Math.max(0, ...this.#lateness.map(({ late }) => late));
  }
  #isLate(late: number): void {
    if (late < 100) return;
    this.#lateness.push({ at: performance.now(), late });
    this.longestLate = Math.max(this.longestLate, late);
  }

  async #tick(): Promise<void> {
    while (!this.#over.signal.aborted) {
      const due = performance.now() + TICK;
      await pause(TICK);
      const now = performance.now();
      this.#isLate(now - due);
      this.#lateness = this.#lateness.filter(({ at }) => now - at < 2 * BOUND);
      for (const [key, pages] of this.#pages) {
        const facts = this.#facts(key, now);
        for (const page of pages) this.#look(page, facts);
      }
    }
  }

  #look(page: Page, facts: Facts): void {
    if (!isBehind(page, facts)) this.#reported.delete(page);
    else if (!this.#reported.has(page)) {
      this.#reported.add(page);
      this.#violate('behind', `it is held by ${page.poll?.node.name} and has heard ${page.number}`, page);
    }
  }

  async #probe(node: Node): Promise<void> {
    while (!this.#over.signal.aborted) {
      await pause(PROBE);
      if (!node.alive) continue;
      const { now: run } = node;
      const askedAt = performance.now();
      const cause = await fetch(`${run.internalUrl}/readyz`, { signal: AbortSignal.timeout(5000) })
        .then(async response => (response.status === 200 ? undefined : await response.text()))
        .catch(error => String(error));
      const { reachableSince } = node.health;
      if (reachableSince < askedAt && node.since < askedAt) this.#isLate(performance.now() - askedAt);
      const same = node.alive && node.now === run && !this.#over.signal.aborted;
      if (cause !== undefined && same && notReady(node, askedAt, this.late()))
        this.#violate('notReady', `${node.name}: ${cause}`);
    }
  }

  #violate(rule: Rule, text: string, page?: Page): void {
    const at = performance.now();
    const known = this.violations.length;
    this.violations.push({ rule, at, text });
    if (known >= STORIES) return;
    const key = page?.options.key ?? '';
    const stored = this.#backends.get(key)?.stored ?? [];
    const head = `${this.title}, ${clock(at - this.#start)}: ${RULES[rule]}: ${page?.options.name ?? ''} ${text}`;
    this.print(`${head}\n${story(this.timeline, key, stored, page, this.#start)}`, true);
  }
}
