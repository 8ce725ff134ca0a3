/** The tests' own tools. */
import { expect, test } from 'vitest';
import { onFetchablePorts } from './harness.js';
import { HIGHEST_REFUSED } from './ports.js';

/** Why a request to a port of this machine fails. */
async function failure(port: number): Promise<string> {
  try {
    await fetch(`http://127.0.0.1:${port}/`);
    return 'answered';
  } catch (error) {
    const { cause, message } = error as Error;
    return cause instanceof Error ? cause.message : message;
  }
}

test('the highest port that fetch refuses is the one that is named', async () => {
  expect(await failure(HIGHEST_REFUSED)).toBe('bad port');
  for (const port of [1719, 2049, 6000, 6665, 6697]) expect(await failure(port)).toBe('bad port');
  for (const port of [HIGHEST_REFUSED + 1, 20_000, 65_535]) expect(await failure(port)).not.toBe('bad port');
});

test('what is given a port that fetch refuses is started again, and ended', async () => {
  const given = [
    [6000, 40_000],
    [40_001, 10_080],
    [40_002, 40_003],
  ];
  const ended: string[] = [];
  const started = await onFetchablePorts(
    async () => {
      const [one, other] = given.shift() as [number, number];
      return { publicUrl: `http://127.0.0.1:${one}`, internalUrl: `http://127.0.0.1:${other}` };
    },
    ({ publicUrl }) => ended.push(publicUrl),
  );
  expect(started.publicUrl).toBe('http://127.0.0.1:40002');
  // the last first: each keeps its ports until the next has others
  expect(ended).toEqual(['http://127.0.0.1:40001', 'http://127.0.0.1:6000']);
});
