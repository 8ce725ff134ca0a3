import { defineConfig } from 'vitest/config';
import { quickFiles } from './quick.js';
import config from './vitest.config.js';

export default defineConfig({
  ...config,
  test: {
    ...config.test,
    include: quickFiles(),
    setupFiles: ['test/quick.setup.ts'],
    // the files share what they import, so that it is loaded once; in `npm test` each has its own
    isolate: false,
  },
});
