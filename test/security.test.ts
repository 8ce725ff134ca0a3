/** SECURITY.md: what it says is tested is tested, and what it says of limits is so. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import type { TestModule } from 'vitest/node';
import { fdBudget } from '../src/limits.js';
import { closingOf } from './tally.js';
import { type Claim, claims, mitigations, type Result, threats, unproven } from './threats.js';

const here = fileURLToPath(new URL('.', import.meta.url));
const read = (path: string) => readFileSync(join(here, '..', path), 'utf8');
const text = read('SECURITY.md');

/** The statement that a name stands in: from the `test(` or `describe(` before it to the next one on its level. */
function sourceOf({ file, name }: Claim): string {
  const source = read(`test/${file}.test.ts`);
  const at = source.indexOf(`'${name}'`);
  if (at < 0) return '';
  const starts = [...source.matchAll(/^( *)(?:test|describe)\b/gm)];
  const first = starts.findLast(({ index }) => index < at);
  const next = starts.find(
    ({ index, 1: depth = '' }) => index > at && depth.length <= (first?.[1] ?? '').length,
  );
  return source.slice(first?.index, next?.index);
}

// that the test of a row has passed is seen at the end of the whole run, see tally.ts
test.each(claims())('$page: $shown', claim => {
  const source = sourceOf(claim);
  expect(source, 'the test is there').not.toBe('');
  expect(source, 'it is one that is run').not.toMatch(/^ *(?:test|describe)\S*\.(?:skip|todo|fails)\b/);
  expect(source, 'it compares something').toMatch(/\bexpect\w*\(|\buntil\(|\bfc\.assert\(|\.ended\b/);
});

test('every row of the threats is filled in', () => {
  for (const { attacker, way, stops } of threats())
    for (const cell of [attacker, way, stops]) expect(cell).toMatch(/\S/);
});

test('each of the seventeen mitigations is done, yours or not possible, and has its test or its line', () => {
  const rows = mitigations();
  expect(rows).toHaveLength(17);
  for (const { here } of rows) expect(here).toMatch(/^(done|yours|not possible here)\b/);
  for (const { file, line } of rows) if (line !== undefined) expect(read(file)).toContain(line);
});

test('a row is shown by a test of its name that passed, and by no other', () => {
  const row = { page: 'page', shown: 'a › one %s of $kind', file: 'a', name: 'one %s of $kind' };
  const missing = [`page: ${row.shown}`];
  const after = (...tests: [names: string[], state: 'passed' | 'failed' | 'skipped'][]) =>
    unproven(new Map([['test/a.test.ts', tests.map(([names, state]) => ({ names, state }))]]), [row]);
  expect(after([['one case of some'], 'passed'])).toEqual([]);
  expect(after([['one group of tests', 'a test'], 'passed'])).toEqual([]);
  expect(after([['one case of some'], 'skipped'])).toEqual([]);
  expect(after([['one case of some'], 'failed'])).toEqual(missing);
  expect(after([['another'], 'passed'])).toEqual(missing);
  expect(after()).toEqual(missing);
  expect(unproven(new Map([['test/b.test.ts', []]]), [row]), 'its file was not run').toEqual([]);
});

/** A file that was run, as vitest reports it. */
const ran = (states: Result['state'][], errors: object[] = []) =>
  ({
    relativeModuleId: 'test/one.test.ts',
    errors: () => errors,
    children: { allTests: () => states.map(state => ({ fullName: 'one', result: () => ({ state }) })) },
  }) as unknown as TestModule;

test.each<[name: string, files: TestModule[], ci: string | undefined, line: string, faults: number]>([
  ['all passed', [ran(['passed', 'passed']), ran(['passed'])], 'true', '3 passed, 0 failed', 0],
  ['one failed', [ran(['passed', 'failed'])], undefined, '1 passed, 1 failed', 0],
  ['a file could not be run', [ran(['passed']), ran([], [{}])], undefined, '1 passed, 1 failed', 0],
  ['one skipped', [ran(['passed', 'skipped'])], undefined, '1 passed, 0 failed, 1 skipped', 0],
  ['one skipped, in CI', [ran(['passed', 'skipped'])], 'true', '1 passed, 0 failed, 1 skipped', 1],
])('the last line of a run: %s', (_, files, ci, line, faults) => {
  const closing = closingOf(files, false, ci);
  expect([closing.line, closing.faults.length]).toEqual([line, faults]);
});

test('a run that skips a test exits with 1 in CI, and says why before its last line', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tagwait-tally-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const reporters = [join(here, 'tally.ts')];
  const config = join(folder, 'vitest.config.mjs');
  writeFileSync(
    config,
    `export default { root: '${folder}', test: ${JSON.stringify({ globals: true, reporters })} };`,
  );
  writeFileSync(join(folder, 'one.test.js'), "test('one', () => {}); test.skip('two', () => {});");
  const vitest = join(here, '../node_modules/vitest/vitest.mjs');
  const { status, stdout } = spawnSync(process.execPath, [vitest, 'run', '--config', config], {
    cwd: join(here, '..'),
    env: { ...process.env, CI: 'true' },
    encoding: 'utf8',
  });
  expect(status).toBe(1);
  expect(stdout).toMatch(/CI is set: .*\n1 passed, 0 failed, 1 skipped\n$/);
});

test('the limits with 20,000 open files are those in SECURITY.md', () => {
  const { connections, held } = fdBudget(20_000, 2 ** 32);
  const [, documented] = /With 20,000 open files: (.*)\.$/m.exec(text) ?? [];
  expect(documented).toBe(
    `${connections.toLocaleString('en')} connections, ${held.toLocaleString('en')} held`,
  );
});
