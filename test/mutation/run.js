/**
 * `npm run mutate`: changes the code in one place at a time, runs the tests that reach it, and counts the changes that
 * they notice. Prints a table by file; ends with 1 when a file is below its group's threshold.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import { parseArgs } from 'node:util';
import { Stryker } from '@stryker-mutator/core';
import { GROUPS } from './groups.js';
import { tried } from './runner.js';
import { sampled } from './sample.js';

const BASELINE = 'test/mutation/baseline.json';
const SURVIVORS = 'test/mutation/survivors.json';
const started = Date.now();

const { values: args } = parseArgs({
  options: {
    changed: { type: 'boolean' },
    group: { type: 'string' },
    file: { type: 'string', multiple: true },
    sample: { type: 'string' },
    seed: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '20' },
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
const late = new Promise(resolve => setTimeout(resolve, end - started).unref());

/** The files of a group that this run mutates. */
const chosen = ({ files }) =>
  files.filter(file =>
    args.file ? args.file.includes(file) : !args.changed || baseline[file]?.hash !== hashOf(file),
  );

/** @returns what became of each mutant that was tried, by file */
async function mutate(group, files) {
  const sample = Number(args.sample ?? (args.changed || args.file ? 1 : group.sample));
  tried.length = 0;
  const run = new Stryker({
    testRunner: 'tagwait',
    plugins: ['./test/mutation/runner.js'],
    tagwait: { tests: group.tests, seed: args.seed, sample },
    coverageAnalysis: 'perTest',
    mutate: files,
    // Stryker reads it with TypeScript's old interface, which TypeScript 7 does not have
    tsconfigFile: 'none.json',
    ignorePatterns: ['.ci', '.github'],
    concurrency: 2,
    timeoutMS: 10_000,
    timeoutFactor: 1,
    reporters: ['tagwait'],
    logLevel: 'warn',
    warnings: { unknownOptions: false },
  }).runMutationTest();
  const results = (await Promise.race([run, late])) ?? tried;
  const found = Object.fromEntries(
    files.map(file => [file, { hash: hashOf(file), sample, killed: 0, survived: [] }]),
  );
  for (const mutant of results) {
    const file = relative(process.cwd(), mutant.fileName);
    if (mutant.status === 'Killed' || mutant.status === 'Timeout') found[file].killed++;
    else if (
      mutant.status === 'Survived' ||
      (mutant.status === 'NoCoverage' && sampled(mutant, { sample, seed: args.seed }))
    )
      found[file].survived.push(nameOf(mutant, file, found[file].survived));
    else if (mutant.statusReason?.startsWith('unsure')) console.log(`${file}: ${mutant.statusReason}`);
  }
  return found;
}

/** Names a mutant by its texts, not by its line: `EqualityOperator: a < b -> a <= b`; the second of the same name ends with ` (2)`. */
function nameOf({ location: { start, end }, replacement, mutatorName }, file, taken) {
  const lines = readFileSync(file, 'utf8')
    .split('\n')
    .slice(start.line - 1, end.line);
  lines[lines.length - 1] = lines.at(-1).slice(0, end.column - 1);
  lines[0] = lines[0].slice(start.column - 1);
  const short = text => text.replace(/\s+/g, ' ').replace(/^(.{70}).+(.{20})$/, '$1 … $2');
  const name = `${mutatorName}: ${short(lines.join('\n'))} -> ${short(replacement)}`;
  const same = taken.filter(other => other === name || other.startsWith(`${name} (`)).length;
  return same ? `${name} (${same + 1})` : name;
}

const scoreOf = ({ killed, survived }) =>
  killed + survived.length ? (100 * killed) / (killed + survived.length) : 100;

function print(rows) {
  const table = [['file', 'killed', 'survived', 'named', 'score', 'least'], ...rows];
  const widths = table[0].map((_, column) => Math.max(...table.map(row => String(row[column]).length)));
  for (const row of table)
    console.log(
      row.map((cell, at) => (at ? String(cell).padStart(widths[at]) : cell.padEnd(widths[0]))).join('  '),
    );
}

const rows = [];
const remarks = [];
for (const [name, group] of Object.entries(GROUPS)) {
  if (args.group && !args.group.split(',').includes(name)) continue;
  const files = chosen(group);
  if (files.length === 0) continue;
  if (Date.now() > end) {
    remarks.push(`${name}: not tried, the run took ${args.minutes} minutes`);
    process.exitCode = 1;
    continue;
  }
  for (const [file, result] of Object.entries(await mutate(group, files))) {
    const named = reasons[file] ?? {};
    if (result.killed + result.survived.length === 0) continue;
    const score = scoreOf(result);
    if (score < group.least) process.exitCode = 1;
    rows.push([
      file,
      result.killed,
      result.survived.length,
      result.survived.filter(mutant => mutant in named).length,
      `${score.toFixed(1)} %`,
      `${group.least} %`,
    ]);
    for (const mutant of result.survived)
      if (!(mutant in named))
        remarks.push(
          `${file}: ${baseline[file]?.survived?.includes(mutant) ? 'survives' : 'survives, new'}: ${mutant}`,
        );
    if (result.sample === 1)
      for (const mutant of Object.keys(named))
        if (!result.survived.includes(mutant)) remarks.push(`${file}: stale in ${SURVIVORS}: ${mutant}`);
    baseline[file] = result;
  }
}
for (const remark of remarks) console.log(remark);
print(rows);
console.log(`${Math.round((Date.now() - started) / 1000)} s`);
if (args.write) writeFileSync(BASELINE, `${JSON.stringify(baseline, undefined, 2)}\n`);
// what is still being tried when the time is up
if (Date.now() > end) process.exit();
