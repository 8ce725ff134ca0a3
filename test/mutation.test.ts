/** `npm run mutate` takes too long for CI. Here: its tables name what is there. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { GROUPS, OUTSIDE } from './mutation/groups.js';

const mutated = Object.values(GROUPS).flatMap(group => group.files);
const left = Object.keys(OUTSIDE).map(place => `src/${place}`);

test('every file in a folder of src is mutated by one group, or is left out with a reason', () => {
  const files = readdirSync('src', { recursive: true, encoding: 'utf8' }).filter(file =>
    /\/.*\.ts$/.test(file),
  );
  const counted = files.map(file => {
    const path = `src/${file}`;
    const groups = mutated.filter(other => other === path).length;
    return {
      path,
      times: groups + left.filter(place => path === place || path.startsWith(`${place}/`)).length,
    };
  });
  expect(counted.filter(({ times }) => times !== 1)).toEqual([]);
});

test('every place that is left out, and every test of a group, is there', () => {
  const named = [...left, ...Object.values(GROUPS).flatMap(group => group.tests)];
  expect(named.filter(file => !existsSync(file))).toEqual([]);
});

test.each(['baseline', 'survivors'])('%s.json is about files that are mutated', name => {
  const known: object = JSON.parse(readFileSync(`test/mutation/${name}.json`, 'utf8'));
  expect(Object.keys(known).filter(file => !mutated.includes(file))).toEqual([]);
});
