/**
 * Which test files `npm run test:quick` runs: those that start no process and no browser, as their imports say. So a new
 * file is in it by itself, until it imports a helper that starts something.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What starts processes and browsers. */
const STARTERS = ['node:child_process', 'playwright-core'];
const BUILT = `${resolve(fileURLToPath(new URL('../dist', import.meta.url)))}/`;

interface Import {
  /** what is imported by name; undefined: all of it */
  names: string[] | undefined;
  from: string;
  /** it is passed on, and not used here */
  passedOn: boolean;
}

/** What a file imports for its code; types are left out. */
function importsOf(text: string): Import[] {
  const found: Import[] = [];
  for (const [, verb, clause = '', from = ''] of text.matchAll(
    /^(import|export)\s(?!type\s)(?:([^;'"]*?)\sfrom\s)?\s*'([^']+)'/gm,
  )) {
    const list = /^\{(.*)\}$/s.exec(clause.trim())?.[1];
    const names = list?.split(',').map(name => name.trim());
    found.push({
      names: names
        ?.filter(name => name && !name.startsWith('type '))
        .map(name => name.split(' ')[0] as string),
      from,
      passedOn: verb === 'export',
    });
  }
  for (const [, from = ''] of text.matchAll(/\bimport\('([^']+)'\)/g))
    found.push({ names: undefined, from, passedOn: false });
  return found;
}

/**
 * Why a file may start something: the files from it to what does, or to the built command.
 * @param names that are used of it; undefined: all. What it passes on counts only where it is used.
 * @returns undefined: it starts nothing
 */
export function whyNotQuick(file: string, names?: string[], seen = new Set<string>()): string[] | undefined {
  for (const found of importsOf(readFileSync(file, 'utf8'))) {
    if (found.passedOn && names && found.names && !found.names.some(name => names.includes(name))) continue;
    if (found.names?.length === 0) continue;
    if (STARTERS.includes(found.from)) return [file, found.from];
    if (!found.from.startsWith('.')) continue;
    const path = resolve(dirname(file), found.from);
    const source = path.replace(/\.js$/, '.ts');
    const next = existsSync(source) ? source : path;
    if (next.startsWith(BUILT)) return [file, next];
    const used = found.passedOn ? found.names?.filter(name => names?.includes(name) ?? true) : found.names;
    // another import of the same file may use other names
    const marked = `${next} ${used ?? '*'}`;
    if (seen.has(marked)) continue;
    seen.add(marked);
    const why = whyNotQuick(next, used, seen);
    if (why) return [file, ...why];
  }
  return undefined;
}

const root = fileURLToPath(new URL('..', import.meta.url));

/** @returns the paths of the files, from the repository's root */
export const quickFiles = (): string[] =>
  readdirSync(resolve(root, 'test'), { recursive: true, encoding: 'utf8' })
    .map(file => `test/${file}`)
    .filter(file => file.endsWith('.test.ts') && !whyNotQuick(resolve(root, file)));
