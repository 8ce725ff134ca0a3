import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { gzipSync } from 'node:zlib';
import { type Node, parse } from 'acorn';
import { expect, test } from 'vitest';
import { literalOf, starterText } from './page.js';
import { scenarios } from './scenarios.js';

const source = readFileSync('client/tagwait.js', 'utf8');
const built = readFileSync('dist/client/tagwait.js', 'utf8');

/** Throws on what a browser of 1999 cannot read. */
function es3(text: string): void {
  parse(text, {
    ecmaVersion: 3,
    allowReserved: 'never',
    onToken: token => {
      // acorn allows these at 3, JScript reads an extra element or fails.
      if (/^[\]}]$/.test(token.type.label) && /,\s*$/.test(text.slice(0, token.start)))
        throw new SyntaxError(`trailing comma at ${token.start}`);
    },
  }) satisfies Node;
}

test('the source is ES3', () => es3(source));
test('what is handed out is ES3', () => es3(built));
test('what the tests run in old engines is ES3', () =>
  es3(`(${literalOf(scenarios, () => '')});${starterText};`));
test('the gate sees what is not ES3', () => {
  for (const bad of ['a.final', '({final: 1})', '[1,]', '({a: 1,})', '() => 1', 'let a', 'a?.b', '`a`'])
    expect(() => es3(bad), bad).toThrow();
});

test('at most 2,048 bytes, minified and gzipped', () => {
  expect(gzipSync(built, { level: 9 }).length).toBeLessThanOrEqual(2048);
});

test('ESM and CommonJS have the same watch, and importing needs no browser', async () => {
  const esm = await import('../../dist/client/index.js' as string);
  const cjs = createRequire(import.meta.url)('../../dist/client/index.cjs');
  for (const module of [esm, esm.default, cjs]) expect(module.watch).toBeTypeOf('function');
});
