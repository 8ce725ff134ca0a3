/**
 * The scan login under 10,000 interleavings of two pages, three phones, repeats, nodes that die in the middle of a call and
 * a store that fails, each drawn from a seed. LOGIN_RUNS and LOGIN_SEED search on.
 */
import { expect, onTestFinished, test } from 'vitest';
import { faultOf } from './login/checks.js';
import { play } from './login/world.js';

const RUNS = Number(process.env.LOGIN_RUNS ?? 10_000);
const SEED = Number(process.env.LOGIN_SEED ?? 1);

test(
  `${RUNS} interleavings from seed ${SEED}: every promise of a login holds in each`,
  async () => {
    const ends = new Map<string, number>();
    // errors are what is drawn here, and their stacks are half of its time
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    onTestFinished(() => {
      Error.stackTraceLimit = stackTraceLimit;
    });
    for (let seed = SEED; seed < SEED + RUNS; seed++) {
      const log = await play(seed);
      const fault = faultOf(log);
      expect(fault && `LOGIN_SEED=${seed}: ${fault}`).toBe(undefined);
      const end = log.calls.some(({ step, given }) => step === 'redeem' && given)
        ? 'redeemed'
        : (log.heard.at(-1)?.state ?? 'nothing');
      ends.set(end, (ends.get(end) ?? 0) + 1);
    }
    // a run that tries nothing shows nothing
    for (const end of ['redeemed', 'approved', 'denied', 'scanned'])
      expect(ends.get(end) ?? 0, end).toBeGreaterThan(RUNS / 100);
  },
  20_000 + RUNS * 20,
);
