/** Formats the figures as Markdown and SVG, and compares them with their targets. */

import { ratios } from './pairs.js';
import { plot } from './plot.js';
import { interval, median } from './statistics.js';

const BARE = 'node:http, no checks';
const OURS = 'tagwait';
const TWO = 'tagwait, two nodes + Redis';
const HELD = [1000, 5000, 10_000, 15_000];

const sum = list => list.reduce((total, one) => total + one, 0);
const round = number => (number >= 100 ? Math.round(number) : Number(number.toPrecision(3)));
const shown = number => round(number).toLocaleString('en-US');

/** The median, min and max. */
function cell(list) {
  if (!list?.length) return '–';
  const [min, max] = [Math.min(...list), Math.max(...list)];
  return list.length === 1 || min === max
    ? shown(median(list))
    : `${shown(median(list))} <small>(${shown(min)}–${shown(max)})</small>`;
}

/**
 * The targets: a name, the samples, and the floor. `answers per core` is 1 / CPU time per answer: the rate of a core that
 * does nothing else. A comparison in pairs has one sample per pair.
 */
function targets(figures, comparisons, extra) {
  const paired = (label, figure, inverse) => {
    const comparison = comparisons[label];
    return comparison && ratios(comparison.pairs, figure, inverse);
  };
  const ours = figures[OURS];
  const most = ours?.rss15000?.map((_, index) =>
    Math.max(...HELD.map(count => ours[`rss${count}`][index] ?? 0)),
  );
  const memory = ours?.rss10000?.map(
    (value, index) => value / (figures[BARE]?.rss10000?.[index] ?? Number.NaN),
  );
  const lost = Object.entries(figures)
    .filter(([name]) => name.startsWith(OURS))
    .flatMap(([, { lost: list = [] }]) => list);
  const { crowd } = extra;
  return [
    ['memory per held request at 10,000, over node:http', memory, 'at most', 0.6],
    ['KiB per held request, the most of 1,000 to 15,000', most, 'at most', 5.0],
    ['answers per core, over node:http', paired('in memory: answers', 'cpu', true), 'at least', 1.25],
    ...(comparisons['over node:net: answers']
      ? [['answers per core, over node:net', paired('over node:net: answers', 'cpu', true), 'at least', 0]]
      : []),
    [
      'the same in the first 10 s of a process',
      paired('in memory: first 10 s', 'cpu', true),
      'at least',
      1.15,
    ],
    ['p99 at 1,000 answers/s, over node:http', paired('in memory: latency', 'p99'), 'at most', 0.3],
    ['over Redis: answers per core, over nchan', paired('over Redis: answers', 'cpu', true), 'at least', 1.2],
    ['over Redis: p99 at 500/s, over nchan', paired('over Redis: latency', 'p99'), 'at most', 1],
    ["Redis's µs per set, 16 in flight", figures[TWO]?.redis16, 'at most', 12],
    ["Redis's µs per set, one at a time", figures[TWO]?.redis1, 'at most', 12],
    ['Redis commands per idle poll of 5 s', figures[TWO]?.commands, 'at most', 0.02],
    ['memory per held request, 4 processes over 1', crowd && [crowd[1].kib / crowd[0].kib], 'at most', 1.1],
    [
      'held by 4 workers at once, and each heard its value',
      crowd && [Math.min(sum(crowd[1].held), crowd[1].heard)],
      'at least',
      60_000,
    ],
    ['s until those are held', crowd && [crowd[1].seconds], 'at most', 15],
    [
      'rate of that, over bare workers of node:cluster as it is by default',
      crowd?.[1].bare && [crowd[1].bare.primary / crowd[1].seconds],
      'at least',
      0.8,
    ],
    ['answers lost', [sum(lost)], 'at most', 0],
  ];
}

/** Judges by the cautious end of the interval: the upper one where less is better. */
function judge([name, list, sense, floor]) {
  if (!list?.length)
    return { name, text: `| ${name} | – | – | ${sense} ${shown(floor)} | not measured |`, missed: false };
  const { value, low, high, samples } = interval(list);
  const cautious = sense === 'at most' ? high : low;
  const missed = sense === 'at most' ? cautious > floor : cautious < floor;
  const range = samples > 1 ? `${shown(low)}–${shown(high)}` : '–';
  return {
    name,
    missed,
    text: `| ${name} | ${shown(value)} | ${range} | ${sense} ${shown(floor)} | ${missed ? '**missed**' : 'met'} |`,
  };
}

/** @returns {{ markdown: string, svg: string | undefined, missed: object[] }} */
export function report({ figures, comparisons, extra, machine, failures }) {
  const judged = targets(figures, comparisons, extra).map(judge);
  const row = (name, columns) =>
    `| ${name} | ${columns.map(figure => cell(figure(figures[name]))).join(' | ')} |`;
  const table = (heads, names, columns) =>
    [
      `| | ${heads.join(' | ')} |`,
      `| --- |${' --- |'.repeat(heads.length)}`,
      ...names.filter(name => figures[name]?.cpu).map(name => row(name, columns)),
    ].join('\n');
  const of = figure => values => values?.[figure];
  const perCore = values => values?.cpu?.map(cost => 1e6 / cost);
  const names = Object.keys(figures);
  const speed = [of('cpu'), perCore, of('answers'), of('p50'), of('p99'), of('p999'), of('lost')];
  const speedHeads = [
    'CPU µs per answer',
    'answers/s per core',
    'answers/s seen',
    'p50 ms',
    'p99 ms',
    'p99.9 ms',
    'lost',
  ];
  const { storm, crowd } = extra;
  const targetTable = `| | median | 95 % interval | floor | by the cautious end |
| --- | --- | --- | --- | --- |
${judged.map(({ text }) => text).join('\n')}`;
  const markdown = `# Results

${machine.cpu}, ${machine.memory}; ${machine.versions.join(', ')}; ${machine.date}, ${machine.minutes} minutes. Medians, with
the smallest and the largest sample. Only ratios within one run mean anything; [README.md](README.md) says what was measured.

## Targets

A ratio is the median of pairs of neighbouring windows; its interval is that of the median.

${targetTable}
${Object.entries(comparisons)
  .map(([label, { pairs, repeated }]) => `\n${label}: ${pairs.length} pairs, ${repeated} repeated as noisy.`)
  .join('')}
${failures.map(failure => `\nNot measured: ${failure}\n`).join('')}
## One process, in memory

KiB of RSS per held request:

${table(
  HELD.map(count => `${count.toLocaleString('en-US')} held`),
  names.filter(name => !name.includes('Redis')),
  HELD.map(count => of(`rss${count}`)),
)}

Answers with 10,000 held; latency at 1,000 a second, from when each set was due:

${table(
  speedHeads,
  names.filter(name => !name.includes('Redis')),
  speed,
)}

## Two processes and Redis on one core, held on one, set on the other

5,000 held; latency at 500 a second. CPU is that of all three processes.

${table(
  speedHeads,
  names.filter(name => name.includes('Redis')),
  speed,
)}

## 10,000 idle pages, each polls every 25 s

| | % of a core | Redis commands per poll |
| --- | --- | --- |
${names
  .filter(name => figures[name].idle)
  .map(name => `| ${name} | ${cell(figures[name].idle)} | ${cell(figures[name].commands)} |`)
  .join('\n')}

## Storms

${
  storm
    ? `${shown(storm.pages)} pages over Redis on two nodes, held for ${storm.hold} s, drain ${storm.drain} s (\`npm run storm\`); evenly spread they
would ask ${shown(storm.pages / storm.hold)} times a second.

| | most polls in one second | all held again after, s |
| --- | --- | --- |
${storm.rows.map(({ name, peak, back }) => `| ${name} | ${shown(peak)} | ${back ? shown(back) : '–'} |`).join('\n')}

![polls a second around a node's death and a rolling restart](storm.svg)`
    : 'Not measured: no Redis.'
}

## Workers

${
  crowd
    ? `\`npm run crowd\`, 20,000 open files a process:

| processes | held | KiB of RSS per held request | all held after, s | heard their value |
| --- | --- | --- | --- | --- |
${crowd
  .map(
    one =>
      `| ${one.workers} | ${shown(sum(one.held))} | ${shown(one.kib)} | ${shown(one.seconds)} | ${shown(one.heard)} |`,
  )
  .join('\n')}
${
  crowd[1].bare
    ? `
Bare workers of node:http, without Redis, hold as many after ${shown(crowd[1].bare.primary)} s when the primary accepts, as node:cluster does by
default, and after ${shown(crowd[1].bare.shared)} s when they accept from one socket.`
    : ''
}`
    : 'Not measured: no Redis.'
}
`;
  return {
    markdown,
    svg:
      figures[OURS]?.rss10000 &&
      figures[OURS].cpu &&
      plot(
        figures,
        OURS,
        names.filter(name => figures[name].rss10000 && figures[name].cpu),
      ),
    missed: judged.filter(({ missed }) => missed),
  };
}
