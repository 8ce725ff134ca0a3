/** The threat table of SECURITY.md: each row names the test that shows it. */
import { readFileSync } from 'node:fs';

export interface Threat {
  attacker: string;
  way: string;
  stops: string;
  /** `file` › name, the name as it stands in the source */
  shown: string;
  file: string;
  name: string;
}

export function threats(): Threat[] {
  const text = readFileSync(new URL('../SECURITY.md', import.meta.url), 'utf8');
  const [, table = ''] = /^## Threats$(.*?)^## /ms.exec(text) ?? [];
  return [...table.matchAll(/^\| (.*) \|$/gm)].slice(2).map(([, row = '']) => {
    const [attacker = '', way = '', stops = '', shown = ''] = row.split(' | ').map(cell => cell.trim());
    const [, file = '', name = ''] = /^`(\w+)` › (.+)$/.exec(shown) ?? [];
    return { attacker, way, stops, shown, file, name };
  });
}

/** One test of a run: its name, after those of the groups that it is in. */
export interface Result {
  names: string[];
  state: 'passed' | 'failed' | 'skipped' | 'pending';
}

/** A name with %s, %d, %i, %j or $field stands for those of all its cases. */
function patternOf(name: string): RegExp {
  const escaped = name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`^${escaped.replace(/%[sdij]|\\\$\w+/g, '[^]*')}$`);
}

/**
 * The rows that no test shows, although the file that should was run: there is none of that name, or none that passed.
 * One that was skipped is no fault here: it is counted.
 * @param results by file, as `test/limits.test.ts`
 */
export function unproven(results: ReadonlyMap<string, readonly Result[]>, rows = threats()): string[] {
  return rows
    .filter(({ file, name }) => {
      const pattern = patternOf(name);
      const shows = results
        .get(`test/${file}.test.ts`)
        ?.filter(({ names }) => names.some(one => pattern.test(one)));
      return shows && !shows.some(({ state }) => state !== 'failed');
    })
    .map(({ shown }) => shown);
}
