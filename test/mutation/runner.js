/**
 * A test runner for StrykerJS. Its own vitest runner imports the whole service again for each mutant, which takes
 * seconds; this one keeps a vitest worker (worker.ts), and a mutant takes what its tests take.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { relative, resolve } from 'node:path';
import { BroadcastChannel } from 'node:worker_threads';
import { commonTokens, declareClassPlugin, PluginKind } from '@stryker-mutator/api/plugin';
import { DryRunStatus, MutantRunStatus, TestStatus } from '@stryker-mutator/api/test-runner';
import { createVitest } from 'vitest/node';
import { mutantName } from './name.js';
import { sampled } from './sample.js';

/** What the first of Stryker's processes measured, for the others. */
const MEASURED = 'mutation-measured.json';
/** The tests of one mutant take this long together at most, the cheapest first. Milliseconds without the mutant. */
const BUDGET = 3000;
/** But so many are run, however long they take: a busy machine measures long times. */
const FEWEST = 25;
/** Schedules of twin.test.ts. */
process.env.TWIN_RUNS ??= '40';
/** A mutant that runs ten times as often as the code does has made an endless loop; beside this many times. */
const LOOPS = 10_000;

class Runner {
  static inject = [commonTokens.options];
  #options;
  #vitest;
  #channel;
  #waiting = new Map();
  #requests = 0;
  #measured;

  constructor(options) {
    this.#options = options.tagwait;
  }

  capabilities() {
    return { reloadEnvironment: true };
  }

  async init() {
    process.env.NODE_ENV = 'test';
    process.env.VITEST = '1';
    // the run ends when its time is up, and with it this process
    process.once('disconnect', () => process.exit());
    this.#channel = new BroadcastChannel(`tagwait-mutation-${process.pid}`);
    const ready = new Promise(resolve => this.#waiting.set('ready', resolve));
    this.#channel.onmessage = ({ data }) => {
      const id = data.ready ? 'ready' : data.id;
      this.#waiting.get(id)?.(data);
      this.#waiting.delete(id);
    };
    this.#vitest = await createVitest('test', {
      config: 'test/mutation/vitest.config.ts',
      pool: 'threads',
      maxWorkers: 1,
      watch: false,
      reporters: [{}],
      onConsoleLog: () => false,
    });
    this.#vitest.start().catch(() => undefined);
    await ready;
  }

  #ask(request) {
    const id = this.#requests++;
    const reply = new Promise(resolve => this.#waiting.set(id, resolve));
    this.#channel.postMessage({ ...request, id });
    return reply;
  }

  async dryRun() {
    const files = this.#options.tests.map(file => resolve(file));
    const { outcomes, coverage } = await this.#ask({ do: 'measure', files });
    // a test that fails without a mutant could not notice one
    for (const { id, state, message } of outcomes)
      if (state === 'fail') process.stdout.write(`left out, it fails: ${nameOf(id)}: ${message}\n`);
    const good = outcomes.filter(({ state }) => state === 'pass');
    const tests = good.map(({ id, file, ms }) => ({
      id: nameOf(id),
      name: nameOf(id),
      fileName: file,
      timeSpentMs: ms,
      status: TestStatus.Success,
    }));
    const times = Object.fromEntries(good.map(({ id, ms }) => [id, ms]));
    const perTest = good.map(({ id }) => [id, coverage.perTest[id] ?? {}]);
    writeFileSync(MEASURED, JSON.stringify({ times, perTest: Object.fromEntries(perTest) }));
    const named = perTest.map(([id, hits]) => [nameOf(id), hits]);
    const mutantCoverage = { static: coverage.static, perTest: Object.fromEntries(named) };
    return { status: DryRunStatus.Complete, tests, mutantCoverage };
  }

  async mutantRun({ activeMutant, testFilter, mutantActivation }) {
    const { samples, seed, root, known } = this.#options;
    // the file of the project, not of the sandbox that this process runs in
    const file = Object.keys(samples).find(name => activeMutant.fileName.endsWith(`/${name}`));
    const sample = samples[file];
    if (!sampled(activeMutant, { sample, seed }))
      return { status: MutantRunStatus.Error, errorMessage: 'not in the sample' };
    if (known) {
      const name = mutantName(fromOne(activeMutant), `${root}/${file}`);
      if (!known[file].survived.some(other => other.replace(/ \(\d+\)$/, '') === name))
        return { status: MutantRunStatus.Error, errorMessage: 'killed before' };
    }
    this.#measured ??= JSON.parse(readFileSync(MEASURED, 'utf8'));
    const reload = mutantActivation === 'static';
    const tests = this.#cheapest(testFilter?.map(pathOf) ?? this.#near(activeMutant.id));
    const { id: mutant } = activeMutant;
    const { perTest } = this.#measured;
    const hitLimit = LOOPS + 10 * tests.reduce((sum, test) => sum + (perTest[test]?.[mutant] ?? 0), 0);
    const { outcomes, hits } = await this.#ask({ do: 'try', tests, mutant, reload, hitLimit });
    const stray = this.#stray();
    const failed = outcomes.find(outcome => outcome.state === 'fail');
    if (hits > hitLimit) return { status: MutantRunStatus.Timeout };
    if (!failed && !stray) return { status: MutantRunStatus.Survived, nrOfTests: outcomes.length };
    const killer = failed?.id ?? outcomes.at(-1)?.id ?? '';
    if (!(await this.#passes(tests, killer)))
      return { status: MutantRunStatus.Error, errorMessage: `unsure: ${nameOf(killer)}` };
    return {
      status: MutantRunStatus.Killed,
      killedBy: [nameOf(killer)],
      failureMessage: failed?.message ?? stray ?? '',
      nrOfTests: outcomes.length,
    };
  }

  /** Whether the test that failed passes without the mutant; else the worker is no longer clean, and a new one is started. */
  async #passes(tests, killer) {
    const same = tests.includes(killer)
      ? [killer]
      : tests.filter(test => test.startsWith(killer)).slice(0, 1);
    const { outcomes } = await this.#ask({ do: 'try', tests: same, reload: false });
    if (!this.#stray() && outcomes.every(outcome => outcome.state === 'pass')) return true;
    await this.dispose();
    await this.init();
    return false;
  }

  /** An error that no test caught. */
  #stray() {
    const [error] = this.#vitest.state.errorsSet;
    this.#vitest.state.errorsSet.clear();
    return error && String(error.message);
  }

  #cheapest(tests) {
    const { times } = this.#measured;
    let left = BUDGET;
    const sorted = tests.toSorted((a, b) => (times[a] ?? 0) - (times[b] ?? 0));
    return sorted.filter((test, at) => {
      left -= times[test] ?? 0;
      return left > 0 || at < FEWEST;
    });
  }

  /** Tests for a mutant that runs when its file is imported: all that run anything of the mutants numbered near it. */
  #near(mutant) {
    const near = id => Math.abs(Number(id) - Number(mutant)) < 150;
    const { perTest } = this.#measured;
    return Object.keys(perTest).filter(test => Object.keys(perTest[test]).some(near));
  }

  async dispose() {
    this.#channel?.close();
    await this.#vitest?.close();
  }
}

/** A mutant as in Stryker's results: there lines and columns are counted from 1, and for a runner from 0. */
function fromOne({ location: { start, end }, ...mutant }) {
  const next = ({ line, column }) => ({ line: line + 1, column: column + 1 });
  return { ...mutant, location: { start: next(start), end: next(end) } };
}

/** `test/a.test.ts#name`, without the folder of the sandbox. The name of a test is no path: `//` and `..` stay in it. */
const nameOf = id => withPath(id, file => relative(process.cwd(), file));
const pathOf = id => withPath(id, file => resolve(file));
function withPath(id, convert) {
  const [file] = id.split('#', 1);
  return convert(file) + id.slice(file.length);
}

/** What was tried so far: a run that takes too long is detected from it. */
export const tried = [];
class Reporter {
  onMutantTested(result) {
    tried.push(result);
  }
}

export const strykerPlugins = [
  declareClassPlugin(PluginKind.TestRunner, 'tagwait', Runner),
  declareClassPlugin(PluginKind.Reporter, 'tagwait', Reporter),
];
