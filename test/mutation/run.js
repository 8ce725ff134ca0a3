/**
 * `npm run mutate`: changes the code in one place at a time, runs the tests that reach it, and counts the changes that
 * they notice. Prints a table by file and by group. Ends with 1 when a group is below its threshold, or a file of it was
 * not measured. With `--again` it tries only what survived in the baseline, in files that have not changed since.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import { parseArgs } from 'node:util';
import { Stryker } from '@stryker-mutator/core';
import { GROUPS } from './groups.js';
import { mutantName } from './name.js';
import { tried } from './runner.js';
import { sampled } from './sample.js';

const BASELINE = 'test/mutation/baseline.json';
const SURVIVORS = 'test/mutation/survivors.json';
const started = Date.now();

const { values: args } = parseArgs({
  options: {
    changed: { type: 'boolean' },
    again: { type: 'boolean' },
    group: { type: 'string' },
    file: { type: 'string', multiple: true },
    sample: { type: 'string' },
    seed: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '20' },
    concurrency: { type: 'string', default: '2' },
    write: { type: 'boolean' },
  },
});
const unknown = args.group?.split(',').find(group => !(group in GROUPS));
if (unknown) throw new Error(`--group ${unknown}: must be one of ${Object.keys(GROUPS).join(', ')}`);

const json = (file, none) => (existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : none);
const baseline = json(BASELINE, {});
const reasons = json(SURVIVORS, {});
const hashOf = file => createHash('sha256').update(readFileSync(file)).digest('hex').slice(0, 16);

/** When the run ends, whatever is left to try. */
const end = started + Number(args.minutes) * 60_000;
const UP = `the time is up: --minutes ${args.minutes}`;
const late = new Promise(resolve =>
  setTimeout(() => resolve({ results: tried, unfinished: UP }), end - started).unref(),
);

/** Whether the baseline measured the file as it is. */
const isKnown = file => baseline[file]?.hash === hashOf(file);

/** The files of a group that this run mutates. */
const chosen = ({ files }) =>
  files.filter(file => {
    if (args.file && !args.file.includes(file)) return false;
    if (args.again) return isKnown(file) && baseline[file].survived.length > 0;
    return !!args.file || !args.changed || !isKnown(file);
  });

/** A short file gives more of its mutants: as many as this number of lines has. */
const FEWEST_LINES = 15;
const sampleOf = (file, sample) =>
  Math.min(1, Math.max(sample, FEWEST_LINES / readFileSync(file, 'utf8').split('\n').length));

/** @returns what became of each mutant that was tried, by file; why the group was not finished, if it was not */
async function mutate(group, files) {
  const sample = Number(args.sample ?? (args.changed || args.file ? 1 : group.sample));
  const samples = Object.fromEntries(
    files.map(file => [file, args.again ? baseline[file].sample : sampleOf(file, sample)]),
  );
  const known = args.again && Object.fromEntries(files.map(file => [file, baseline[file]]));
  tried.length = 0;
  const run = new Stryker({
    testRunner: 'tagwait',
    plugins: ['./test/mutation/runner.js'],
    tagwait: { tests: group.tests, seed: args.seed, samples, root: process.cwd(), known },
    coverageAnalysis: 'perTest',
    mutate: files,
    // Stryker reads it with TypeScript's old interface, which TypeScript 7 does not have
    tsconfigFile: 'none.json',
    ignorePatterns: ['.ci', '.github'],
    concurrency: Number(args.concurrency),
    timeoutMS: 10_000,
    timeoutFactor: 1,
    reporters: ['tagwait'],
    logLevel: 'warn',
    warnings: { unknownOptions: false },
  })
    .runMutationTest()
    .then(results => ({ results }))
    .catch(error => ({ results: tried, unfinished: `it ended early: ${error.message}` }));
  let { results, unfinished } = await Promise.race([run, late]);
  const found = Object.fromEntries(
    files.map(file => [file, { hash: hashOf(file), sample: samples[file], killed: 0, survived: [] }]),
  );
  for (const mutant of results) {
    const file = relative(process.cwd(), mutant.fileName);
    const unsure = mutant.statusReason?.startsWith('unsure');
    const missed =
      mutant.status === 'NoCoverage' && sampled(mutant, { sample: samples[file], seed: args.seed });
    if (unsure) console.log(`${file}: ${mutant.statusReason}`);
    if (mutant.status === 'Killed' || mutant.status === 'Timeout') found[file].killed++;
    else if (mutant.status === 'Survived' || missed || (unsure && known))
      found[file].survived.push(numbered(mutantName(mutant, file), found[file].survived));
  }
  // what was not tried again has been killed before
  for (const [file, { killed, survived }] of Object.entries(known ?? {})) {
    if (found[file].killed + found[file].survived.length < survived.length)
      unfinished ??= `${file}: not each of its survivors was found again`;
    found[file].killed = killed + survived.length - found[file].survived.length;
  }
  return { found, unfinished };
}

/** The second mutant of a name in a file ends with ` (2)`. */
function numbered(name, taken) {
  const same = taken.filter(other => other === name || other.startsWith(`${name} (`)).length;
  return same ? `${name} (${same + 1})` : name;
}

const isMeasured = ({ killed, survived }) => killed + survived.length > 0;
const sum = results => ({
  killed: results.reduce((total, { killed }) => total + killed, 0),
  survived: results.flatMap(({ survived }) => survived),
});
const scoreOf = ({ killed, survived }) => (100 * killed) / (killed + survived.length);

/** @returns the cells of one line of the table */
const row = (label, result, named, wanted = '') =>
  isMeasured(result)
    ? [label, result.killed, result.survived.length, named, `${scoreOf(result).toFixed(1)} %`, wanted]
    : [label, '-', '-', '-', 'not measured', wanted];

function print(rows) {
  const table = [['', 'killed', 'survived', 'named', 'score', 'at least'], ...rows];
  const widths = table[0].map((_, column) => Math.max(...table.map(cells => String(cells[column]).length)));
  for (const cells of table)
    console.log(
      cells
        .map((cell, at) => (at ? String(cell).padStart(widths[at]) : cell.padEnd(widths[0])))
        .join('  ')
        .trimEnd(),
    );
}

const namedIn = (file, { survived }) => survived.filter(mutant => mutant in (reasons[file] ?? {})).length;

/** Survivors without a reason, and reasons without a survivor. */
function remarksOn(file, { survived, sample }) {
  const named = reasons[file] ?? {};
  const known = baseline[file]?.survived ?? [];
  const stale = sample === 1 ? Object.keys(named).filter(mutant => !survived.includes(mutant)) : [];
  return [
    ...survived
      .filter(mutant => !(mutant in named))
      .map(mutant => `${file}: ${known.includes(mutant) ? 'survives' : 'survives, new'}: ${mutant}`),
    ...stale.map(mutant => `${file}: stale in ${SURVIVORS}: ${mutant}`),
  ];
}

const rows = [];
const totals = [];
const remarks = [];
for (const [name, group] of Object.entries(GROUPS)) {
  if (args.group && !args.group.split(',').includes(name)) continue;
  const files = chosen(group);
  if (files.length === 0) continue;
  const began = Date.now();
  const { found, unfinished } =
    began < end
      ? await mutate(group, files)
      : {
          found: Object.fromEntries(files.map(file => [file, { killed: 0, survived: [] }])),
          unfinished: UP,
        };
  let named = 0;
  for (const [file, result] of Object.entries(found)) {
    rows.push(row(file, result, namedIn(file, result)));
    if (!isMeasured(result)) {
      process.exitCode = 1;
      continue;
    }
    named += namedIn(file, result);
    remarks.push(...remarksOn(file, result));
    if (!unfinished) baseline[file] = result;
  }
  const total = sum(Object.values(found));
  if (unfinished || scoreOf(total) < group.least) process.exitCode = 1;
  if (unfinished) remarks.push(`${name}: not finished, ${unfinished}`);
  const seconds = Math.round((Date.now() - began) / 1000);
  totals.push(row(`${name}, ${seconds} s`, total, named, `${group.least} %`));
}
for (const remark of remarks) console.log(remark);
print([...rows, ...totals]);
console.log(`${Math.round((Date.now() - started) / 1000)} s${Date.now() > end ? `; ${UP}` : ''}`);
if (args.write) writeFileSync(BASELINE, `${JSON.stringify(baseline, undefined, 2)}\n`);
// what is still being tried when the time is up
if (Date.now() > end) process.exit();
