/** The page's script in bundles of other tools: what each makes of it by default, run on a page made by hand. */
import { execFile, execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { parse } from 'acorn';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Page } from './browsers/virtual.js';
import { launch, site } from './chromium.js';
import { until } from './wait.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const NAMES = ['tagwait/client', '@tagwait/client', 'tagwait/client/many', '@tagwait/client/many'];
const USE = NAMES.map(
  (_, i) =>
    `watch${i}('k${i}', { url: 'https://status.example.com', onvalue: function (value) { window.heard.push(value); } });`,
);
const app = (line: (name: string, i: number) => string) => [...NAMES.map(line), ...USE].join('\n');

/** Both packages as they are packed, and no other: a bundle that needed a dependency of the server's would fail. */
let home: string;
beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), 'tagwait-bundled-'));
  const pack = [
    'pack',
    '--ignore-scripts',
    '--pack-destination',
    home,
    '--workspaces',
    '--include-workspace-root',
  ];
  execFileSync('npm', pack, { cwd: root, stdio: 'pipe' });
  for (const name of readdirSync(home)) {
    const folder = join(
      home,
      'node_modules',
      name.startsWith('tagwait-client') ? '@tagwait/client' : 'tagwait',
    );
    mkdirSync(folder, { recursive: true });
    execFileSync('tar', ['-xzf', join(home, name), '-C', folder, '--strip-components=1']);
  }
  writeFileSync(join(home, 'package.json'), '{"private":true}');
  writeFileSync(
    join(home, 'module.js'),
    app((name, i) => `import { watch as watch${i} } from '${name}';`),
  );
  writeFileSync(
    join(home, 'common.js'),
    app((name, i) => `var watch${i} = require('${name}').watch;`),
  );
});
afterAll(() => rmSync(home, { recursive: true, force: true }));

const webpack = (name: string, more: string) => `
  require('${name}')({ context: home, entry: './module.js', mode: 'production', ${more}
    output: { path: folder, filename: file } }, (error, stats) => {
    if (error || stats.hasErrors() || stats.hasWarnings()) throw error || new Error(stats.toString());
  });`;

/** Each: what it needs to be given beyond the entry, as a program with `home`, `folder` and `file`; and the syntax of its output. */
const BUNDLERS: Record<string, { program: string; syntax: 5 | 2021 }> = {
  esbuild: {
    program: `require('esbuild-wasm').build({ absWorkingDir: home, entryPoints: ['module.js'], bundle: true, target: 'es5', outfile: folder + '/' + file });`,
    syntax: 5,
  },
  Rollup: {
    program: `
      const { nodeResolve } = require('@rollup/plugin-node-resolve');
      const onwarn = warning => { throw new Error(warning.message); };
      require('rollup').rollup({ input: home + '/module.js', plugins: [nodeResolve()], onwarn })
        .then(bundle => bundle.write({ file: folder + '/' + file, format: 'iife' }));`,
    syntax: 5,
  },
  'webpack 4': { program: webpack('webpack4', ''), syntax: 5 },
  'webpack 5': { program: webpack('webpack', "target: ['web', 'es5'],"), syntax: 5 },
  Vite: {
    program: `import('vite').then(({ build }) => build({ root: home, logLevel: 'warn', build: {
      outDir: folder, rollupOptions: { input: home + '/module.js', output: { entryFileNames: file } } } }));`,
    syntax: 2021,
  },
  Browserify: {
    program: `require('browserify')(home + '/common.js').bundle((error, code) => {
      if (error) throw error;
      require('node:fs').writeFileSync(folder + '/' + file, code);
    });`,
    syntax: 5,
  },
};

test.each(Object.keys(BUNDLERS))('%s', async name => {
  const { program, syntax } = BUNDLERS[name] as (typeof BUNDLERS)[string];
  const folder = join(home, name.replace(' ', ''));
  mkdirSync(folder);
  const given = `const [home, folder, file] = ${JSON.stringify([home, folder, 'app.js'])};`;
  await promisify(execFile)(process.execPath, ['-e', given + program], { cwd: root });
  const code = readFileSync(join(folder, 'app.js'), 'utf8');
  parse(code, { ecmaVersion: syntax, sourceType: 'script' });
  // four copies of at most 21 KB, and what the bundler adds
  expect(code.length).toBeLessThan(90_000);

  let drawn = 0;
  const math = Object.assign(Object.create(Math), { random: () => (drawn += 0.01) });
  const page = new Page({}, { heard: [], Math: math });
  page.run(code);
  page.pass(100);
  const keyOf = (src: string) => new URL(src).searchParams.get('key');
  expect(page.polls.map(({ src }) => keyOf(src))).toEqual(['k0', 'k1', 'k2', 'k3']);
  for (const poll of [...page.polls]) page.answer({ code: 0, data: keyOf(poll.src), cursor: 'e-1' }, poll);
  expect(page.window.heard).toEqual(['k0', 'k1', 'k2', 'k3']);
});

test('in Chromium, all of them on one page: each hears', async () => {
  const made = Object.keys(BUNDLERS)
    .map(name => join(home, name.replace(' ', ''), 'app.js'))
    .filter(existsSync);
  const scripts = Object.fromEntries(made.map((file, i) => [`/${i}.js`, readFileSync(file, 'utf8')]));
  const tags = Object.keys(scripts).map(path => `<script src="${path}"></script>`);
  const url = await site(`<!doctype html><script>var heard = [];</script>${tags.join('')}`, {}, scripts);
  const browser = await launch();
  try {
    const page = await browser.newPage();
    await page.route('https://status.example.com/**', (route, request) => {
      const { callback, key, since } = Object.fromEntries(new URL(request.url()).searchParams);
      const answer = JSON.stringify({ code: 0, data: key, cursor: 'e-1' });
      if (since === '') route.fulfill({ contentType: 'text/javascript', body: `${callback}(${answer})` });
    });
    await page.goto(url);
    const heard = () => page.evaluate(() => (globalThis as unknown as { heard: string[] }).heard.toSorted());
    const wanted = ['k0', 'k1', 'k2', 'k3'].flatMap(key => made.map(() => key));
    await until(async () => (await heard()).length >= wanted.length);
    expect(await heard()).toEqual(wanted);
    expect(made.length).toBeGreaterThan(0);
  } finally {
    await browser.close();
  }
});
