/** Waiting for conditions. */
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';

/** How long a test waits for what has no time limit of its own, ms: enough for a machine that is busy with other work. */
export const PATIENCE = 120_000;

interface Wait {
  /** ms; give it only where the time is what the test is about */
  within?: number;
  /** ms between two looks */
  every?: number;
  /** what the condition looked at, for the error */
  seen?: () => unknown;
}

/** Waits for a condition: the first truthy result. A rejected or thrown one ends the wait; so does one that never settles. */
export async function until<T>(
  condition: () => T | Promise<T>,
  { within = PATIENCE, every = 10, seen }: Wait = {},
): Promise<Exclude<T, false | undefined | null | '' | 0>> {
  const end = performance.now() + within;
  for (;;) {
    const late = new AbortController();
    const result = await Promise.race([
      condition(),
      sleep(Math.max(end - performance.now(), 1000), undefined, { signal: late.signal }).catch(
        () => undefined,
      ),
    ]).finally(() => late.abort());
    if (result) return result as Exclude<T, false | undefined | null | '' | 0>;
    if (performance.now() > end) {
      const last = seen ? `\nseen last: ${inspect(seen(), { depth: 5 })}` : '';
      throw new Error(`not so within ${within} ms: ${condition}${last}`);
    }
    await new Promise(resolve => setTimeout(resolve, every));
  }
}
