/** Parses the query of a poll. By hand instead of with URLSearchParams, because every poll is parsed. */
import { CURSOR } from './cursor.js';
import { NAME_ALLOWED, type Names } from './names.js';

/** How the answer is wrapped: a script that calls or assigns a name, or JSON. */
export interface Form {
  mode: 'callback' | 'var' | 'json';
  name: string;
}

/** A key that is watched, from where, and the proof of its ticket. */
export interface KeyQuery {
  key: string;
  since: string;
  proof: string;
}

export interface Query extends KeyQuery {
  /** seconds; the requested hold, but at most the service's */
  hold: number;
  /** this poll's name, by which it can be dropped; '' for none */
  poll: string;
  /** the name of a poll to drop; '' for none */
  drop: string;
}

/** A fault of the query; returned, not thrown. The message names the parameter and what is allowed, never its value. */
export class BadParameter {
  constructor(
    readonly message: string,
    /** the end of the request is not known, so the connection must be closed */
    readonly unreadable = false,
  ) {}
}

export const KEY = /^[A-Za-z0-9._~:-]{1,128}$/;
export const KEY_ALLOWED = 'key: give 1 to 128 of A-Z a-z 0-9 . _ ~ : -';
const HOLD = /^\d{1,4}(\.\d{1,3})?$/;
/** A page may always request a hold of this many seconds, because its script does so if the service's hold is shorter. */
const SHORT_HOLD = 1;
const MAX_PROOF_LENGTH = 128;
/** The name of a poll. */
const POLL = /^[\w-]{1,32}$/;
const POLL_ALLOWED = 'give 1 to 32 of A-Z a-z 0-9 _ -';
/** The parameters of a poll. Others are ignored, such as the `_` of jQuery. */
const NAMES = ['key', 'callback', 'var', 'since', 'hold', 'proof', 'poll', 'drop'] as const;
type Name = (typeof NAMES)[number];
/** Those that a poll of several keys gives once for each key. */
export const LISTS = ['key', 'since', 'proof'] as const;
/** Keys of one poll. */
export const MAX_KEYS = 16;
/** A longer query is refused, and only this many of its bytes are read. */
export const QUERY_BYTES = 2048;
const AMPERSAND = 38;
const EQUALS = 61;
/** Length of the shortest name, and of the longest one with all characters escaped. */
const SHORTEST_NAME = Math.min(...NAMES.map(name => name.length));
const LONGEST_NAME = 3 * Math.max(...NAMES.map(name => name.length));
/** Matches percent-encoded UTF-8 (RFC 3629 §4), so that decoding never throws, which would take 50 times as long. */
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

/** Parsed parameters. `twice`: names given more than once; `garbled`: names with a value that is not UTF-8. */
export interface Parameters {
  /** the first value of each name */
  given: Partial<Record<Name, string>>;
  /** further values, in order, of names that may be given several times; at most `MAX_KEYS` of each */
  further?: Partial<Record<Name, string[]>>;
  twice: Name[];
  garbled: Name[];
  /** the query has more than `QUERY_BYTES` */
  tooLong: boolean;
}

/** The query string of a request target. */
export function queryString(target: string): string {
  const mark = target.indexOf('?');
  return mark < 0 ? '' : target.slice(mark + 1);
}

/**
 * Parses a query string. If it is too long, parses the complete pairs in its first `QUERY_BYTES`. Decodes no parameter
 * more than 17 times, most of them once: a thousand times `hold=%&` costs no more than one `hold=1`.
 */
export function parseParameters(query: string): Parameters {
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

function take(parameters: Parameters, name: Name, escaped: string): void {
  const { given, twice } = parameters;
  if (given[name] === undefined) {
    given[name] = decode(parameters, name, escaped);
    return;
  }
  if (!twice.includes(name)) twice.push(name);
  if (!(LISTS as readonly Name[]).includes(name)) return;
  parameters.further ??= {};
  const values = parameters.further[name] ?? [];
  if (values.length < MAX_KEYS) values.push(decode(parameters, name, escaped));
  parameters.further[name] = values;
}

function decode({ garbled }: Parameters, name: Name, escaped: string): string {
  const value = decodeEscapes(escaped);
  if (value === undefined && !garbled.includes(name)) garbled.push(name);
  return value ?? '';
}

/** The parameter with this name, which may be escaped. Rules most other names out by their length. */
function nameOf(text: string, start: number, end: number): Name | undefined {
  if (end - start < SHORTEST_NAME || end - start > LONGEST_NAME) return undefined;
  const given = text.slice(start, end);
  return NAMES[NAMES.indexOf((given.includes('%') ? decodeEscapes(given) : given) as Name)];
}

/** Decodes `+` and percent-encoding. @returns undefined if it is not UTF-8 */
export function decodeEscapes(text: string): string | undefined {
  const spaced = text.replaceAll('+', ' ');
  if (!spaced.includes('%')) return spaced;
  return UTF8_ESCAPED.test(spaced) ? decodeURIComponent(spaced) : undefined;
}

/** The form of the answer, or a fault: then the answer must not be a script. */
export function parseForm({ given, twice, garbled }: Parameters, names: Names): Form | BadParameter {
  const { callback, var: variable } = given;
  if (callback === undefined && variable === undefined) return { mode: 'json', name: '' };
  if (callback !== undefined && variable !== undefined)
    return new BadParameter('callback, var: give one of them, not both');
  const mode = callback === undefined ? 'var' : 'callback';
  const name = (callback ?? variable) as string;
  if (twice.includes(mode)) return new BadParameter(`${mode}: give it once`);
  if (garbled.includes(mode) || !names.allows(mode, name))
    return new BadParameter(`${mode}: ${NAME_ALLOWED}`);
  return { mode, name };
}

/** The query of one key, or its first fault. @param longest the service's longest hold, seconds */
export function parseQuery(
  { given, twice, garbled, tooLong }: Parameters,
  longest: number,
): Query | BadParameter {
  if (tooLong) return new BadParameter(`the query: give at most ${QUERY_BYTES} bytes`);
  for (const name of twice) return new BadParameter(`${name}: give it once`);
  for (const name of garbled) return new BadParameter(`${name}: its percent-encoding is broken; give UTF-8`);
  const { key = '', since = '', hold, proof = '', poll, drop } = given;
  const fault = faultOf(key, since, proof);
  if (fault) return fault;
  if (hold !== undefined && (!HOLD.test(hold) || Number(hold) > Math.max(longest, SHORT_HOLD)))
    return new BadParameter(`hold: give seconds from 0 to ${longest}`);
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

export function faultOf(key: string, since: string, proof: string): BadParameter | undefined {
  if (!KEY.test(key)) return new BadParameter(KEY_ALLOWED);
  if (!CURSOR.test(since)) return new BadParameter('since: give the cursor of the last answer, or nothing');
  if (proof.length > MAX_PROOF_LENGTH) return new BadParameter('proof: give the proof of the ticket');
  return undefined;
}
