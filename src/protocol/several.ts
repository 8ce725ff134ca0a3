/** Parses a poll of several keys: `key` up to 16 times, `since` and `proof` as often and in the same order, or not at all. */
import {
  BadParameter,
  faultOf,
  type KeyQuery,
  LISTS,
  MAX_KEYS,
  type Parameters,
  parseQuery,
  type Query,
} from './query.js';

/** A poll of at least two keys. `key`, `since` and `proof` are those of the first. */
export interface SeveralQuery extends Query {
  keys: readonly KeyQuery[];
}

/** The query, or its first fault. @param longest the service's longest hold, seconds */
export function parseSeveral(parameters: Parameters, longest: number): SeveralQuery | BadParameter {
  const { given, twice } = parameters;
  const repeated = twice.filter(name => !(LISTS as readonly string[]).includes(name));
  const query = parseQuery({ ...parameters, twice: repeated }, longest);
  if (query instanceof BadParameter) return query;
  const names = valuesOf(parameters, 'key');
  if (names.length > MAX_KEYS) return new BadParameter(`key: give at most ${MAX_KEYS} keys`);
  if (new Set(names).size < names.length) return new BadParameter('key: give each key once');
  const lists: Record<'since' | 'proof', string[]> = { since: [], proof: [] };
  for (const name of ['since', 'proof'] as const) {
    const values = given[name] === undefined ? names.map(() => '') : valuesOf(parameters, name);
    if (values.length !== names.length)
      return new BadParameter(
        `${name}: give it once for each key, in the same order, empty where there is none; or not at all`,
      );
    lists[name] = values;
  }
  const keys = names.map((key, at) => ({
    key,
    since: lists.since[at] as string,
    proof: lists.proof[at] as string,
  }));
  for (const { key, since, proof } of keys) {
    const fault = faultOf(key, since, proof);
    if (fault) return fault;
  }
  return { ...query, keys };
}

const valuesOf = ({ given, further }: Parameters, name: (typeof LISTS)[number]): string[] => [
  given[name] as string,
  ...(further?.[name] ?? []),
];
