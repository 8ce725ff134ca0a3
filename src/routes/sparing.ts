/** Bounds how much of a node's time a crowd of readers can take. */

/** A tenth of the time at most is spent on it. */
const PAUSE = 9;
/** ms; what takes longer than a ninth of it has waited for others, and not worked */
const LONGEST_PAUSE = 1000;

/**
 * Lets requests that come together share one answer, and spaces the answers out: after one that took 2 ms the next begins
 * 18 ms later, for all who came by then. No answer is older than its request.
 * @param work makes an answer
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

/** Waits at least until the next turn of the event loop, for the requests of this one. */
const turnOrPause = (ms: number) =>
  new Promise<void>(resolve => {
    if (ms > 0) setTimeout(resolve, ms);
    else setImmediate(resolve);
  });
