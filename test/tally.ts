import type { Reporter, TestModule } from 'vitest/node';

/** Ends a run with `N passed, N failed`, alone on a line; a file that could not run counts as one failure. */
export default class Tally implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const count = { passed: 0, failed: 0, skipped: 0, pending: 0 };
    for (const module of modules) {
      if (module.errors().length > 0) count.failed++;
      for (const test of module.children.allTests()) count[test.result().state]++;
    }
    const left = count.skipped + count.pending;
    const line = `${count.passed} passed, ${count.failed} failed${left > 0 ? `, ${left} skipped` : ''}`;
    process.once('exit', () => process.stdout.write(`\n${line}\n`));
  }
}
