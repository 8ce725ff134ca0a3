import { createHash } from 'node:crypto';

/** Whether a mutant is tried: with a sample of 0.5 half of them are, the same ones for the same seed. */
export function sampled({ location: { start }, replacement, mutatorName }, { sample, seed }) {
  const text = `${seed} ${start.line}:${start.column} ${mutatorName} ${replacement}`;
  return createHash('sha1').update(text).digest().readUInt32BE() / 2 ** 32 < sample;
}
