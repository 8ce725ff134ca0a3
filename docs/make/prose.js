/**
 * `npm run prose`: looks for words that CONTRIBUTING.md asks to avoid, in pages, in comments and in names of tests.
 * Spelling is cspell's part.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Old or literary words, and what to write instead. */
export const AVOID = {
  anew: 'again',
  fellow: 'other',
  fellows: 'others',
  lest: 'so that … not',
  likewise: 'also',
  sight: 'view, or name what is seen',
  told: 'informed, answered, or name the event',
  whoever: 'name the client, the request or the person',
  whom: 'name the client, the request or the person',
};
/** Comments of these folders are about clients and requests, and "who" is for people. */
const NO_PEOPLE = /^(src|client)\/.*\.(ts|js|lua)$/;
const WHO = '(?<!\\b(?:people|person|reader|user|visitor)s? )who';

/** They name the words. */
const OWN = ['docs/make/prose.js', 'test/docs.test.ts'];

/** @returns the prose of a file with its line numbers: `[line, text]` */
export function proseOf(path, text) {
  const lines = text.split('\n');
  if (path.endsWith('.md')) return markdown(lines);
  const start = path.endsWith('.lua') ? /--(.*)$/ : /(?:^|[\s;{}(),])\/\/(.*)$|^\s*\/?\*+(.*)$|\/\*+(.*)$/;
  return lines.flatMap((line, index) => {
    const found = start.exec(line);
    const comment = found?.slice(1).find(part => part !== undefined);
    const name = /^\s*(?:test|describe)\b[^'"`]*(['"`])(.*?)\1/.exec(line)?.[2];
    return [comment, name].filter(Boolean).map(part => [index + 1, part.replace(/`[^`]*`/g, '')]);
  });
}

function markdown(lines) {
  let fenced = false;
  return lines.flatMap((line, index) => {
    if (/^\s*```/.test(line)) fenced = !fenced;
    // names of tests that a table refers to are checked where the tests are
    if (fenced || /^\| .*› .* \|$/.test(line)) return [];
    return [[index + 1, line.replace(/`[^`]*`|\]\([^)]*\)/g, '')]];
  });
}

/** @returns `path:line: message` for each word to avoid */
export function faultsOf(path, text) {
  const who = NO_PEOPLE.test(path);
  const words = { ...AVOID, who: 'name the client or the request' };
  const pattern = new RegExp(`\\b(${[...Object.keys(AVOID), ...(who ? [WHO] : [])].join('|')})\\b`, 'gi');
  return proseOf(path, text).flatMap(([line, part]) =>
    [...part.matchAll(pattern)].map(
      ([word]) => `${path}:${line}: "${word}": write ${words[word.toLowerCase()]}`,
    ),
  );
}

if (process.argv[1] === import.meta.filename) {
  const root = new URL('../../', import.meta.url);
  const files = execFileSync('git', ['ls-files', '*.md', '*.ts', '*.js', '*.lua'], {
    cwd: root,
    encoding: 'utf8',
  });
  const faults = files
    .split('\n')
    .filter(path => path !== '' && !OWN.includes(path))
    .flatMap(path => faultsOf(path, readFileSync(new URL(path, root), 'utf8')));
  if (faults.length > 0) {
    console.error(faults.join('\n'));
    process.exitCode = 1;
  }
}
