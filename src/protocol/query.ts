/** Reads the question of a poll out of its URL, by hand: it is asked once for every answer that is ever given. */
import { CURSOR } from '../brokers/broker.js';
import { NAME_ALLOWED, type Names } from './names.js';

/** How the answer is wrapped: a script that calls or assigns a name, or JSON. */
export interface Form {
  mode: 'callback' | 'var' | 'json';
  name: string;
}

export interface Query {
  key: string;
  since: string;
  /** seconds, as given or as set, whichever is shorter */
  hold: number;
  proof: string;
  /** this poll's name, by which it can be dropped; '' for none */
  poll: string;
  /** the name of a poll to drop; '' for none */
  drop: string;
}

/** A parameter that is not allowed: returned, not thrown. The message says which and what is; it never repeats what was given. */
export class BadParameter {
  constructor(
    readonly message: string,
    /** what follows on the connection cannot be told from more of this request */
    readonly unreadable = false,
  ) {}
}

export const KEY = /^[A-Za-z0-9._~:-]{1,128}$/;
export const KEY_ALLOWED = 'key: give 1 to 128 of A-Z a-z 0-9 . _ ~ : -';
const HOLD = /^\d{1,4}(\.\d{1,3})?$/;
/** Seconds that a page may always ask for: its script does so now and then, however short the service's own hold is. */
const SHORT = 1;
const LONGEST_PROOF = 128;
/** The name of a poll. */
const POLL = /^[\w-]{1,32}$/;
const POLL_ALLOWED = 'give 1 to 32 of A-Z a-z 0-9 _ -';
/** Every parameter that is read. All others are passed over as they stand, `_` among them. */
const NAMES = ['key', 'callback', 'var', 'since', 'hold', 'proof', 'poll', 'drop'] as const;
type Name = (typeof NAMES)[number];
/** A longer query is refused, and only so many of its bytes are read. */
export const QUERY_BYTES = 2048;
const AMPERSAND = 38;
const EQUALS = 61;
/** Characters of the shortest name, and of the longest, escaped. */
const SHORTEST_NAME = Math.min(...NAMES.map(name => name.length));
const LONGEST_NAME = 3 * Math.max(...NAMES.map(name => name.length));
/** Escapes that are UTF-8 (RFC 3629 §4): what passes is decoded without throwing, and throwing costs 50 times as much. */
const UTF8_ESCAPED = new RegExp(
  `^(?:[^%]|${[
    '[0-7]h',
    '(?:C[2-9A-F]|Dh)t',
    'E0%[AB]ht',
    'E[1-9ABCEF]tt',
    'ED%[89]ht',
    'F0%[9AB]htt',
    'F[1-3]ttt',
    'F4%8htt',
  ]
    .map(bytes => `%${bytes.replaceAll('t', '%[89AB]h').replaceAll('h', '[\\dA-F]')}`)
    .join('|')})*$`,
  'i',
);

/** What each parameter was given as; `twice` holds the names that came more than once, `garbled` those not in UTF-8. */
export interface Parameters {
  given: Partial<Record<Name, string>>;
  twice: Name[];
  garbled: Name[];
  /** the query has more than `QUERY_BYTES` */
  tooLong: boolean;
}

/** The query string of a request's target. */
export function queryOf(target: string): string {
  const mark = target.indexOf('?');
  return mark < 0 ? '' : target.slice(mark + 1);
}

/**
 * Splits a query string. Of one that is too long, the pairs that are whole within its first bytes are read. Each
 * parameter is decoded once at most: `key=%&` a thousand times costs no more than `key=a`.
 */
export function split(query: string): Parameters {
  const tooLong = query.length > QUERY_BYTES;
  const parameters: Parameters = { given: {}, twice: [], garbled: [], tooLong };
  const text = tooLong ? query.slice(0, query.lastIndexOf('&', QUERY_BYTES) + 1) : query;
  for (let start = 0, at = 0, equals = -1; at <= text.length; at++) {
    const code = at < text.length ? text.charCodeAt(at) : AMPERSAND;
    if (code === EQUALS && equals < 0) equals = at;
    if (code !== AMPERSAND) continue;
    const name = nameOf(text, start, equals < 0 ? at : equals);
    if (name !== undefined) take(parameters, name, equals < 0 ? '' : text.slice(equals + 1, at));
    start = at + 1;
    equals = -1;
  }
  return parameters;
}

function take({ given, twice, garbled }: Parameters, name: Name, escaped: string): void {
  if (given[name] !== undefined) {
    if (!twice.includes(name)) twice.push(name);
    return;
  }
  const value = decodeEscapes(escaped);
  if (value === undefined) garbled.push(name);
  given[name] = value ?? '';
}

/** A name that is known, escaped or not; most others are told by their length alone. */
function nameOf(text: string, start: number, end: number): Name | undefined {
  if (end - start < SHORTEST_NAME || end - start > LONGEST_NAME) return undefined;
  const given = text.slice(start, end);
  return NAMES[NAMES.indexOf((given.includes('%') ? decodeEscapes(given) : given) as Name)];
}

/** @returns undefined where the escapes are not UTF-8; throws nothing */
export function decodeEscapes(text: string): string | undefined {
  const spaced = text.replaceAll('+', ' ');
  if (!spaced.includes('%')) return spaced;
  return UTF8_ESCAPED.test(spaced) ? decodeURIComponent(spaced) : undefined;
}

/** Which form the answer must have; a fault when that cannot be told: then no script may be sent. */
export function formOf({ given, twice, garbled }: Parameters, names: Names): Form | BadParameter {
  const { callback, var: variable } = given;
  if (callback === undefined && variable === undefined) return { mode: 'json', name: '' };
  if (callback !== undefined && variable !== undefined)
    return new BadParameter('callback, var: give one of them, not both');
  const mode = callback === undefined ? 'var' : 'callback';
  const name = callback ?? variable ?? '';
  if (twice.includes(mode)) return new BadParameter(`${mode}: give it once`);
  if (garbled.includes(mode) || !names.allows(mode, name))
    return new BadParameter(`${mode}: ${NAME_ALLOWED}`);
  return { mode, name };
}

/** The question itself, or its first fault. @param longest seconds a hold may last */
export function questionOf(
  { given, twice, garbled, tooLong }: Parameters,
  longest: number,
): Query | BadParameter {
  if (tooLong) return new BadParameter(`the query: give at most ${QUERY_BYTES} bytes`);
  for (const name of twice) return new BadParameter(`${name}: give it once`);
  for (const name of garbled) return new BadParameter(`${name}: its percent-encoding is broken; give UTF-8`);
  const { key = '', since = '', hold, proof = '', poll, drop } = given;
  if (!KEY.test(key)) return new BadParameter(KEY_ALLOWED);
  if (!CURSOR.test(since)) return new BadParameter('since: give the cursor of the last answer, or nothing');
  if (hold !== undefined && (!HOLD.test(hold) || Number(hold) > Math.max(longest, SHORT)))
    return new BadParameter(`hold: give seconds from 0 to ${longest}`);
  if (proof.length > LONGEST_PROOF) return new BadParameter('proof: give the proof of the ticket');
  if (poll !== undefined && !POLL.test(poll)) return new BadParameter(`poll: ${POLL_ALLOWED}`);
  if (drop !== undefined && !POLL.test(drop)) return new BadParameter(`drop: ${POLL_ALLOWED}`);
  return {
    key,
    since,
    hold: Math.min(Number(hold ?? longest), longest),
    proof,
    poll: poll ?? '',
    drop: drop ?? '',
  };
}
