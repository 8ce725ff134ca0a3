/** SECURITY.md: what it says is tested is tested, and what it says of limits is so. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { budget } from '../src/limits.js';

const read = (path: string) => readFileSync(fileURLToPath(new URL(`../${path}`, import.meta.url)), 'utf8');
const text = read('SECURITY.md');
const [, table = ''] = /^## Threats$(.*?)^## /ms.exec(text) ?? [];
const rows = [...table.matchAll(/^\| (.*) \|$/gm)]
  .slice(2)
  .map(([, row = '']) => row.split(' | ').map(cell => cell.trim()));

test.each(rows)('%s: %s: %s: %s', (who, way, stops, shown) => {
  for (const cell of [who, way, stops]) expect(cell).toMatch(/\S/);
  const [, file = '', name = ''] = /^`(\w+)` › (.+)$/.exec(shown ?? '') ?? [];
  expect(read(`test/${file}.test.ts`)).toContain(`'${name}'`);
});

test('the limits with 20,000 open files are those that are told', () => {
  const { connections, held } = budget(20_000, 2 ** 32);
  const [, told] = /With 20,000 open files: (.*)\.$/m.exec(text) ?? [];
  expect(told).toBe(`${connections.toLocaleString('en')} connections, ${held.toLocaleString('en')} held`);
});
