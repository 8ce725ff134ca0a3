/** `npm run test:quick`: which files it runs, by a rule. */
import childProcess, { spawn } from 'node:child_process';
import { syncBuiltinESMExports } from 'node:module';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { quickFiles, whyNotQuick } from './quick.js';

const reason = (file: string, names?: string[]) =>
  whyNotQuick(fileURLToPath(new URL(file, import.meta.url)), names)?.at(-1);

test.each([
  ['harness.ts', ['service', 'until'], undefined],
  ['harness.ts', ['service', 'spawned'], 'node:child_process'],
  ['harness.ts', undefined, 'node:child_process'],
  ['redis.ts', ['freePort'], 'node:child_process'],
  ['chromium.ts', undefined, 'playwright-core'],
  ['stores.ts', undefined, 'node:child_process'],
  ['twin/search.ts', undefined, undefined],
])('%s, of which %j is used, starts %s', (file, names, expected) => {
  expect(reason(file, names)).toEqual(expected);
});

test('a test file is quick by what it imports, and most are that need neither servers nor browsers', () => {
  const files = quickFiles();
  expect(files).toEqual(
    expect.arrayContaining(
      ['longpoll', 'twin', 'fuzz', 'values', 'wire', 'brokers/memory'].map(name => `test/${name}.test.ts`),
    ),
  );
  for (const name of ['cli', 'faults', 'workers', 'live', 'proxies', 'browsers/matrix', 'brokers/redis'])
    expect(files).not.toContain(`test/${name}.test.ts`);
});

test('a quick test that starts a process all the same fails', async () => {
  const own = { ...childProcess };
  onTestFinished(() => {
    Object.assign(childProcess, own);
    syncBuiltinESMExports();
  });
  await import('./quick.setup.js');
  expect(() => spawn('true')).toThrow('a quick test calls spawn');
});
