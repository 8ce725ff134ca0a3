/**
 * Faults from a seed, and every promise checked. Short here; `npm run chaos` is the long one:
 * CHAOS_SEEDS (1,2,…), CHAOS_SECONDS for each, CHAOS_KINDS of Redis, in turn.
 */
import { writeSync } from 'node:fs';
import { afterAll, describe, expect, test } from 'vitest';
import { chaos, judge, type Report, table } from './chaos/run.js';
import { KINDS, type Kind } from './chaos/world.js';

const { CHAOS_SEEDS = '1,2,3,4', CHAOS_SECONDS = '6', CHAOS_KINDS = KINDS.join() } = process.env;
const seconds = Number(CHAOS_SECONDS);
const long = seconds > 30;
const kinds = CHAOS_KINDS.split(',') as Kind[];
const tell = (line: string) => long && writeSync(2, `${line}\n`);
const reports: Report[] = [];

describe('chaos', () => {
  test.each(CHAOS_SEEDS.split(',').map(Number))(
    'seed %i',
    async seed => {
      const kind = kinds[(seed - 1) % kinds.length] as Kind;
      const people = long ? { keys: 60, pagesPerKey: 4 } : { keys: 20, pagesPerKey: 3 };
      const report = await chaos({
        seed,
        seconds,
        kind,
        ...people,
        tell: line => tell(`seed ${seed}, ${kind}: ${line}`),
      });
      reports.push(report);
      expect(report.sets).toBeGreaterThan(10);
      expect(report).toMatchObject({ doubles: 0, outOfOrder: 0, lostUntold: 0, stranded: 0 });
    },
    (seconds + 180) * 1000,
  );
  afterAll(() => writeSync(2, `\n${table(reports)}\n`));
});

describe('the judge', () => {
  const stored = [1, 2, 3, 4].map(number => ({
    number,
    tried: number * 10,
    sent: number * 10,
    acknowledged: number * 10 + 5,
    tries: 1,
  }));
  const heard = (...numbers: number[]) => ({
    key: 'a',
    heard: numbers.map((number, index) => ({ number, at: 100 + index, lost: 0 })),
    answers: 0,
    ended: true,
  });
  const fine = { doubles: 0, outOfOrder: 0, lostUntold: 0, lostByRedis: 0 };

  test('sees doubles, disorder and losses, and tells whose they are', () => {
    expect(judge(heard(1, 2, 3, 4), stored, [])).toEqual(fine);
    expect(judge(heard(1, 2, 2, 3, 4), stored, [])).toEqual({ ...fine, doubles: 1 });
    expect(judge(heard(2, 1, 3, 4), stored, [])).toEqual({ ...fine, outOfOrder: 1, lostUntold: 1 });
    expect(judge(heard(1, 4), stored, [])).toEqual({ ...fine, lostUntold: 2 });
    expect(judge(heard(1, 4), stored, [{ from: 30, to: 40 }])).toEqual({ ...fine, lostByRedis: 2 });
    const told = heard(1, 4);
    Object.assign(told.heard[1] as object, { lost: 2 });
    expect(judge(told, stored, [])).toEqual(fine);
  });
});
