/** One run: pages, backends, faults drawn from the seed; then every promise is checked against what was heard. */
import { until } from '../harness.js';
import { FAULTS, type Fault } from './faults.js';
import { Backend, livePage, type Page, type Stored } from './people.js';
import { proxy } from './proxy.js';
import { Random } from './random.js';
import { type Kind, world } from './world.js';

export interface Plan {
  seed: number;
  seconds: number;
  kind: Kind;
  keys: number;
  pagesPerKey: number;
  tell(line: string): void;
}

export interface Report {
  kind: Kind;
  seed: number;
  faults: number;
  sets: number;
  answers: number;
  doubles: number;
  outOfOrder: number;
  /** acknowledged, not heard, not said to be lost, and not lost by Redis */
  lostUntold: number;
  /** what Redis lost by faults that lose, and pages heard the next one all the same */
  lostByRedis: number;
  /** pages that did not hear the end */
  stranded: number;
  /** ms from a fault's end until pages of all keys heard something that was set after it, the longest by fault */
  recovery: Record<string, number>;
}

const NODES = 3;
const HOLD = 5;
/** between two sets of one key, ms */
const CADENCE = 500;
/** not a promise, only an end: on a busy machine everything takes its time */
const RECOVERED = 120_000;
const pause = (ms: number) => new Promise(resolve => setTimeout(resolve, ms));

export async function chaos({ seed, seconds, kind, keys, pagesPerKey, tell }: Plan): Promise<Report> {
  const random = new Random(seed);
  const stage = await world(kind, NODES, HOLD);
  const alive = () => stage.nodes.filter(node => node.alive);
  const front = await proxy(() => alive().map(node => node.now.publicUrl), new Random(seed + 1));
  const over = new AbortController();
  const backends = Array.from(
    { length: keys },
    (_, number) => new Backend(`k${number}`, () => alive().map(node => node.now.internalUrl)),
  );
  const pages: Page[] = backends.flatMap(({ key }) =>
    Array.from({ length: pagesPerKey }, () => ({ key, heard: [], answers: 0, ended: false })),
  );
  const lives = pages.map(page => livePage(page, front.url, HOLD, over.signal));
  let setting = true;
  const sets = backends.map(async backend => {
    while (setting) {
      await backend.set(over.signal);
      await pause(CADENCE * (0.5 + Math.random()));
    }
  });

  const losses: { from: number; to: number }[] = [];
  const recovery: Record<string, number> = {};
  const possible = FAULTS.filter(fault => fault.kinds.includes(kind));
  const end = performance.now() + seconds * 1000;
  let deck: { fault: Fault; at: number }[] = [];
  let faults = 0;
  while (performance.now() < end) {
    // each in turn, shuffled anew each time: a short run has most of them, a long one all
    if (deck.length === 0)
      deck = possible.map(fault => ({ fault, at: random.next() })).sort((a, b) => a.at - b.at);
    const { fault } = deck.pop() as (typeof deck)[number];
    tell(`${((end - performance.now()) / 1000).toFixed(0)} s left: ${fault.name}`);
    const from = performance.now();
    await fault.run(stage, random, front);
    const to = performance.now();
    if (fault.loses) losses.push({ from, to });
    await until(() => recovered(pages, backends, to), { within: RECOVERED, every: 50 });
    recovery[fault.name] = Math.max(recovery[fault.name] ?? 0, performance.now() - to);
    faults++;
  }

  setting = false;
  await Promise.all(sets);
  await Promise.all(backends.map(backend => backend.set(over.signal, true)));
  await until(() => pages.every(page => page.ended), { within: RECOVERED }).catch(() => {});
  over.abort();
  await Promise.all(lives);
  front.close();
  const verdicts = pages.map(page =>
    judge(page, (backends.find(({ key }) => key === page.key) as Backend).stored, losses),
  );
  const sum = (count: (verdict: Verdict) => number) =>
    verdicts.reduce((total, verdict) => total + count(verdict), 0);
  return {
    kind,
    seed,
    faults,
    sets: backends.reduce((total, { stored }) => total + stored.length, 0),
    answers: pages.reduce((total, page) => total + page.answers, 0),
    doubles: sum(verdict => verdict.doubles),
    outOfOrder: sum(verdict => verdict.outOfOrder),
    lostUntold: sum(verdict => verdict.lostUntold),
    lostByRedis: sum(verdict => verdict.lostByRedis),
    stranded: pages.filter(page => !page.ended).length,
    recovery,
  };
}

/** Every page has heard a value whose set began after this moment. */
function recovered(pages: Page[], backends: Backend[], since: number): boolean {
  const first = new Map(
    backends.map(({ key, stored }) => [key, stored.findLast(one => one.tried > since)?.number]),
  );
  return pages.every(({ key, heard }) => {
    const number = first.get(key);
    return (
      number !== undefined &&
      heard.length > 0 &&
      (heard.at(-1)?.number ?? 0) >= Math.min(number, firstAfter(backends, key, since))
    );
  });
}
const firstAfter = (backends: Backend[], key: string, since: number) =>
  backends.find(backend => backend.key === key)?.stored.find(one => one.tried > since)?.number ??
  Number.POSITIVE_INFINITY;

interface Verdict {
  doubles: number;
  outOfOrder: number;
  lostUntold: number;
  lostByRedis: number;
}

/** What one page heard, against what its backend knows to be stored. */
export function judge(page: Page, stored: Stored[], losses: { from: number; to: number }[]): Verdict {
  const verdict: Verdict = { doubles: 0, outOfOrder: 0, lostUntold: 0, lostByRedis: 0 };
  const seen = new Set<number>();
  let before = 0;
  let told = 0;
  for (const { number, lost, at } of page.heard) {
    const set = stored.find(one => one.number === number);
    // a retry whose first try was stored, and then lost with its id, is stored anew
    const anew = set && set.tries > 1 && losses.some(loss => loss.to > set.tried && loss.from < at);
    if (seen.has(number)) verdict.doubles += anew ? 0 : 1;
    else if (number < before) verdict.outOfOrder++;
    told += lost;
    for (let missed = before + 1; missed < number; missed++) {
      if (seen.has(missed)) continue;
      const sent = stored.find(one => one.number === missed)?.sent;
      if (sent === undefined) continue;
      if (told > 0) told--;
      else if (losses.some(loss => sent <= loss.to && at >= loss.from)) verdict.lostByRedis++;
      else verdict.lostUntold++;
    }
    seen.add(number);
    before = Math.max(before, number);
  }
  return verdict;
}

/** A table of all runs, in Markdown. */
export function table(reports: Report[]): string {
  const total = (count: (report: Report) => number) =>
    reports.reduce((sum, report) => sum + count(report), 0);
  const rows = [
    [
      'Redis',
      'seed',
      'faults',
      'sets',
      'answers',
      'doubles',
      'out of order',
      'lost untold',
      'lost by Redis',
      'stranded',
    ],
    ...reports.map(one => [
      one.kind,
      one.seed,
      one.faults,
      one.sets,
      one.answers,
      one.doubles,
      one.outOfOrder,
      one.lostUntold,
      one.lostByRedis,
      one.stranded,
    ]),
    [
      'all',
      '',
      total(one => one.faults),
      total(one => one.sets),
      total(one => one.answers),
      total(one => one.doubles),
      total(one => one.outOfOrder),
      total(one => one.lostUntold),
      total(one => one.lostByRedis),
      total(one => one.stranded),
    ],
  ];
  const names = [...new Set(reports.flatMap(report => Object.keys(report.recovery)))].sort();
  const longest = names.map(name => [
    name,
    (Math.max(...reports.map(report => report.recovery[name] ?? 0)) / 1000).toFixed(1),
  ]);
  return `${markdown(rows)}\n\n${markdown([['fault', 'longest recovery, s'], ...longest])}`;
}

function markdown([head, ...rows]: (string | number)[][]): string {
  const line = (cells: (string | number)[]) => `| ${cells.join(' | ')} |`;
  return [line(head ?? []), line((head ?? []).map(() => '---')), ...rows.map(line)].join('\n');
}
