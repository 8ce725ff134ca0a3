/** Why a server of a Cluster failed, when ioredis says only what follows from it. */
import type { Cluster } from 'ioredis';
import { expect, onTestFinished, test, vi } from 'vitest';
import { forgetFailure, noteFailure, reasonOf } from '../../src/brokers/redis/failures.js';

const HANGS = "Socket timeout. Expecting data, but didn't receive any in 3500ms.";
const CONSEQUENCES = [
  'Connection is closed.',
  'timeout',
  'there is no connection',
  'MOVED 1584 b:1',
  'ASK 1 b:1',
];
const client = () => ({}) as Cluster;

test.each(CONSEQUENCES)(
  '"%s" after an error of the connection: the error is the reason, for 10 s',
  consequence => {
    vi.useFakeTimers();
    onTestFinished(() => void vi.useRealTimers());
    const one = client();
    expect(noteFailure(one, 'a:1', HANGS)).toBe(HANGS);
    vi.advanceTimersByTime(9000);
    expect(noteFailure(one, 'a:1', 'Connection is closed.')).toBe(HANGS);
    expect(reasonOf(one, 'a:1', consequence)).toBe(HANGS);
    expect(reasonOf(one, 'b:1', consequence), 'of another server').not.toBe(HANGS);
    expect(reasonOf(client(), 'a:1', consequence), 'of another Cluster').not.toBe(HANGS);
    vi.advanceTimersByTime(1000);
    expect(reasonOf(one, 'a:1', consequence)).not.toBe(HANGS);
  },
);

test('what is no consequence is its own reason, and the newest counts', () => {
  const one = client();
  noteFailure(one, 'a:1', HANGS);
  expect(reasonOf(one, 'a:1', 'OOM command not allowed')).toBe('OOM command not allowed');
  expect(noteFailure(one, 'a:1', 'connect ECONNREFUSED a:1')).toBe('connect ECONNREFUSED a:1');
  expect(reasonOf(one, 'a:1', 'timeout')).toBe('connect ECONNREFUSED a:1');
});

test('a server that has worked meanwhile fails for another reason', () => {
  const one = client();
  noteFailure(one, 'a:1', HANGS);
  noteFailure(one, 'b:1', HANGS);
  forgetFailure(one, 'a:1');
  expect(reasonOf(one, 'a:1', 'timeout')).toBe('timeout');
  expect(reasonOf(one, 'b:1', 'timeout')).toBe(HANGS);
});

test('a redirection whose reason is not known: there is no connection', () => {
  expect(reasonOf(client(), 'a:1', 'MOVED 1584 a:1')).toBe('there is no connection');
  expect(reasonOf(client(), 'a:1', 'timeout')).toBe('timeout');
});
