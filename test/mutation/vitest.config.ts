import { defineConfig } from 'vitest/config';

/** One worker thread that stays: its runner, worker.ts, imports the code once and runs the tests of one mutant after the other. */
export default defineConfig({
  test: {
    include: ['test/mutation/host.ts'],
    runner: './test/mutation/worker.ts',
    isolate: false,
    testTimeout: 20_000,
    hookTimeout: 20_000,
  },
});
