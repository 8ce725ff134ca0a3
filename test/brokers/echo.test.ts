/** How long a heartbeat is waited for that was answered and has not come back as a message. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Echo } from '../../src/brokers/redis/echo.js';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function world() {
  let [pong, breaks] = [(_: string) => {}, (_: Error) => {}];
  const answer = new Promise((resolve, reject) => {
    [pong, breaks] = [resolve, reject];
  });
  const arrivals = { arrived: 0, ping: vi.fn(() => answer) };
  const events = { late: vi.fn(), lost: vi.fn() };
  const echo = new Echo(arrivals, events);
  /** so many seconds pass, and something arrives in each half of one */
  const receive = async (seconds: number) => {
    for (let half = 0; half < 2 * seconds; half++) {
      await vi.advanceTimersByTimeAsync(499);
      arrivals.arrived++;
      await vi.advanceTimersByTimeAsync(1);
    }
  };
  const seen = () => [
    events.late.mock.calls.length,
    arrivals.ping.mock.calls.length,
    events.lost.mock.calls.length,
  ];
  return { arrivals, echo, receive, seen, pong, breaks };
}

test('nothing arrives for 1.5 s: it is lost, and nothing is asked', async () => {
  const { seen } = world();
  await vi.advanceTimersByTimeAsync(1499);
  expect(seen()).toEqual([0, 0, 0]);
  await vi.advanceTimersByTimeAsync(1);
  expect(seen()).toEqual([0, 0, 1]);
  await vi.advanceTimersByTimeAsync(120_000);
  expect([seen(), vi.getTimerCount()]).toEqual([[0, 0, 1], 0]);
});

test('bytes arrive: it is late and not lost, until nothing arrives for 1.5 s', async () => {
  const { receive, seen } = world();
  await receive(1.5);
  expect(seen()).toEqual([1, 1, 0]);
  await receive(30);
  expect(seen()).toEqual([1, 1, 0]);
  await vi.advanceTimersByTimeAsync(1499);
  expect(seen()).toEqual([1, 1, 0]);
  await vi.advanceTimersByTimeAsync(1);
  expect(seen()).toEqual([1, 1, 1]);
});

test('the PONG arrives first: it is lost, though bytes arrive', async () => {
  const { receive, seen, pong } = world();
  await receive(3);
  pong('PONG');
  await vi.advanceTimersByTimeAsync(0);
  expect([seen(), vi.getTimerCount()]).toEqual([[1, 1, 1], 0]);
});

test('it comes back before the PONG: it is not lost', async () => {
  const { echo, receive, seen, pong } = world();
  await receive(3);
  echo.clear();
  pong('PONG');
  await vi.advanceTimersByTimeAsync(120_000);
  expect([seen(), vi.getTimerCount()]).toEqual([[1, 1, 0], 0]);
});

test('the PONG does not arrive, and bytes do: it is lost when it is a minute late', async () => {
  const { receive, seen } = world();
  await receive(60);
  expect(seen()).toEqual([1, 1, 0]);
  await receive(1.5);
  expect(seen()).toEqual([1, 1, 1]);
});

test('the connection breaks while it is late: whether it is lost is not known', async () => {
  const { receive, seen, breaks } = world();
  await receive(1.5);
  breaks(new Error('Connection is closed.'));
  await receive(1);
  expect(seen()).toEqual([1, 1, 0]);
});
