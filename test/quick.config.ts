import { defineConfig } from 'vitest/config';
import { quickFiles } from './quick.js';
import config from './vitest.config.js';

export default defineConfig({
  ...config,
  test: {
    ...config.test,
    include: quickFiles(),
    setupFiles: ['test/quick.setup.ts'],
  },
});
