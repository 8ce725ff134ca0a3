// Writes all texts of the package into one module, dist/assets.js, so that a program that bundles tagwait needs no other
// file. Runs last, because it includes the built scripts.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const read = name => readFileSync(join(root, name), 'utf8');
const below = (folder, kind) =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter(name => kind.test(name))
    .map(name => `${folder}/${name}`);

const names = [...below('src', /\.(lua|html|css)$/), ...below('dist/client', /^(?!index\.)\w+\.js$/)];
const texts = Object.fromEntries(names.map(name => [name, read(name)]));
const { version } = JSON.parse(read('package.json'));
writeFileSync(
  join(root, 'dist/assets.js'),
  `const TEXTS = ${JSON.stringify(texts, null, 1)};
export const asset = path => TEXTS[path];
export const version = ${JSON.stringify(version)};
`,
);
