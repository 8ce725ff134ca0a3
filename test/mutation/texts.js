/**
 * `npm run mutate:texts`: what Stryker cannot mutate. Changes one line of a Lua script, a deploy file or a table of the
 * docs in a copy of the repository, runs the tests that are bound to it, and prints the changes that none notices.
 */
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, extname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const { values: args } = parseArgs({
  options: {
    target: { type: 'string' },
    runs: { type: 'string', default: '12' },
    seed: { type: 'string', default: '1' },
  },
});
/** Of a page only the rows of its tables are changed. `only`: the tests by their names, when the rest of a file cannot notice. */
const TARGETS = {
  lua: {
    files: ['src/brokers/redis/*.lua'],
    tests: ['test/brokers/redis.test.ts', 'test/brokers/watchers.test.ts', 'test/twin/store.test.ts'],
    comment: /^\s*(?:--|$)/,
  },
  // but for the prose, which is for a person
  alerts: {
    files: ['deploy/alerts.yml'],
    tests: ['test/dashboard.test.ts'],
    only: 'each alert|an alert says|every query|in the unit',
    comment: /^\s*(?:#|$|summary:|description:)/,
  },
  deploy: {
    files: ['deploy/nginx.conf', 'deploy/compose.yaml', 'deploy/kubernetes/*.yaml', 'deploy/tagwait.service'],
    tests: ['test/deploy.test.ts'],
    comment: /^\s*(?:#|$)/,
  },
  docs: {
    files: ['docs/configuration.md', 'docs/protocol.md', 'docs/operating.md', 'docs/scaling.md'],
    tests: ['test/docs.test.ts'],
    only: 'table|every|metrics|codes|statuses|figures|size',
    comment: /^(?!\| )|^\| (?:---|:)/,
  },
};
if (args.target !== undefined && !(args.target in TARGETS))
  throw new Error(`--target ${args.target}: must be one of ${Object.keys(TARGETS).join(', ')}`);

/** A small generator (mulberry32): the same seed makes the same changes. */
function random(seed) {
  let state = seed;
  return below => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** What may be done to a line: a drop, one number more, two names swapped. @returns undefined: none; '' drops it */
const CHANGES = {
  drop: () => '',
  number: (line, pick) => {
    const numbers = [...line.matchAll(/\d+/g)];
    if (numbers.length === 0) return undefined;
    const { 0: text, index } = numbers[pick(numbers.length)];
    return line.slice(0, index) + (Number(text) + 1) + line.slice(index + text.length);
  },
  swap: (line, pick) => {
    const names = [...line.matchAll(/[A-Za-z_][\w.]{2,}/g)];
    const pairs = names.slice(1).map((second, at) => [names[at], second]);
    const different = pairs.filter(([first, second]) => first[0] !== second[0]);
    if (different.length === 0) return undefined;
    const [first, second] = different[pick(different.length)];
    const between = line.slice(first.index + first[0].length, second.index);
    return (
      line.slice(0, first.index) +
      second[0] +
      between +
      first[0] +
      line.slice(second.index + second[0].length)
    );
  },
};

/** @param pattern a file, or `folder/*.ext` @returns the files */
function expand(pattern) {
  if (!pattern.includes('*')) return [pattern];
  const folder = dirname(pattern);
  const files = readdirSync(folder).filter(file => extname(file) === extname(pattern));
  return files.map(file => join(folder, file));
}

/** Every change that there is, in an order of the seed. */
function changesOf({ files, comment }, pick) {
  const changes = files
    .flatMap(expand)
    .flatMap(file =>
      readFileSync(file, 'utf8')
        .split('\n')
        .flatMap((line, at) => {
          if (comment.test(line)) return [];
          return Object.entries(CHANGES).map(([kind, change]) => ({
            file,
            at,
            kind,
            line,
            to: change(line, pick),
          }));
        }),
    )
    .filter(({ to }) => to !== undefined);
  for (let at = changes.length - 1; at > 0; at--) {
    const other = pick(at + 1);
    [changes[at], changes[other]] = [changes[other], changes[at]];
  }
  return changes;
}

/** Runs the tests of a target in the copy. @returns whether they pass */
function passes(folder, { tests, only }) {
  const command = [
    resolve('node_modules/vitest/vitest.mjs'),
    'run',
    '--config',
    'test/vitest.config.ts',
    '--bail',
    '1',
  ];
  const names = only ? ['-t', only] : [];
  const child = spawn(process.execPath, [...command, ...names, ...tests], { cwd: folder, stdio: 'ignore' });
  const timer = setTimeout(() => child.kill(), 180_000);
  return new Promise(done =>
    child.once('exit', code => {
      clearTimeout(timer);
      done(code === 0);
    }),
  );
}

const folder = mkdtempSync(join(tmpdir(), 'tagwait-mutation-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
const LEFT = ['node_modules', '.git', '.stryker-tmp'];
for (const part of readdirSync('.'))
  if (!LEFT.includes(part)) cpSync(part, join(folder, part), { recursive: true });
symlinkSync(resolve('node_modules'), join(folder, 'node_modules'));

for (const [name, target] of Object.entries(TARGETS)) {
  if (args.target !== undefined && args.target !== name) continue;
  if (!(await passes(folder, target))) {
    console.log(`${name}: its tests fail without a change`);
    process.exitCode = 1;
    continue;
  }
  let killed = 0;
  const tried = changesOf(target, random(Number(args.seed))).slice(0, Number(args.runs));
  for (const { file, at, kind, line, to } of tried) {
    const text = readFileSync(file, 'utf8');
    const lines = text.split('\n');
    lines.splice(at, 1, ...(kind === 'drop' ? [] : [to]));
    writeFileSync(join(folder, file), lines.join('\n'));
    if (await passes(folder, target))
      console.log(`${file}:${at + 1}: ${kind}: ${line.trim()}${to && ` -> ${to.trim()}`}`);
    else killed++;
    writeFileSync(join(folder, file), text);
  }
  console.log(`${name}: ${killed} of ${tried.length} changes noticed`);
}
