/** The load of crowd.js: processes of pages.c, each with pages on many connections. */
import { execFileSync, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** The most pages of a process that may open 20,000 files. */
export const MOST = 19_000;

/** Compiles the program. @returns its path */
export function compilePages(folder) {
  const program = `${folder}/pages`;
  const source = fileURLToPath(new URL('pages.c', import.meta.url));
  execFileSync('cc', ['-O2', '-o', program, source], { stdio: ['ignore', 'ignore', 'inherit'] });
  return program;
}

/** @param open port of the pages @param internal port of the backends */
export function startPages(program, { number, count, open, internal }) {
  const child = spawn(program, [number, count, open, internal].map(String), {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const waiting = [];
  createInterface({ input: child.stdout }).on('line', line => waiting.shift()?.(JSON.parse(line)));
  const write = line => child.stdin.write(`${line}\n`);
  return {
    child,
    count,
    /** Connects until so many pages have come. */
    upto: pages => write(`upto ${pages}`),
    /** @returns what happened so far */
    ask: command =>
      new Promise(resolve => {
        waiting.push(resolve);
        write(command);
      }),
  };
}
