/**
 * Injects faults drawn from a seed, and checks every promise. Short; `npm run chaos` runs longer:
 * CHAOS_SEEDS (1,2,…), CHAOS_SECONDS for each, CHAOS_KINDS of Redis, in turn, CHAOS_ONLY (a pattern of faults' names).
 */
import { writeSync } from 'node:fs';
import { afterAll, describe, expect, test } from 'vitest';
import {
  isBehind,
  isUnproved,
  isUnwatched,
  isWrongTimeout,
  notReady,
  steadyAfter,
} from './chaos/invariants.js';
import { judge } from './chaos/judge.js';
import type { Page, Poll } from './chaos/page.js';
import { type Report, tables } from './chaos/report.js';
import { chaos } from './chaos/run.js';
import { KINDS, type Kind } from './chaos/world.js';

const { CHAOS_SEEDS = '1,2,3,4', CHAOS_SECONDS = '4', CHAOS_KINDS = KINDS.join(), CHAOS_ONLY } = process.env;
const seconds = Number(CHAOS_SECONDS);
const long = seconds > 30;
const kinds = CHAOS_KINDS.split(',') as Kind[];
const reports: Report[] = [];

describe('chaos', () => {
  test.each(CHAOS_SEEDS.split(',').map(Number))(
    'seed %i',
    async seed => {
      const kind = kinds[(seed - 1) % kinds.length] as Kind;
      const report = await chaos({
        seed,
        seconds,
        kind,
        ...(long ? { keys: 36, pagesPerKey: 4 } : { keys: 12, pagesPerKey: 4 }),
        long,
        ...(CHAOS_ONLY ? { only: new RegExp(CHAOS_ONLY) } : {}),
        print: (text, important) => (long || important) && writeSync(2, `${text}\n`),
      });
      reports.push(report);
      expect(report.sets).toBeGreaterThan(10);
      expect(report).toMatchObject({
        doubles: 0,
        outOfOrder: 0,
        lostUnreported: 0,
        stranded: 0,
        violations: [],
      });
    },
    (seconds + 240) * 1000,
  );
  afterAll(() => writeSync(2, `\n${tables(reports)}\n`));
});

describe('what a page heard', () => {
  const stored = [1, 2, 3, 4].map(number => ({
    number,
    tried: number * 10,
    sent: number * 10,
    acknowledged: number * 10 + 5,
    tries: 1,
  }));
  const heard = (...numbers: number[]) =>
    numbers.map((number, index) => ({ number, at: 100 + index, lost: 0 }));
  const fine = { doubles: 0, outOfOrder: 0, lostUnreported: 0, lostByRedis: 0 };

  test('doubles, disorder and losses are counted, and losses by Redis apart', () => {
    expect(judge(heard(1, 2, 3, 4), stored, [])).toEqual(fine);
    expect(judge(heard(1, 2, 2, 3, 4), stored, [])).toEqual({ ...fine, doubles: 1 });
    expect(judge(heard(2, 1, 3, 4), stored, [])).toEqual({ ...fine, outOfOrder: 1, lostUnreported: 1 });
    expect(judge(heard(1, 4), stored, [])).toEqual({ ...fine, lostUnreported: 2 });
    expect(judge(heard(1, 4), stored, [{ from: 30, to: 40 }])).toEqual({ ...fine, lostByRedis: 2 });
    const reported = heard(1, 4);
    Object.assign(reported[1] as object, { lost: 2 });
    expect(judge(reported, stored, [])).toEqual(fine);
  });
});

describe('the rules that hold at every moment', () => {
  const NEVER = Number.NEGATIVE_INFINITY;
  const AWAY = Number.POSITIVE_INFINITY;
  const pageOf = (health: { reachableSince: number; missedAt: number }, more: object = {}) => {
    const node = { health, since: 0 };
    const poll = { node, at: 50_000, seen: 1, hold: 25_000 };
    return { number: 1, steadySince: 0, ended: false, poll, ...more } as unknown as Page & { poll: Poll };
  };
  const quiet = { reachableSince: 0, missedAt: NEVER };
  const value = (number: number, at: number, watched = true) => ({
    number,
    tried: at,
    sent: at,
    acknowledged: at,
    tries: 1,
    watched,
  });
  const stored = [value(1, 1000), value(2, 40_000)];
  const facts = { now: 59_000, stored, lostUntil: NEVER, late: 0 };

  test('a page is behind 15 s after a value was acknowledged, and the margin', () => {
    expect(isBehind(pageOf(quiet), facts)).toBe(true);
    expect(isBehind(pageOf(quiet), { ...facts, now: 57_000 })).toBe(false);
    expect(isBehind(pageOf(quiet, { number: 2 }), facts)).toBe(false);
    expect(isBehind(pageOf(quiet, { steadySince: 50_000 }), facts)).toBe(false);
    expect(isBehind(pageOf({ ...quiet, reachableSince: 50_000 }), facts)).toBe(false);
    expect(isBehind(pageOf({ ...quiet, reachableSince: AWAY }), facts)).toBe(false);
    expect(isBehind(pageOf(quiet), { ...facts, lostUntil: 45_000 })).toBe(false);
    expect(isBehind(pageOf(quiet), { ...facts, late: 2000 })).toBe(false);
  });

  test('-1 is wrong while a value is acknowledged and known', () => {
    expect(isWrongTimeout(pageOf(quiet).poll, facts)).toBe(true);
    expect(isWrongTimeout({ ...pageOf(quiet).poll, seen: 2 }, facts)).toBe(false);
    expect(isWrongTimeout({ ...pageOf(quiet).poll, at: 39_000 }, facts)).toBe(false);
    expect(isWrongTimeout(pageOf({ ...quiet, missedAt: 30_000 }).poll, facts)).toBe(false);
    expect(isWrongTimeout(pageOf({ ...quiet, reachableSince: 51_000 }).poll, facts)).toBe(false);
  });

  test('a set finds a page that is held', () => {
    const set = value(3, 55_000, false);
    expect(isUnwatched(pageOf(quiet), set, facts)).toBe(true);
    expect(isUnwatched(pageOf(quiet), { ...set, watched: true }, facts)).toBe(false);
    expect(isUnwatched(pageOf(quiet), { ...set, sent: 51_000 }, facts)).toBe(false);
    expect(isUnwatched(pageOf({ ...quiet, missedAt: 40_000 }), set, facts)).toBe(false);
  });

  test('`received` needs a page that asked again after it had the value', () => {
    const heard = [1, 2].map(number => ({ number, at: 0, lost: 0 }));
    expect(isUnproved([{ heard, proved: 1 }], { number: 2, received: true })).toBe(true);
    expect(isUnproved([{ heard, proved: 2 }], { number: 2, received: true })).toBe(false);
    expect(isUnproved([], { number: 2, received: false })).toBe(false);
    expect(
      isUnproved(
        [
          { heard: [], proved: 0 },
          { heard, proved: 2 },
        ],
        { number: 3, received: true },
      ),
    ).toBe(true);
  });

  test('a node is ready 10 s after its Redis can be reached', () => {
    const { poll } = pageOf({ ...quiet, reachableSince: 40_000 });
    expect(notReady(poll.node, 54_000, 0)).toBe(true);
    expect(notReady(poll.node, 52_000, 0)).toBe(false);
  });

  test('a page that hears -7 for longer counts as behind', () => {
    const unavailable = { code: -7, message: 'unavailable' };
    const page = pageOf({ ...quiet, reachableSince: 55_000 });
    expect(steadyAfter(page, page.poll, 'answered', unavailable, 59_000)).toBe(59_000);
    expect(steadyAfter(page, page.poll, 'answered', unavailable, 70_000)).toBe(55_000);
    expect(steadyAfter(page, page.poll, 'failed', undefined, 70_000)).toBe(70_000);
  });
});
