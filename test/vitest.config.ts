import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    reporters: ['default', './test/tally.ts'],
    // two even on two cores: most tests wait for servers
    maxWorkers: 2,
    // longer than a wait in a test, which says what it waited for
    testTimeout: 120_000,
    hookTimeout: 180_000,
  },
});
