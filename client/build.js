// Builds the page's script: the minified file that the service hands out, and the modules for bundlers.
// Fails when it has grown over the limit, so that the number in the README stays true.
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { minify } from 'terser';

const LIMIT = 2048; // bytes, minified and gzip -9
const here = import.meta.dirname;
const out = join(here, '../dist/client');
const source = readFileSync(join(here, 'tagwait.js'), 'utf8');

// `var` too: a script host of Windows has a window that is not the global object.
const classic = `var tagwait = (window.tagwait = (${source})(window, document, true));`;

// In the syntax of 2009, since few bundlers translate what they take from node_modules. On a server, where there is no
// document, watching does nothing, and importing does nothing anywhere.
const lazy = `var made;
function watch(key, options) {
  if (typeof document === 'undefined') return away();
  if (!made) made = create(window, document);
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
${source}`;

const settings = {
  ie8: true,
  safari10: true,
  ecma: 5,
  // a['final'] stays: ES3 reserves the word
  compress: {
    passes: 3,
    properties: false,
    unsafe: true,
    unsafe_math: true,
    unsafe_comps: true,
    collapse_vars: false,
  },
  format: { keep_quoted_props: true },
};

mkdirSync(out, { recursive: true });
const { code } = await minify(classic, settings);
writeFileSync(join(out, 'tagwait.js'), code);
writeFileSync(join(out, 'index.js'), `${lazy}\nexport { watch };\nexport default { watch: watch };\n`);
// marked as a module that was compiled, because its types have a default export too
const common = `Object.defineProperty(exports, '__esModule', { value: true });
exports.watch = watch;
exports.default = { watch: watch };`;
writeFileSync(join(out, 'index.cjs'), `'use strict';\n${lazy}\n${common}\n`);
copyFileSync(join(here, 'tagwait.d.ts'), join(out, 'index.d.ts'));
copyFileSync(join(here, 'tagwait.d.ts'), join(out, 'index.d.cts'));
// the same as a package of its own, @tagwait/client, without what the server depends on
for (const name of ['tagwait.js', 'index.js', 'index.cjs', 'index.d.ts', 'index.d.cts'])
  copyFileSync(join(out, name), join(here, 'package', name));
copyFileSync(join(here, '../LICENSE'), join(here, 'package/LICENSE'));

const size = gzipSync(code, { level: 9 }).length;
console.log(`client: ${code.length} bytes minified, ${size} with gzip -9 (at most ${LIMIT})`);
if (size > LIMIT) process.exitCode = 1;
