/** What workers measured, added up, in milliseconds: the processes themselves are in workers.test.ts. */
import { expect, onTestFinished, test, vi } from 'vitest';
import { configOf } from '../src/config.js';
import { Metrics } from '../src/metrics.js';
import type { Measured } from '../src/samples.js';
import { Totals } from '../src/totals.js';
import { settingsOfWorker } from '../src/workers.js';

function metrics(held = 0): Metrics {
  return new Metrics({
    describe: () => ({ id: 'n', held, version: '0', uptime: 0 }),
    ready: () => true,
    counts: () => ({ watched: 0, leases: 0 }),
    store: () => ({ up: true, reconnects: 0 }),
    connections: () => 0,
    linesLost: () => 0,
  });
}

/** The sum of a metric's series. @param part of a histogram, as `_sum` */
const valueIn = (all: readonly Measured[], name: string, part = '') =>
  all
    .find(metric => metric.name === name)
    ?.values.filter(({ metricName = name }) => metricName === name + part)
    .reduce((sum, { value }) => sum + value, 0);

/** These workers, which answer when the test says so. */
function totalsOf(...workers: Metrics[]) {
  const asked: Metrics[] = [];
  const totals = new Totals<Metrics>(
    worker => asked.push(worker),
    () => [],
  );
  return {
    totals,
    /** Asks all, or these. @param hangs does not answer */
    async gather(these = workers, hangs?: Metrics): Promise<Measured[]> {
      const sum = totals.gather(these, 'all');
      for (const worker of asked.splice(0))
        if (worker !== hangs) totals.onMeasured(worker, await worker.all());
      return sum;
    },
  };
}

test('what workers count is added up; the counts of one that died stay, what it held does not', async () => {
  const [one, two] = [metrics(5), metrics(7)];
  for (let poll = 0; poll < 3; poll++) one.asked('json');
  two.asked('json');
  one.delivered(250);
  const { totals, gather } = totalsOf(one, two);
  const figures = (all: Measured[]) => [
    valueIn(all, 'tagwait_polls_total'),
    valueIn(all, 'tagwait_set_to_answer_seconds', '_sum'),
    valueIn(all, 'tagwait_set_to_answer_seconds', '_count'),
    valueIn(all, 'tagwait_held'),
  ];
  expect(figures(await gather())).toEqual([4, 0.25, 1, 12]);
  totals.delete(one);
  expect(figures(await gather([two]))).toEqual([4, 0.25, 1, 7]);
  two.asked('json');
  expect(figures(await gather([two]))).toEqual([5, 0.25, 1, 7]);
});

test('a worker that does not answer is waited for two seconds, and counts as it last did', async () => {
  const [one, two] = [metrics(5), metrics(7)];
  const { gather } = totalsOf(one, two);
  await gather();
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  onTestFinished(() => void vi.useRealTimers());
  const sum = gather([one, two], two);
  await vi.waitFor(() => vi.advanceTimersByTimeAsync(2000));
  expect(valueIn(await sum, 'tagwait_held')).toBe(12);
});

test('what one address may do is shared out among the workers, each limit of it', () => {
  const config = configOf({ workers: 4, maxHeldPerIp: 10, maxPollsPerIp: 100, redisUrl: 'redis://x' });
  expect(settingsOfWorker(config)).toEqual({ ...config, maxHeldPerIp: 3, maxPollsPerIp: 25 });
  const unlimited = configOf({ workers: 4, maxHeldPerIp: 0, maxPollsPerIp: 0, redisUrl: 'redis://x' });
  expect(settingsOfWorker(unlimited)).toEqual(unlimited);
});
