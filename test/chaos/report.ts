/** What a run found, and the tables of docs/redis.md. */
import { RULES, type Rule, type Violation } from './invariants.js';
import type { Verdict } from './judge.js';
import type { Kind } from './world.js';

export interface Report extends Verdict {
  kind: Kind;
  seed: number;
  faults: number;
  sets: number;
  answers: number;
  /** pages that did not hear the end */
  stranded: number;
  violations: Violation[];
  /** how often `watched` of a dead node was looked at */
  deadChecks: number;
  /** ms from a fault's end until every page heard something that was set after it, by fault */
  recovery: Record<string, number[]>;
  /** how slow the machine was at most, ms */
  late: number;
}

const SUMS = {
  faults: 'faults',
  sets: 'sets',
  answers: 'answers',
  doubles: 'twice',
  outOfOrder: 'out of order',
  lostUnreported: 'lost, not reported',
  lostByRedis: 'lost by Redis',
  stranded: 'stranded',
  deadChecks: 'checks of dead nodes',
} as const;
const NAMES: Record<Kind, string> = {
  server: 'server',
  aof: 'server, append-only file',
  sentinel: 'Sentinel',
  cluster: 'Cluster',
};

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);

/** All runs, every rule, and how long recovery took, in Markdown. */
export function tables(reports: readonly Report[]): string {
  return [runs(reports), rules(reports), recoveries(reports)].map(markdown).join('\n\n');
}

function runs(reports: readonly Report[]): Row[] {
  const columns = Object.keys(SUMS) as (keyof typeof SUMS)[];
  const rows = reports.map(report => [
    NAMES[report.kind],
    report.seed,
    ...columns.map(name => report[name].toLocaleString('en')),
    report.violations.length,
    (report.late / 1000).toFixed(1),
  ]);
  const totals = columns.map(name => sum(reports.map(report => report[name])).toLocaleString('en'));
  const broken = sum(reports.map(({ violations }) => violations.length));
  return [
    ['Redis', 'seed', ...Object.values(SUMS), 'violations', 'machine late by, s'],
    ...rows,
    ['all', '', ...totals, broken, ''],
  ];
}

function rules(reports: readonly Report[]): Row[] {
  const found = reports.flatMap(({ violations }) => violations);
  const count = (rule: Rule) => found.filter(violation => violation.rule === rule).length;
  return [
    ['rule, looked at all the time', 'violations'],
    ...(Object.keys(RULES) as Rule[]).map(rule => [RULES[rule], count(rule)]),
  ];
}

function recoveries(reports: readonly Report[]): Row[] {
  const names = [...new Set(reports.flatMap(({ recovery }) => Object.keys(recovery)))].sort();
  const rows = names.map(name => {
    const times = reports.flatMap(({ recovery }) => recovery[name] ?? []).sort((a, b) => a - b);
    const median = times[Math.floor((times.length - 1) / 2)] as number;
    return [name, times.length, (median / 1000).toFixed(1), ((times.at(-1) as number) / 1000).toFixed(1)];
  });
  return [['fault', 'times', 'until all hear again: median, s', 'worst, s'], ...rows];
}

type Row = (string | number)[];
function markdown([head = [], ...rows]: Row[]): string {
  const line = (cells: Row) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
