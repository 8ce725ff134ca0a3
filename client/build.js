// Builds the page's scripts: the minified files that the service hands out, and the modules for bundlers. One key or
// several (many.js). Fails when one has grown over its limit, so that the number in the README stays true.
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { minify } from 'terser';
import { namesOf } from './names.js';

const here = import.meta.dirname;
const out = join(here, '../dist/client');
const read = name => readFileSync(join(here, name), 'utf8');

const one = read('tagwait.js');
// its tag has another address
const [before, after, ...more] = one.split('\\/client(');
if (after === undefined || more.length > 0) throw new Error('client/tagwait.js: expected \\/client( once');
const several = `${before}\\/client\\/many(${after}\n${read('many.js')}`;

/** `limit`: bytes, minified and gzip -9 */
const SCRIPTS = [
  { script: 'tagwait', module: 'index', text: one, factory: 'create', limit: 2048 },
  { script: 'many', module: 'index-many', text: several, factory: 'createMany', limit: 3300 },
];

// In the syntax of 2009, since few bundlers translate what they take from node_modules. On a server, where there is no
// document, watching does nothing, and importing does nothing anywhere.
const lazy = ({ text, factory }) => `var made;
function watch(key, options) {
  if (typeof document === 'undefined') return away();
  if (!made) made = ${factory}(window, document);
  return made.watch(key, options);
}
function away() {
  var settle;
  return {
    ended: new Promise(function (resolve) {
      settle = resolve;
    }),
    stop: function () {
      settle('stopped');
    }
  };
}
${text}`;
// marked as a module that was compiled, because its types have a default export too
const common = `Object.defineProperty(exports, '__esModule', { value: true });
exports.watch = watch;
exports.default = { watch: watch };`;

const settings = {
  ie8: true,
  safari10: true,
  ecma: 5,
  // a['final'] stays: ES3 reserves the word. No `unsafe_comps`: it turns comparisons round, which is wrong for NaN, and
  // a page has that until its first poll.
  compress: {
    passes: 3,
    properties: false,
    unsafe: true,
    unsafe_math: true,
    collapse_vars: false,
    lhs_constants: false,
  },
  // cspell:disable-next-line
  mangle: namesOf('eatisndpryTmIDkcoCjl$KOEBNHwZhQLUxSAb_JRMgPGvfuqXWzYFV'),
  format: { keep_quoted_props: true },
};

/** The minified script for a tag. `var` too: a script host of Windows has a window that is not the global object. */
async function minified({ text, factory }) {
  const made =
    factory === 'create'
      ? `(${text})`
      : `(function (window, document, included) {${text}
return ${factory}(window, document, included); })`;
  const { code } = await minify(
    `var tagwait = (window.tagwait = ${made}(window, document, true));`,
    settings,
  );
  return code;
}

mkdirSync(out, { recursive: true });
const files = [];
for (const each of SCRIPTS) {
  const { script, module, limit } = each;
  const code = await minified(each);
  const written = {
    [`${script}.js`]: code,
    [`${module}.js`]: `${lazy(each)}\nexport { watch };\nexport default { watch: watch };\n`,
    [`${module}.cjs`]: `'use strict';\n${lazy(each)}\n${common}\n`,
    [`${module}.d.ts`]: read('tagwait.d.ts'),
    [`${module}.d.cts`]: read('tagwait.d.ts'),
  };
  for (const [name, content] of Object.entries(written)) writeFileSync(join(out, name), content);
  files.push(...Object.keys(written));
  const size = gzipSync(code, { level: 9 }).length;
  console.log(`${script}: ${code.length} bytes minified, ${size} with gzip -9 (at most ${limit})`);
  if (size > limit) process.exitCode = 1;
}
// The same as a package of its own, @tagwait/client, without what the server depends on. There `many` is a module, and
// old resolution would take many.js for it.
for (const name of files)
  copyFileSync(join(out, name), join(here, 'package', name === 'many.js' ? 'tagwait-many.js' : name));
copyFileSync(join(here, '../LICENSE'), join(here, 'package/LICENSE'));
