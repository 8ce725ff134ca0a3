/** Medians and their confidence intervals. */

export function median(list) {
  const sorted = [...list].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * The 95 % confidence interval of a median, from the order of the samples alone: no distribution is assumed.
 *
 * Example: of 20 samples, the 6th and the 15th. Fewer than 6 samples have no such interval: it is their range.
 *
 * @returns {{ value: number, low: number, high: number, samples: number }}
 */
export function interval(list) {
  const sorted = [...list].sort((a, b) => a - b);
  const { length } = sorted;
  const skip = Math.max(0, Math.floor((length - 1.96 * Math.sqrt(length)) / 2));
  return { value: median(sorted), low: sorted[skip], high: sorted[length - 1 - skip], samples: length };
}
