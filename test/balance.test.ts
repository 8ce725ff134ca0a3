/** Which workers accept connections, and which pause. */
import { describe, expect, test } from 'vitest';
import { Balance } from '../src/balance.js';

/** A balance of workers a, b and c, with the workers that pause and those that were asked. */
function balanced(workers = ['a', 'b', 'c']) {
  const paused = new Set<string>();
  const asked: string[] = [];
  const balance = new Balance<string>({
    pause: worker => paused.add(worker),
    resume: worker => paused.delete(worker),
    ask: worker => asked.push(worker),
  });
  for (const worker of workers) balance.add(worker);
  return { balance, paused, asked };
}

describe('which workers pause', () => {
  test('a worker that is ahead, until the last one has caught up', () => {
    const { balance, paused } = balanced();
    balance.onReport('a', 4);
    expect([...paused]).toEqual([]);
    balance.onReport('a', 1);
    expect([...paused]).toEqual(['a']);
    balance.onReport('b', 5);
    expect([...paused]).toEqual(['a', 'b']);
    balance.onReport('c', 2);
    expect([...paused]).toEqual(['a', 'b']);
    balance.onReport('c', 1);
    expect([...paused]).toEqual([]);
  });

  test('of many connections, one that is more than 2 % ahead', () => {
    const { balance, paused } = balanced();
    for (const worker of ['a', 'b', 'c']) balance.onReport(worker, 1000);
    balance.onReport('a', 24);
    expect([...paused]).toEqual([]);
    balance.onReport('a', 1);
    expect([...paused]).toEqual(['a']);
  });

  test('never the last one, and all share in what comes when another joins or dies', () => {
    const { balance, paused } = balanced();
    balance.onReport('a', 100);
    balance.onReport('b', 100);
    expect([...paused]).toEqual(['a', 'b']);
    balance.add('d');
    expect([...paused]).toEqual([]);
    balance.onReport('a', 100);
    balance.delete('b');
    expect([...paused]).toEqual([]);
  });

  test('nobody of one worker', () => {
    const { balance, paused } = balanced(['a']);
    balance.onReport('a', 1000);
    balance.check();
    expect([...paused]).toEqual([]);
  });
});

describe('the last one hangs', () => {
  test('nobody waits for it, from the second check on, until it is heard again', () => {
    const { balance, paused, asked } = balanced();
    balance.onReport('a', 10);
    balance.onReport('b', 10);
    balance.check();
    expect([[...paused], asked]).toEqual([['a', 'b'], ['c']]);
    balance.check();
    expect([...paused]).toEqual([]);
    balance.onReport('a', 10);
    expect([...paused]).toEqual(['a']);
    balance.onReport('b', 10);
    expect([...paused]).toEqual([]);
    balance.onReport('c', 0);
    expect([...paused]).toEqual(['a', 'b']);
  });

  test('one that answers goes on being waited for', () => {
    const { balance, paused, asked } = balanced(['a', 'b']);
    balance.onReport('a', 10);
    for (let time = 0; time < 3; time++) {
      balance.check();
      balance.onReport('b', 0);
    }
    expect([[...paused], asked]).toEqual([['a'], ['b', 'b', 'b']]);
  });

  test('without anyone that waits, none is asked', () => {
    const { balance, asked } = balanced();
    balance.check();
    expect(asked).toEqual([]);
  });
});
