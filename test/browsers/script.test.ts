import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createContext, runInContext } from 'node:vm';
import { gzipSync } from 'node:zlib';
import { type Node, parse } from 'acorn';
import { describe, expect, test } from 'vitest';
import { literalOf, starterText } from './page.js';
import { scenarios } from './scenarios.js';
import { mutation, script } from './virtual.js';

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

test('the source is ES3', () => {
  es3(source);
  es3(readFileSync('client/many.js', 'utf8'));
});
test('what is handed out is ES3', () => {
  es3(built);
  es3(readFileSync('dist/client/many.js', 'utf8'));
});
test('the script for several keys has at most 3,300 bytes', () => {
  expect(gzipSync(readFileSync('dist/client/many.js'), { level: 9 }).length).toBeLessThanOrEqual(3300);
});
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

describe('the tag that the script takes for its own', () => {
  /** Runs the script at an address, on a page with these script elements. @returns the origin that it asks */
  function asked(
    address: string,
    elements: string[],
    current?: number,
    options = {},
    more: Record<string, unknown> = {},
  ): string {
    const tags = elements.map(src => ({ src, getAttribute: () => null }));
    const polls: { src?: string }[] = [];
    const root = { appendChild: (element: object) => polls.push(element) };
    const document = {
      readyState: 'complete',
      currentScript: current === undefined ? null : tags[current],
      createElement: () => ({ setAttribute: () => {} }),
      getElementsByTagName: (name: string) => (name === 'html' ? [root] : tags),
    };
    const window = {
      ...mutation,
      document,
      Image: class {
        ownerDocument = document;
      },
      addEventListener() {},
      setTimeout: (run: () => void, ms: number) => ms < 100 && run(),
      ...more,
    };
    const page = createContext(Object.assign(window, { window, clearTimeout() {} }));
    runInContext(script, page, { filename: address });
    runInContext(`tagwait.watch('k', ${JSON.stringify(options)})`, page);
    return polls[0]?.src?.replace(/\/status\/get.*/, '') ?? 'nothing';
  }
  const ours = 'https://status.example.com/client.js';
  const gsi = 'https://accounts.google.com/gsi/client';
  const evil = 'https://evil.example/client.js';

  test.each<[string, string, string[], number | undefined, string]>([
    ['the one that the browser names', ours, [ours, evil], 0, 'https://status.example.com'],
    [
      'one of a version',
      'https://a.example/x/client/1.2.3-rc.1.js',
      ['https://a.example/x/client/1.2.3-rc.1.js'],
      0,
      'https://a.example',
    ],
    ['one with a query', `${ours}?again`, [`${ours}?again`], 0, 'https://status.example.com'],
    [
      'the one that ran, where the browser names none',
      ours,
      [gsi, ours, evil],
      undefined,
      'https://status.example.com',
    ],
    ['none in a bundle', 'https://app.example/app.js', ['https://app.example/app.js', ours], 0, ''],
    [
      'none in a bundle, where the browser names none',
      'https://app.example/app.js',
      [gsi, evil],
      undefined,
      '',
    ],
    ['not another script called client', gsi, [gsi], 0, ''],
    [
      'not one that has our address in its query',
      `https://a.example/b?/client.js`,
      ['https://a.example/b?/client.js'],
      0,
      '',
    ],
    [
      'not one that has our address in its query, with its host',
      'https://a.example/b?to=//status.example.com/client.js',
      ['https://a.example/b?to=//status.example.com/client.js'],
      0,
      '',
    ],
    ['not a file beside it', 'https://a.example/client/main.js', ['https://a.example/client/main.js'], 0, ''],
    [
      'not one whose name ends alike',
      'https://a.example/myclient.js',
      ['https://a.example/myclient.js'],
      0,
      '',
    ],
  ])('%s', (_, address, elements, current, origin) => {
    expect(asked(address, elements, current)).toBe(origin);
  });

  test('the one that the browser names, before a later one, also where errors have no stack', () => {
    const old = { Error: Object };
    expect(asked(ours, [ours, evil], 0, {}, old)).toBe('https://status.example.com');
    expect(asked(ours, [ours, evil], undefined, {}, old)).toBe('https://evil.example');
  });

  test('none where `url` is given', () => {
    expect(asked(ours, [ours], 0, { url: 'https://other.example/' })).toBe('https://other.example');
  });
});
