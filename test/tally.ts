import type { Reporter, TestModule, Vitest } from 'vitest/node';
import { type Result, unproven } from './threats.js';

/**
 * Ends a run with `N passed, N failed`, alone on a line, and `, N skipped` when any were left out. What counts as a
 * failure beside a test that failed: a file that could not run, and a row of the threat table, or of the mitigations, that no test showed.
 * Where the variable CI is set, a run in which any was left out has failed.
 */
export default class Tally implements Reporter {
  /** tests were chosen by their names */
  #filtered = false;

  onInit(vitest: Vitest): void {
    this.#filtered = vitest.config.testNamePattern !== undefined;
  }

  onTestRunEnd(modules: readonly TestModule[]): void {
    const { line, faults } = closingOf(modules, this.#filtered, process.env.CI);
    process.once('exit', () => {
      if (faults.length > 0) process.exitCode = 1;
      process.stdout.write(`${faults.map(fault => `\n${fault}`).join('')}\n${line}\n`);
    });
  }
}

/** What a run ends with. @param filtered tests were chosen by their names @returns its last line, and what makes it fail beside failed tests */
export function closingOf(modules: readonly TestModule[], filtered: boolean, ci: string | undefined) {
  const count = { passed: 0, failed: 0, skipped: 0, pending: 0 };
  const results = new Map<string, Result[]>();
  for (const module of modules) {
    if (module.errors().length > 0) {
      count.failed++;
      continue;
    }
    const tests = [...module.children.allTests()];
    for (const test of tests) count[test.result().state]++;
    results.set(
      module.relativeModuleId,
      tests.map(test => ({ names: test.fullName.split(' > '), state: test.result().state })),
    );
  }
  const rows = filtered ? [] : unproven(results);
  const left = count.skipped + count.pending;
  const skipped = left > 0 ? `, ${left} skipped` : '';
  const faults = rows.map(row => `no test that passed shows what is said in ${row}`);
  if (left > 0 && ci) faults.push('CI is set: a test that is skipped fails the run');
  return { line: `${count.passed} passed, ${count.failed + rows.length} failed${skipped}`, faults };
}
