/** Starts services on ports that `fetch` and browsers allow. */
import { HIGHEST_REFUSED } from './ports.js';

/**
 * Starts something on free ports of the system's choice, again while it is given one that no test could ask.
 * @param end of what was given such a port; it is ended only when the next has started, so that it keeps its ports until then
 */
export async function onFetchablePorts<T extends { publicUrl: string; internalUrl: string }>(
  start: () => Promise<T>,
  end: (refused: T) => unknown,
): Promise<T> {
  const started = await start();
  const ports = [started.publicUrl, started.internalUrl].map(url => Number(new URL(url).port));
  if (ports.every(port => port > HIGHEST_REFUSED)) return started;
  try {
    return await onFetchablePorts(start, end);
  } finally {
    await end(started);
  }
}
