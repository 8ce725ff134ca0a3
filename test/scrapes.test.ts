/** /metrics of a worker whose primary answers, answers late, or does not. */
import { expect, onTestFinished, test, vi } from 'vitest';
import { Scrapes } from '../src/scrapes.js';

function scrapes() {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  onTestFinished(() => void vi.useRealTimers());
  const sources = { ask: vi.fn(), own: vi.fn(async () => 'own'), onSilent: vi.fn() };
  return { sources, scrapes: new Scrapes(sources) };
}

test('the sum that the primary sends, asked once for all that wait', async () => {
  const { sources, scrapes: metrics } = scrapes();
  const both = Promise.all([metrics.scrape(), metrics.scrape()]);
  metrics.onAnswer('sum');
  expect(await both).toEqual(['sum', 'sum']);
  expect(sources.ask).toHaveBeenCalledTimes(1);
  const next = metrics.scrape();
  metrics.onAnswer('next');
  expect(await next).toBe('next');
  expect(sources.ask).toHaveBeenCalledTimes(2);
  expect(vi.getTimerCount()).toBe(0);
  expect(sources.onSilent).not.toHaveBeenCalled();
});

test('without an answer for two seconds: the last sum, or its own; said once, and the primary is not asked again', async () => {
  const { sources, scrapes: metrics } = scrapes();
  const late = async () => {
    const text = metrics.scrape();
    await vi.advanceTimersByTimeAsync(1999);
    expect(vi.getTimerCount()).toBe(1);
    await vi.advanceTimersByTimeAsync(1);
    return text;
  };
  expect([await late(), await late()]).toEqual(['own', 'own']);
  expect([sources.ask, sources.onSilent].map(({ mock }) => mock.calls.length)).toEqual([1, 1]);
  metrics.onAnswer('sum');
  expect(await late()).toBe('sum');
  expect([sources.ask, sources.onSilent].map(({ mock }) => mock.calls.length)).toEqual([2, 2]);
});

test('a scrape that follows an answer at once does not take it for silence, nor the next answer for its own', async () => {
  const { sources, scrapes: metrics } = scrapes();
  const first = metrics.scrape();
  metrics.onAnswer('sum');
  const second = metrics.scrape();
  metrics.onAnswer('next');
  expect([await first, await second]).toEqual(['sum', 'next']);
  expect(sources.onSilent).not.toHaveBeenCalled();
});
