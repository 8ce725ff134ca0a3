/** Ends what a test started, also in tests that run side by side. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { aroundEach, onTestFinished as ofTheRunningTest } from 'vitest';

/** What ends when a test, or a file's tests, are over. */
export type Owner = (end: () => Promise<void> | void) => void;

const running = new AsyncLocalStorage<Owner>();

/** Vitest's own knows one running test only; this one, after `sideBySide`, the test that calls it. */
export const onTestFinished: Owner = end => (running.getStore() ?? ofTheRunningTest)(end);

/** For a file with concurrent tests: what a test starts through the helpers ends with that test, and not with another. */
export const sideBySide = (): void =>
  aroundEach((runTest, context) => running.run(context.onTestFinished, runTest));
