import { test } from 'vitest';

/** Vitest starts a worker for a file of tests. The runner in worker.ts runs the real ones when this one has passed. */
test('the worker is ready', () => {});
