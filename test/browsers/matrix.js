// Runs every scenario in every engine that is installed, and prints what came out. As a program: the whole matrix;
// with `--table` as the table of client/README.md.
import { until } from '../../bench/until.js';
import { printAbsences } from './absence.js';
import { printCuts } from './cuts.js';
import { engines, start } from './engines.js';
import { scenarios } from './scenarios.js';
import { startRun } from './service.js';

const LONGEST = 120_000; // NetSurf, on a busy machine

/** Runs one engine. → { engine, version, faults: Map of the scenario's name and what went wrong, or nothing } */
export async function runEngine(engine, chosen = scenarios) {
  const run = await startRun(chosen);
  let ended = false;
  const stop = start(engine, run.url, chosen, line => {
    if (engine.printed) ended = record(run.results, line) || ended;
  });
  const faults = () =>
    new Map(
      chosen.map(scenario => [scenario.name, faultOf(scenario, run.results.get(scenario.name), engine.name)]),
    );
  try {
    const over = () => ended || ![...faults().values()].some(Boolean);
    // a scenario that is not over by then fails with its faults so far
    await until(over, 'every scenario', { within: LONGEST, every: 250 }).catch(() => {});
    return { engine, version: engine.version(), faults: faults() };
  } finally {
    await stop();
    await run.close();
  }
}

function faultOf(scenario, result, engine) {
  try {
    scenario.check(result, engine);
  } catch (error) {
    return `${error.message}\nreported: ${result.events.map(event => event.text).join(' · ')}\nasked: ${result.polls
      .slice(0, 12)
      .map(poll => `${poll.at} ms since=${poll.since}`)
      .join(' · ')}`;
  }
}

/** One line that JScript printed: what others tell the service. → whether it was the last */
function record(results, line) {
  const [kind, name, at, text] = line.split('\t');
  const { events, polls } = results.get(name) ?? {};
  if (kind === 'event') events.push({ at: +at, text });
  if (kind === 'poll') {
    const [key, callback, since, hold] = text.split(' ');
    polls.push({ at: +at, key, callback, since, hold });
  }
  return kind === 'over';
}

export const installed = () => engines.filter(engine => engine.found());
export const missing = () => engines.filter(engine => !engine.found());

/** Runs engines a few at a time. */
export async function runAll(list, atOnce = 3) {
  const left = [...list];
  const done = [];
  const lane = async () => {
    for (let engine = left.shift(); engine; engine = left.shift()) done.push(await runEngine(engine));
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  return list.map(engine => done.find(one => one.engine === engine));
}

/** Scenario by scenario, for people. */
export function print(results) {
  const wide = Math.max(...scenarios.map(scenario => scenario.name.length));
  for (const { engine, version } of results) console.log(`${engine.name} ${version} (${engine.level})`);
  console.log(`\n${''.padEnd(wide)}  ${results.map(({ engine }) => engine.name).join('  ')}`);
  for (const { name } of scenarios)
    console.log(
      `${name.padEnd(wide)}  ${results
        .map(({ engine, faults }) => (faults.get(name) ? 'FAILS' : 'ok').padEnd(engine.name.length))
        .join('  ')}`,
    );
  for (const { engine, faults } of results)
    for (const [name, fault] of faults) if (fault) console.log(`\n${engine.name}: ${name}\n${fault}`);
}

/** The table of client/README.md: a row for each engine. */
export function table(results) {
  const rows = results.map(({ engine, version, faults }) => {
    const bad = [...faults].filter(([, fault]) => fault).map(([name]) => name);
    const good = `${faults.size - bad.length} of ${faults.size}`;
    return `| ${engine.name} ${version} | ${engine.level} | ${good}${bad.length ? `, not ${bad.join(', ')}` : ''} |`;
  });
  return ['| engine | level | scenarios |', '| --- | --- | --- |', ...rows].join('\n');
}

if (process.argv[1] === import.meta.filename) {
  for (const { name } of missing()) console.log(`left out, because it is not installed: ${name}`);
  const results = await runAll(installed());
  if (process.argv.includes('--table')) console.log(table(results));
  else {
    print(results);
    await printAbsences();
    if (!(await printCuts())) process.exitCode = 1;
  }
  if (results.some(({ faults }) => [...faults.values()].some(Boolean))) process.exitCode = 1;
}
