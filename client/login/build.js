// Builds the login box, with the page's script in it, and the phone's script. Fails when one has grown over its limit.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { minify } from 'terser';
import { namesOf } from '../names.js';

const here = import.meta.dirname;
const out = join(here, '../../dist/client');
const read = name => readFileSync(join(here, `${name}.js`), 'utf8');
const settings = {
  ie8: true,
  safari10: true,
  ecma: 5,
  compress: { passes: 3, properties: false, unsafe: true, unsafe_math: true },
  format: { keep_quoted_props: true, ascii_only: true },
};

/**
 * Each: its parts, one after another in one function, in the order that gzip packs best; the letters of its names, for the same reason;
 * and its limit in bytes, minified and gzip -9.
 */
// cspell:disable
const SCRIPTS = {
  login: {
    parts: '../tagwait icons draw texts qr elements tag box look main',
    letters: 'teaosrfcuymilnhbpvMxEFRqBNCPwzkLSOWdAZDQXgGYj_JHUVKIT$',
    limit: 9216,
  },
  phone: {
    parts: 'phone-texts phone-look tag elements icons phone',
    letters: 'edioarncgsSvyLtpbflmuMhx$PAjwJT_QXRkzEWDIYFCZVqHKUBGNO',
    limit: 6912,
  },
};
// cspell:enable

mkdirSync(out, { recursive: true });
for (const [name, { parts, letters, limit }] of Object.entries(SCRIPTS)) {
  const source = `(function (window, document) {\n${parts.split(' ').map(read).join('\n')}\n})(window, document);`;
  const { code } = await minify(source, { ...settings, mangle: namesOf(letters) });
  writeFileSync(join(out, `${name}.js`), code);
  const size = gzipSync(code, { level: 9 }).length;
  console.log(`${name}: ${code.length} bytes minified, ${size} with gzip -9 (at most ${limit})`);
  if (size > limit) process.exitCode = 1;
}
