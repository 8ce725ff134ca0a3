/** The list of waiters and the ticks at which their holds end, alone: no store, no request. */
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import type { Entry } from '../src/brokers/broker.js';
import { Hub, type Responder, type Waiter, waitersOf } from '../src/hold/hub.js';
import { HoldTimers, type Timed } from '../src/hold/timers.js';

const responder = (): Responder => ({ answer: () => {} });
const entry = (cursor: string, prev: string, final = false): Entry => ({ value: '1', cursor, prev, final });

describe('the hub', () => {
  test('a waiter is parked under its key, first in the list, and asks', () => {
    const hub = new Hub();
    const mine = responder();
    const waiter = hub.park('k', 'e-1', mine);
    expect(waiter).toMatchObject({
      since: 'e-1',
      state: 'asking',
      responder: mine,
      next: undefined,
      previous: undefined,
    });
    expect(waiter).toMatchObject({ tick: undefined, prevTimer: undefined, nextTimer: undefined });
    const { watch } = waiter;
    expect(watch).toMatchObject({
      key: 'k',
      held: 1,
      position: undefined,
      final: false,
      leaseExpiresAt: 0,
      generation: 0,
    });
    expect(watch.lastAnsweredAt).toBe(Number.NEGATIVE_INFINITY);
    expect(hub.find('k')).toBe(watch);
    expect(hub.find('other')).toBeUndefined();
    const second = hub.park('k', '', responder());
    expect(second.watch).toBe(watch);
    expect(waitersOf(watch)).toEqual([second, waiter]);
    expect([...hub.watches()]).toEqual([watch]);
    hub.delete(watch);
    expect(hub.find('k')).toBeUndefined();
  });

  test('whatever comes and leaves in whatever order: the counts and the lists are those of a plain array', () => {
    const step = fc.record({ key: fc.constantFrom('a', 'b'), leaves: fc.option(fc.nat(9)) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), steps => {
        const hub = new Hub();
        const model: Waiter[] = [];
        for (const { key, leaves } of steps) {
          if (leaves === null) model.unshift(hub.park(key, '', responder()));
          else {
            const [gone] = model.splice(leaves % Math.max(model.length, 1), 1);
            if (!gone) continue;
            expect(hub.leave(gone)).toBe(true);
            expect(hub.leave(gone), 'twice').toBe(false);
            expect([gone.responder, gone.next, gone.previous]).toEqual([undefined, undefined, undefined]);
          }
          expect(hub.held).toBe(model.length);
          for (const name of ['a', 'b']) {
            const mine = model.filter(waiter => waiter.watch.key === name);
            expect(hub.heldFor(name)).toBe(mine.length);
            const watch = hub.find(name);
            expect(watch ? waitersOf(watch) : []).toEqual(mine);
            mine.forEach((waiter, at) => {
              expect(waiter.previous === mine[at - 1] && waiter.next === mine[at + 1]).toBe(true);
            });
          }
        }
      }),
    );
  });

  test('those that are caught up are counted; the oldest that is alike is found, among so many of the newest', () => {
    const hub = new Hub();
    expect(hub.caughtUpFor('k')).toBe(0);
    expect(hub.oldest('k', () => true)).toBeUndefined();
    expect(hub.heldFor('k')).toBe(0);
    const waiters = Array.from({ length: 1025 }, () => hub.park('k', '', responder()));
    for (const waiter of waiters.slice(0, 3)) waiter.state = 'caughtUp';
    (waiters[3] as Waiter).state = 'unconfirmed';
    expect(hub.caughtUpFor('k')).toBe(3);
    expect(hub.oldest('k', () => true)).toBe(waiters[1]);
    const alike = waiters[7]?.responder;
    expect(hub.oldest('k', one => one === alike)).toBe(waiters[7]);
    expect(hub.oldest('k', () => false)).toBeUndefined();
    hub.leave(waiters[1] as Waiter);
    expect(hub.oldest('k', () => true)).toBe(waiters[0]);
  });

  test('an entry is known, next, or late; the position is only known while each follows directly', () => {
    const hub = new Hub();
    const { watch } = hub.park('k', '', responder());
    watch.position = 'e-1';
    expect(hub.receive(watch, entry('e-1', 'e-0'))).toBe('known');
    expect(watch).toMatchObject({ position: 'e-1', generation: 1 });
    expect(hub.receive(watch, entry('e-2', 'e-1'))).toBe('next');
    expect(watch).toMatchObject({ position: 'e-2', final: false, generation: 2 });
    expect(hub.receive(watch, entry('e-3', 'e-2', true))).toBe('next');
    expect(watch).toMatchObject({ position: 'e-3', final: true });
    expect(hub.receive(watch, entry('e-9', 'e-8', true))).toBe('gap');
    expect(watch).toMatchObject({ position: undefined, final: false, generation: 4 });
    Object.assign(watch, { position: 'e-9', leaseExpiresAt: 5 });
    hub.distrust(watch);
    expect(watch).toMatchObject({ position: undefined, leaseExpiresAt: 0, generation: 5 });
  });
});

describe('the ends of holds', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }));
  afterEach(() => void vi.useRealTimers());
  interface Item extends Timed<Item> {
    name: string;
  }
  const item = (name: string): Item => ({
    name,
    tick: undefined,
    prevTimer: undefined,
    nextTimer: undefined,
  });

  test('whatever is added and removed: each item ends once, within two ticks of its hold, and no removed one does', () => {
    const step = fc.record({
      hold: fc.integer({ min: 1, max: 60 }),
      remove: fc.option(fc.nat(9)),
      wait: fc.nat(15),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 25 }), steps => {
        const ended: Item[] = [];
        const due = new Map<Item, number>();
        const timers = new HoldTimers<Item>(one => {
          const late = performance.now() - (due.get(one) ?? Number.NaN);
          expect(late).toBeGreaterThanOrEqual(0);
          expect(late).toBeLessThanOrEqual(20);
          ended.push(one);
        });
        for (const { hold, remove, wait } of steps) {
          const one = item(String(due.size));
          const gone = remove === null ? undefined : [...due.keys()][remove];
          timers.add(one, hold, 1);
          due.set(one, performance.now() + hold);
          if (gone && !ended.includes(gone)) {
            timers.remove(gone);
            timers.remove(gone);
            due.delete(gone);
            expect([gone.tick, gone.prevTimer, gone.nextTimer]).toEqual([undefined, undefined, undefined]);
          }
          vi.advanceTimersByTime(wait);
        }
        vi.advanceTimersByTime(100);
        expect(new Set(ended).size).toBe(ended.length);
        expect([...due.keys()].filter(one => !ended.includes(one))).toEqual([]);
        expect(vi.getTimerCount()).toBe(0);
      }),
    );
  });

  test('those that end in one tick share a timer, which goes with the last of them', () => {
    const timers = new HoldTimers<Item>(() => {});
    const items = ['a', 'b', 'c'].map(item);
    for (const one of items) timers.add(one, 1000, 3);
    expect(vi.getTimerCount()).toBe(1);
    for (const [left, one] of items.entries()) {
      timers.remove(one);
      expect(vi.getTimerCount()).toBe(left < 2 ? 1 : 0);
    }
  });

  test('a second takes 100 and 1.25 times the average; the rest end in the last fifth, in steps of 100 ms', () => {
    const timers = new HoldTimers<Item>(() => {});
    const lengths = Array.from({ length: 500 }, () => timers.lengthOf(10_000, 400, 1000));
    // 100 + 1.25 × 400 / 10
    expect(lengths.slice(0, 150).every(length => length === 10_000)).toBe(true);
    const rest = lengths.slice(150);
    expect(rest.every(length => length <= 10_000 && length > 8000 && length % 100 === 0)).toBe(true);
    expect(new Set(rest).size).toBeGreaterThan(10);
    expect(timers.lengthOf(10_000, 400, 2000), 'another second').toBe(10_000);
    expect(timers.lengthOf(10_000, 400, 513_000), 'the same slot, later').toBe(10_000);
    const short = Array.from({ length: 200 }, () => timers.lengthOf(800, 40, 700_000));
    // a hold of less than a second counts as one of a second: 100 + 1.25 × 40
    expect(short.slice(0, 150).every(length => length === 800)).toBe(true);
    expect(short.slice(150).some(length => length === 700)).toBe(true);
  });

  test('those that end earlier count in the second in which they do', () => {
    vi.spyOn(Math, 'random').mockReturnValue(0.999);
    onTestFinished(() => void vi.restoreAllMocks());
    const timers = new HoldTimers<Item>(() => {});
    const lengths = Array.from({ length: 200 }, () => timers.lengthOf(10_000, 0, 10_000));
    expect([lengths[99], lengths[100], lengths[199]]).toEqual([10_000, 8100, 8100]);
    expect(timers.lengthOf(8100, 0, 10_000), 'the 101st of the second at 18 s').toBe(6500);
  });
});
