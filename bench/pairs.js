/**
 * Compares two servers in short windows, in the order A B B A: a slow minute of the machine affects both, and a slow drift
 * cancels out. Each pair of neighbouring windows gives one ratio.
 *
 * A control runs before, between and after the windows of a pair: a fixed amount of computing on the server's core. If it
 * takes more than 1.25 times as long as usual, other work has used the core, and the pair is measured again.
 */
import { median } from './statistics.js';

/** A control slower than this, as a multiple of the median of all controls so far, discards the pair. */
const NOISY = 1.25;

/**
 * Measures `pairs` pairs of windows.
 *
 * @param windows two functions that measure one window each: `async () => ({ figure: number, … })`
 * @param control `async () => ms`
 * @returns {{ pairs: { a: object, b: object }[], repeated: number }} in order; `repeated`: pairs discarded as noisy, at
 *   most as many as were wanted: on a machine that is never quiet all are kept after that
 */
export async function inPairs([a, b], { pairs, control, until = Number.POSITIVE_INFINITY }) {
  const controls = [];
  const sample = async () => {
    controls.push(await control());
    return controls.at(-1) / median(controls);
  };
  // the first ones compile the control's code
  for (let run = 0; run < 8; run++) await control();
  for (let run = 0; run < 5; run++) await sample();

  const kept = [];
  let repeated = 0;
  while (kept.length < pairs && performance.now() < until) {
    const turned = kept.length % 2 === 1;
    const slow = [await sample()];
    const first = await (turned ? b : a)();
    slow.push(await sample());
    const second = await (turned ? a : b)();
    slow.push(await sample());
    if (Math.max(...slow) > NOISY && repeated < pairs) repeated++;
    else kept.push(turned ? { a: second, b: first } : { a: first, b: second });
  }
  return { pairs: kept, repeated };
}

/** The ratio a/b of one figure in each pair; with `inverse`, b/a. */
export const ratios = (pairs, figure, inverse = false) =>
  pairs.map(({ a, b }) => (inverse ? b[figure] / a[figure] : a[figure] / b[figure])).filter(Number.isFinite);
