import { defineConfig } from 'vitest/config';
import { quickFiles } from './quick.js';
import LongestFirst from './sequencer.js';

const quick = quickFiles();

export default defineConfig({
  test: {
    projects: [
      { extends: true, test: { name: 'servers', include: ['test/**/*.test.ts'], exclude: quick } },
      { extends: true, test: { name: 'quick', include: quick, setupFiles: ['test/quick.setup.ts'] } },
    ],
    // the files that one process runs share what they import: a third of the processor time went to loading it
    isolate: false,
    reporters: ['default', './test/tally.ts'],
    sequence: { sequencer: LongestFirst },
    // three on two cores: most tests wait for servers and browsers, and two would leave the processors idle
    maxWorkers: 3,
    // of the tests of one file that say so; with three of each, waits of a browser took seconds
    maxConcurrency: 2,
    // longer than a wait in a test, which says what it waited for
    testTimeout: 300_000,
    hookTimeout: 300_000,
  },
});
