/** One run: pages, backends, faults drawn from the seed; every promise is checked during it and after it. */
import { setMaxListeners } from 'node:events';
import { until } from '../harness.js';
import { Backend } from './backend.js';
import type { Fault } from './faults/fault.js';
import { NODES } from './faults/nodes.js';
import { PAGES } from './faults/pages.js';
import { PATHS } from './faults/paths.js';
import { REDIS } from './faults/redis.js';
import { REFUSALS } from './faults/refusals.js';
import { judge, type Verdict } from './judge.js';
import { Monitor } from './monitor.js';
import { Page } from './page.js';
import { Random } from './random.js';
import type { Report } from './report.js';
import { type Kind, type World, world } from './world.js';

export const FAULTS: readonly Fault[] = [...PATHS, ...REFUSALS, ...REDIS, ...NODES, ...PAGES];

export interface Plan {
  seed: number;
  seconds: number;
  kind: Kind;
  keys: number;
  pagesPerKey: number;
  /** faults of 10 s and more, two at once, and a node with workers */
  long: boolean;
  /** only faults with such names; absent: all */
  only?: RegExp | undefined;
  /** @param important a violation */
  print(text: string, important: boolean): void;
}

const NODE_COUNT = 3;
/** seconds */
const HOLDS = [5, 25];
/** one page in so many connects through a line */
const LINES = 6;
/** Between two sets of one key, ms: busy keys, and keys whose pages are held to the end of their hold. */
const CADENCES = [500, 4000, 20_000];
/** ms after which a page that has heard nothing since a fault counts as a violation */
const RECOVERED = 60_000;
/** ms after which the last page to hear is shown */
const SLOW = 10_000;
/** share of turns with two faults at once */
const PAIRS = 0.25;

/** The people of a run: pages that hear and backends that set. */
class Cast {
  readonly over = new AbortController();
  readonly backends: Backend[];
  readonly pages: Page[];
  readonly #sets: Promise<void>[];
  readonly #lives: Promise<void>[];
  #setting = true;

  constructor({ seed, keys, pagesPerKey }: Plan, stage: World, monitor: Monitor) {
    setMaxListeners(0, this.over.signal); // every page and backend listens
    this.backends = Array.from({ length: keys }, (_, number) => {
      const cadence = CADENCES[number % CADENCES.length] as number;
      return new Backend(
        `k${number}`,
        cadence,
        stage,
        new Random(seed * 1000 + number),
        (stored, node, key) => monitor.setAcknowledged(stored, node, key),
      );
    });
    this.pages = this.backends.flatMap(({ key }, first) =>
      Array.from({ length: pagesPerKey }, (_, count) => {
        const number = first * pagesPerKey + count;
        return new Page({
          key,
          name: `page ${number} of ${key}`,
          restless: count % 2 === 1,
          throughLine: number % LINES === 0,
          hold: HOLDS[(count >> 1) % HOLDS.length] as number,
          random: new Random(seed * 1000 + 500 + number),
          network: stage.network,
          nodes: () => stage.alive(),
          ended: (page, poll, end, reply) => monitor.pollEnded(page, poll, end, reply),
        });
      }),
    );
    monitor.watch(stage, this.pages, this.backends);
    this.#lives = this.pages.map(page => page.live(this.over.signal));
    this.#sets = this.backends.map(async backend => {
      while (this.#setting) {
        await backend.rest();
        await backend.set(this.over.signal);
      }
    });
  }

  wake(): void {
    for (const backend of this.backends) backend.wake();
  }

  /** Sets the final values, and waits until every page has heard them. */
  async end(): Promise<void> {
    this.#setting = false;
    this.wake();
    await Promise.all(this.#sets);
    await Promise.all(this.backends.map(backend => backend.set(this.over.signal, true)));
    await until(() => this.pages.every(page => page.ended), { within: RECOVERED }).catch(() => {});
    this.over.abort();
    await Promise.all(this.#lives);
  }

  /**
   * When each page that never leaves heard a value whose set began after this.
   * @returns ms after it, and the last page; undefined: not all have heard one
   */
  recoveredAfter(since: number): { ms: number; last: Page | undefined } | undefined {
    const numbers = new Map(
      this.backends.map(({ key, stored }) => [key, stored.find(one => one.tried > since)?.number]),
    );
    let ms = 0;
    let last: Page | undefined;
    for (const page of this.pages) {
      if (page.options.restless) continue;
      const number = numbers.get(page.options.key);
      const first = number === undefined ? undefined : page.heard.find(one => one.number >= number);
      if (!first) return undefined;
      if (first.at - since <= ms) continue;
      ms = first.at - since;
      last = page;
    }
    return { ms, last };
  }
}

export async function chaos(plan: Plan): Promise<Report> {
  const { seed, kind, long, print } = plan;
  const monitor = new Monitor(`seed ${seed}, ${kind}`, print);
  const hold = Math.max(...HOLDS);
  const note = (text: string) => monitor.note(text);
  const stage = await world({ kind, nodes: NODE_COUNT, workers: long ? 2 : 1, hold, long, note });
  const cast = new Cast(plan, stage, monitor);
  const start = performance.now();
  cast.wake();
  await until(() => cast.recoveredAfter(start), { within: RECOVERED, every: 50 });
  const { faults, recovery } = await play(plan, stage, cast, monitor);
  note('final values');
  stage.network.leave = 0;
  await cast.end();
  await monitor.stop(!long);
  const { backends, pages } = cast;
  const verdicts = pages.map(({ options, heard }) =>
    judge(heard, backends.find(({ key }) => key === options.key)?.stored ?? [], monitor.losses),
  );
  const total = (name: keyof Verdict) => verdicts.reduce((sum, verdict) => sum + verdict[name], 0);
  return {
    kind,
    seed,
    faults,
    sets: backends.reduce((sum, { stored }) => sum + stored.length, 0),
    answers: pages.reduce((sum, { answers }) => sum + answers, 0),
    doubles: total('doubles'),
    outOfOrder: total('outOfOrder'),
    lostUnreported: total('lostUnreported'),
    lostByRedis: total('lostByRedis'),
    stranded: pages.filter(({ ended }) => !ended).length,
    violations: monitor.violations,
    deadChecks: monitor.deadChecks,
    recovery,
    late: monitor.longestLate,
  };
}

/** Faults, one after the other or two at once, until the time is over. */
async function play(plan: Plan, stage: World, cast: Cast, monitor: Monitor) {
  const random = new Random(plan.seed);
  const deck = new Deck(plan, random);
  const recovery: Record<string, number[]> = {};
  const end = performance.now() + plan.seconds * 1000;
  let faults = 0;
  while (performance.now() < end) {
    const turn = deck.draw();
    const name = turn.map(fault => fault.name).join(' + ');
    const left = Math.round((end - performance.now()) / 1000);
    monitor.note(`${name} (${left} s left)`);
    const healedAt = await cause(turn, stage, cast, random, monitor);
    monitor.note('over');
    const within = Math.max(1000, RECOVERED - (performance.now() - healedAt));
    await until(() => cast.recoveredAfter(healedAt), { within, every: 50 }).catch(() => {});
    const recovered = cast.recoveredAfter(healedAt);
    if (recovered) {
      const { ms, last } = recovered;
      const kind = turn.length === 1 ? name : 'two faults at once';
      recovery[kind] = [...(recovery[kind] ?? []), ms];
      monitor.note(`all hear again after ${(ms / 1000).toFixed(1)} s`);
      if (last && ms > SLOW) monitor.show(last);
    } else
      for (const page of cast.pages)
        if (!page.options.restless && !page.heard.some(({ at }) => at > healedAt)) monitor.notRecovered(page);
    faults += turn.length;
  }
  return { faults, recovery };
}

/** @returns when Redis could be reached again, on the monotonic clock in ms */
async function cause(
  turn: readonly Fault[],
  stage: World,
  cast: Cast,
  random: Random,
  monitor: Monitor,
): Promise<number> {
  let healedAt: number | undefined;
  stage.onHealed = () => {
    healedAt = performance.now();
    cast.wake();
  };
  const loss = { from: performance.now(), to: Number.POSITIVE_INFINITY };
  const loses = turn.some(fault => fault.loses);
  if (loses) monitor.losses.push(loss);
  // each draws numbers of its own: what one does depends on no other
  await Promise.all(turn.map(fault => fault.run(stage, new Random(random.next() * 2 ** 32), monitor)));
  if (loses) loss.to = performance.now();
  // one of two may have ended before the other
  if (healedAt === undefined || turn.length > 1) stage.onHealed();
  return healedAt as unknown as number;
}

/** Each fault in turn, shuffled again each time: a short run has some of them, a long one all. */
class Deck {
  #cards: Fault[] = [];
  readonly #possible: readonly Fault[];

  constructor(
    readonly plan: Plan,
    readonly random: Random,
  ) {
    const { kind, long, only } = plan;
    this.#possible = FAULTS.filter(
      fault => fault.kinds.includes(kind) && (long || !fault.long) && (!only || only.test(fault.name)),
    );
  }

  draw(): Fault[] {
    const first = this.#take(() => true) as Fault;
    if (!this.plan.long || this.random.next() >= PAIRS) return [first];
    const second = this.#take(({ group }) => group !== first.group);
    return second ? [first, second] : [first];
  }

  #take(fits: (fault: Fault) => boolean): Fault | undefined {
    if (this.#cards.length === 0)
      this.#cards = this.#possible
        .map(fault => ({ fault, at: this.random.next() }))
        .sort((a, b) => a.at - b.at)
        .map(({ fault }) => fault);
    const index = this.#cards.findLastIndex(fits);
    return index < 0 ? undefined : this.#cards.splice(index, 1)[0];
  }
}
