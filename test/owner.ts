/** Ends what a test started, also in tests that run side by side. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { type TestContext, onTestFinished as vitestOnTestFinished } from 'vitest';

/** What ends when a test, or a file's tests, are over. */
export type Owner = (end: () => Promise<void> | void) => void;

const running = new AsyncLocalStorage<Owner>();

/** Vitest's own, which knows one running test only, and that of the test that calls it in a body given to `beside`. */
export const onTestFinished: Owner = end => (running.getStore() ?? vitestOnTestFinished)(end);

/** A body for `test.concurrent`: what it starts through the helpers ends with this test, and not with its neighbour. */
export const beside =
  (body: () => Promise<void>) =>
  ({ onTestFinished: own }: TestContext): Promise<void> =>
    running.run(own, body);
