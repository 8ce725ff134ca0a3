// Runs the tests of the table "What can happen to a page?" of docs/how-we-test.md with the page's script of an older
// commit. Prints how many of each row fail there, and ends with 1 if a row has none: its test would not notice the fault.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(import.meta.dirname, '../..');
const OLD = process.argv[2] ?? 'e4764bf';
const text = readFileSync(join(root, 'docs/how-we-test.md'), 'utf8');
const [, section = ''] = text.split('## What can happen to a page?');
const rows = [...section.split('\n## ')[0].matchAll(/^\| (.+) \| `(browsers\/\w+)` › (.+) \|$/gm)].map(
  ([, fault, file, name]) => ({ fault, file: `test/${file}.test.ts`, name: patternOf(name) }),
);

/** What a test of this name is called when it runs: `%s` stands for anything. */
function patternOf(name) {
  return name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replace(/%[sd]/g, '.*');
}

const home = mkdtempSync(join(tmpdir(), 'tagwait-'));
try {
  const source = execFileSync('git', ['show', `${OLD}:client/tagwait.js`], { cwd: root, encoding: 'utf8' });
  const client = join(home, 'client.js');
  writeFileSync(client, `var tagwait = (window.tagwait = (${source})(window, document, true));`);
  const report = join(home, 'report.json');
  const files = [...new Set(rows.map(({ file }) => file))];
  const words = [
    'vitest',
    'run',
    '--config',
    'test/vitest.config.ts',
    '--testTimeout=25000',
    '--reporter=json',
    `--outputFile=${report}`,
  ];
  const names = `(${rows.map(({ name }) => name).join('|')})$`;
  spawnSync('npx', [...words, ...files, '-t', names], {
    cwd: root,
    stdio: 'ignore',
    env: { ...process.env, CLIENT: client },
  });
  const ran = JSON.parse(readFileSync(report, 'utf8')).testResults.flatMap(({ name, assertionResults }) =>
    assertionResults.filter(({ status }) => status !== 'skipped').map(one => ({ ...one, file: name })),
  );
  console.log(`| what happens | failed with the client of ${OLD} |\n| --- | --- |`);
  for (const { fault, file, name } of rows) {
    const tests = ran.filter(one => one.file.endsWith(file) && new RegExp(`^${name}$`).test(one.title));
    const failed = tests.filter(({ status }) => status === 'failed');
    console.log(`| ${fault} | ${failed.length} of ${tests.length} |`);
    for (const { title, status } of tests) if (status === 'passed') console.log(`  passed: ${title}`);
    if (failed.length === 0) process.exitCode = 1;
  }
} finally {
  rmSync(home, { recursive: true, force: true });
}
