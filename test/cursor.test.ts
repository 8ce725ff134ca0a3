/** Cursors: what one says that its page has seen, and what becomes of it. */
import { expect, test } from 'vitest';
import { advance, CURSOR, hasSeen, isAt, newEpoch, offsetIn, POSITION } from '../src/protocol/cursor.js';

test.each([
  ['nothing', '', '', ''],
  ['the first entry', '', 'e1-1', 'e1-1'],
  ['nothing new', 'e1-12', 'e1-12', 'e1-12'],
  ['the next of its epoch', 'e1-12', 'e1-13', 'e1-13'],
  ['the first of another epoch', 'e1-12', 'e2-7', 'e2-7.e1-12'],
  ['a third epoch', 'e2-7.e1-12', 'e3-1', 'e3-1.e2-7.e1-12'],
  ['the store falls back', 'e2-7.e1-12', 'e1-12', 'e1-12.e2-7'],
  ['the store falls back within an epoch', 'e1-12', 'e1-10', 'e1-10.e1-12'],
  ['and catches up', 'e1-10.e1-12', 'e1-11', 'e1-11.e1-12'],
  ['and passes it', 'e1-11.e1-12', 'e1-13', 'e1-13'],
  ['the store is empty', 'e1-12', '', '.e1-12'],
  ['a cursor of a broken page', 'e1.x-.-3.e1-1x', 'e1-2', 'e1-2'],
])('%s: from %j to %j is %j', (_, since, position, cursor) => {
  expect(advance(since, position)).toBe(cursor);
  expect(cursor).toMatch(CURSOR);
  expect(isAt(cursor, position)).toBe(true);
});

test.each([
  ['', 'e1-1', false],
  ['e1-12', 'e1-11', true],
  ['e1-12', 'e1-12', true],
  ['e1-12', 'e1-13', false],
  ['e1-9', 'e1-10', false],
  ['e1-12', 'e2-1', false],
  ['e11-12', 'e1-1', false],
  ['e2-7.e1-12', 'e1-12', true],
  ['e1-10.e1-12', 'e1-12', true],
  ['e1-12x', 'e1-1', false],
])('a page at %j has seen %j: %s', (since, position, seen) => {
  expect(hasSeen(since, position)).toBe(seen);
});

test.each([
  ['e1', '', 0],
  ['e1', 'e1-12', 12],
  ['e2', 'e1-12', 0],
  ['e1', 'e2-7.e1-12', 12],
  ['e1', 'e1-10.e1-12', 10],
  ['e', 'e1-12', 0],
])('the offset in %j of %j is %d', (epoch, cursor, offset) => {
  expect(offsetIn(epoch, cursor)).toBe(offset);
});

test('a page is at a position only with the whole of it', () => {
  expect(isAt('e1-12', 'e1-1')).toBe(false);
  expect(isAt('e2-7.e1-12', 'e1-12')).toBe(false);
});

test.each(['e1-1', '.', '', 'x'.repeat(64)])('%j may be a cursor', given => expect(given).toMatch(CURSOR));
test.each(['e1 1', 'e1-1\n', 'é', 'x'.repeat(65)])('%j is none', given => expect(given).not.toMatch(CURSOR));

test('epochs are random, and make positions', () => {
  const epochs = Array.from({ length: 1000 }, newEpoch);
  expect(new Set(epochs).size).toBe(1000);
  for (const epoch of epochs) expect(`${epoch}-1`).toMatch(POSITION);
});

test('a cursor has 64 characters at most, and loses its oldest positions first', () => {
  const position = (letter: string, length: number) => {
    const digits = Math.min(15, length - 2);
    return `${letter.repeat(length - 1 - digits)}-${'1'.repeat(digits)}`;
  };
  const faults: string[] = [];
  for (let first = 3; first <= 30; first++)
    for (let second = 3; second <= 30; second++)
      for (let third = 3; third <= 30; third++) {
        const all = [position('z', third), position('y', second), position('x', first)];
        const [newest = '', before = '', oldest = ''] = all;
        const cursor = advance(advance(oldest, before), newest);
        const parts = cursor.split('.');
        const kept = all.filter(one => parts.includes(one)).join('.') === cursor && isAt(cursor, newest);
        const whole = all.join('.').length > 64 || parts.length === 3;
        if (!CURSOR.test(cursor) || !kept || !whole) faults.push(cursor);
      }
  expect(faults).toEqual([]);
});
