import { readFileSync } from 'node:fs';

/** @returns a mutant's name by its texts, not by its line: `EqualityOperator: a < b -> a <= b` */
export function mutantName({ location: { start, end }, replacement, mutatorName }, file) {
  const lines = readFileSync(file, 'utf8')
    .split('\n')
    .slice(start.line - 1, end.line);
  lines[lines.length - 1] = lines.at(-1).slice(0, end.column - 1);
  lines[0] = lines[0].slice(start.column - 1);
  const short = text => text.replace(/\s+/g, ' ').replace(/^(.{70}).+(.{20})$/, '$1 … $2');
  return `${mutatorName}: ${short(lines.join('\n'))} -> ${short(replacement)}`;
}
