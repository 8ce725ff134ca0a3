/** How much is in flight from one server: what replies in time and late replies change. */
import { expect, onTestFinished, test, vi } from 'vitest';
import { Window } from '../../src/brokers/redis/window.js';

const KB = 1024;

function timed() {
  vi.useFakeTimers({ toFake: ['setTimeout', 'performance'] });
  onTestFinished(() => void vi.useRealTimers());
  const window = new Window();
  const limits: number[] = [];
  /** Sends a command that is answered after so many ms. */
  const send = (ms: number, failed = false) =>
    window
      .run(limit => {
        limits.push(limit / KB);
        return new Promise<void>((resolve, reject) => setTimeout(failed ? reject : resolve, ms));
      })
      .catch(() => {});
  return { window, limits, send, pass: (ms: number) => vi.advanceTimersByTimeAsync(ms) };
}

test('16 commands of 256 KiB are in flight', async () => {
  const { window, limits, send, pass } = timed();
  for (let count = 0; count < 16; count++) {
    expect(window.open).toBe(true);
    void send(10 + count);
  }
  expect(window.open).toBe(false);
  expect(new Set(limits)).toEqual(new Set([256]));
  await pass(10);
  expect(window.open).toBe(true);
  void send(10);
  expect(window.open).toBe(false);
});

test.each([
  ['answered', false],
  ['fails', true],
])(
  'each command that %s after more than a second halves the window, down to one of 16 KiB',
  async (_, failed) => {
    const { window, limits, send, pass } = timed();
    for (let count = 0; count < 6; count++) {
      void send(1001, failed);
      await pass(1001);
    }
    expect(limits).toEqual([256, 128, 64, 32, 16, 16]);
    void send(10);
    expect(window.open).toBe(false);
  },
);

test('each that is settled within a second opens it by one, up to 16', async () => {
  const { limits, send, pass } = timed();
  void send(5000);
  await pass(5000);
  for (let count = 0; count < 10; count++) {
    void send(1000, count % 2 === 0);
    await pass(1000);
  }
  expect(limits).toEqual([256, 128, 144, 160, 176, 192, 208, 224, 240, 256, 256]);
});
