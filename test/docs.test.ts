/** The README says what the code does. */
import { existsSync, readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { ANSWERS } from '../src/answers.js';
import { envOf, flagOf, NAMES, SETTINGS } from '../src/config.js';

const read = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');
const readme = read('README.md');

/** The README's row of each setting. */
const settingsTable = () =>
  NAMES.map(name => {
    const { fallback, allowed, help } = SETTINGS[name] as {
      fallback?: string;
      allowed: string;
      help: string;
    };
    const cells = [`\`${flagOf(name)}\``, `\`${envOf(name)}\``, fallback && `\`${fallback}\``, allowed, help];
    return `|${cells.map(cell => (cell ? ` ${cell} ` : ' ')).join('|')}|`;
  }).join('\n');

test('every setting is in the table, as the code has it', () => {
  expect(readme).toContain(settingsTable());
  const named = new Set(readme.match(/TAGWAIT_[A-Z_]+/g));
  expect([...named].filter(env => !NAMES.map(envOf).includes(env))).toEqual([]);
});

test('every code is in the table, with its message and status', () => {
  for (const { code, message, status } of Object.values(ANSWERS))
    expect(readme).toMatch(new RegExp(`^\\| ${code} \\| ${message} \\|.*\\| ${status} \\|`, 'm'));
});

test("the client's size is at most what the README says", () => {
  const said = Number(/script of at most ([\d,]+) bytes/.exec(readme)?.[1]?.replace(',', ''));
  expect(gzipSync(read('dist/client/tagwait.js'), { level: 9 }).length).toBeLessThanOrEqual(said);
});

test('the files it names are there', () => {
  for (const [, path] of readme.matchAll(/(?:\]\(|`)((?:src|docs|client)\/[\w./-]*|[A-Z]+\.md)/g))
    expect(existsSync(new URL(`../${path}`, import.meta.url)), path).toBe(true);
});

test("the matrix of browsers is that of the client's own page", () => {
  const table = /\| engine \| level[\s\S]*?\n\n/.exec(read('client/README.md'))?.[0] as string;
  expect(readme).toContain(table);
});
