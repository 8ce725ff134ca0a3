/**
 * The deterministic run: hold, hub and Redis broker over Redis in memory, under schedules drawn from seeds, in virtual
 * time. `npm run twin` searches longer: TWIN_RUNS, and TWIN_SEED to begin with.
 */
import { expect, test } from 'vitest';
import { receipts, search } from './twin/search.js';

const RUNS = Number(process.env.TWIN_RUNS ?? 500);
const SEED = Number(process.env.TWIN_SEED ?? 1);

test(
  `${RUNS} schedules from seed ${SEED}: every promise holds in each`,
  async () => {
    const started = process.hrtime.bigint();
    const found = await search(SEED, RUNS);
    const seconds = Number(process.hrtime.bigint() - started) / 1e9;
    if (process.env.TWIN_RUNS)
      console.log(`${RUNS} schedules in ${seconds.toFixed(1)} s, ${receipts.received} receipts`);
    expect(found).toBe(undefined);
    expect(receipts.received, 'values are received in some of them').toBeGreaterThan(RUNS / 10);
  },
  120_000 + RUNS * 400,
);
