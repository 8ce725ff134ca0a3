/** "Did you mean": the known name that a mistyped one is nearest to. */

/** A name counts as mistyped if its edit distance to a known one is at most this. */
const MAX_DISTANCE = 2;

/** @returns the known name with the smallest edit distance, in either case; undefined if it is larger than `MAX_DISTANCE` */
export function nearest(given: string, known: Iterable<string>): string | undefined {
  let best: { name: string; distance: number } | undefined;
  for (const name of known) {
    const distance = editDistance(given.toUpperCase(), name.toUpperCase());
    if (distance <= MAX_DISTANCE && distance < (best?.distance ?? MAX_DISTANCE + 1))
      best = { name, distance };
  }
  return best?.name;
}

/** Damerau-Levenshtein distance: letters inserted, deleted, replaced, or swapped with the next one. */
function editDistance(one: string, other: string): number {
  if (Math.abs(one.length - other.length) > MAX_DISTANCE) return MAX_DISTANCE + 1;

  let before: number[] = [];
  let last = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (let i = 1; i <= one.length; i++) {
    const row = [i];
    for (let j = 1; j <= other.length; j++) {
      const swapped = j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1];
      row[j] = Math.min(
        (last[j - 1] as number) + (one[i - 1] === other[j - 1] ? 0 : 1),
        (last[j] as number) + 1,
        (row[j - 1] as number) + 1,
        swapped ? (before[j - 2] as number) + 1 : Number.POSITIVE_INFINITY,
      );
    }
    before = last;
    last = row;
  }
  return last[other.length] as number;
}
