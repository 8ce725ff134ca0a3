/** Limits the CPU time that many scrapes at once can take. */

/** At most 1/10 of the time is spent on answers. */
const PAUSE = 9;
/** Longest pause, ms. Work that took longer than 1/9 of it has waited, and not used the CPU. */
const LONGEST_PAUSE = 1000;

/**
 * Lets concurrent requests share one answer, and pauses between answers: after an answer that took 2 ms, the next one
 * starts 18 ms later, for all requests that arrived meanwhile. No answer is older than its request.
 * @param work creates an answer
 */
export function sparing<T>(work: () => Promise<T>): () => Promise<T> {
  let next: Promise<T> | undefined;
  let last: Promise<unknown> = Promise.resolve();
  let pauseEnd = 0;
  const make = async (): Promise<T> => {
    const began = performance.now();
    try {
      return await work();
    } finally {
      const now = performance.now();
      pauseEnd = now + Math.min((now - began) * PAUSE, LONGEST_PAUSE);
    }
  };
  const begin = async (): Promise<T> => {
    await last;
    await turnOrPause(pauseEnd - performance.now());
    next = undefined;
    const made = make();
    last = made.catch(() => {});
    return made;
  };
  return () => (next ??= begin());
}

/** Waits at least until the next turn of the event loop, to include all requests of this turn. */
const turnOrPause = (ms: number) =>
  new Promise<void>(resolve => {
    if (ms > 0) setTimeout(resolve, ms);
    else setImmediate(resolve);
  });
