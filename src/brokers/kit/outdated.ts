/** The part of `verify` that every broker has. */
import type { Known } from '../broker.js';

/**
 * Compares what a node knows of its keys with the store, for `verify`.
 * @param positionOf the newest position of a key in the store; undefined: this node is not subscribed to it
 * @returns the keys that differ
 */
export async function outdated(
  known: readonly Known[],
  positionOf: (key: string) => string | undefined | Promise<string | undefined>,
): Promise<string[]> {
  const positions = await Promise.all(known.map(({ key }) => positionOf(key)));
  return known
    .filter(({ position }, index) => positions[index] === undefined || positions[index] !== position)
    .map(({ key }) => key);
}
