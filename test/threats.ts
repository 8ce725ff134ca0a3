/** The threat table of SECURITY.md, and the mitigations of docs/scan-login.md: each row names the test that shows it. */
import { readFileSync } from 'node:fs';

/** What a test shows. */
export interface Claim {
  page: string;
  /** `file` › name, the name as it stands in the source */
  shown: string;
  file: string;
  name: string;
}
export interface Threat extends Claim {
  attacker: string;
  way: string;
  stops: string;
}
/** A row that a line of a file shows instead has `line`, and its path in `file`. */
export interface Mitigation extends Claim {
  mitigation: string;
  here: string;
  line: string | undefined;
}

function claimOf(page: string, shown: string): Claim {
  const [, file = '', name = ''] = /^`([\w-]+)` › (.+)$/.exec(shown) ?? [];
  return { page, shown, file, name };
}

/** The cells of the table under a heading. */
function rowsOf(page: string, heading: string): string[][] {
  const text = readFileSync(new URL(`../${page}`, import.meta.url), 'utf8');
  const [, section = ''] = text.split(`\n## ${heading}\n`);
  const [table = ''] = section.split('\n## ');
  return [...table.matchAll(/^\| (.*) \|$/gm)]
    .slice(2)
    .map(([, row = '']) => row.split(' | ').map(cell => cell.trim()));
}

export const threats = (): Threat[] =>
  rowsOf('SECURITY.md', 'Threats').map(([attacker = '', way = '', stops = '', shown = '']) => ({
    ...claimOf('SECURITY.md', shown),
    attacker,
    way,
    stops,
  }));

export const mitigations = (): Mitigation[] =>
  rowsOf('docs/scan-login.md', 'What does the IETF recommend?').map(
    ([mitigation = '', here = '', shown = '']) => {
      const [, path, line] = /^`([\w./-]+)` has `(.+)`$/.exec(shown) ?? [];
      const claim = claimOf('docs/scan-login.md', shown);
      return { ...claim, file: path ?? claim.file, mitigation, here, line };
    },
  );

/** All rows that tests show. */
export const claims = (): Claim[] => [
  ...threats(),
  ...mitigations().filter(({ line }) => line === undefined),
];

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
export function unproven(results: ReadonlyMap<string, readonly Result[]>, rows = claims()): string[] {
  return rows
    .filter(({ file, name }) => {
      const pattern = patternOf(name);
      const shows = results
        .get(`test/${file}.test.ts`)
        ?.filter(({ names }) => names.some(one => pattern.test(one)));
      return shows && !shows.some(({ state }) => state !== 'failed');
    })
    .map(({ page, shown }) => `${page}: ${shown}`);
}
