/** Reads the question of a poll out of its URL, by hand: it is asked once for every answer that is ever given. */
import { CURSOR } from './brokers/broker.js';
import { NAME_ALLOWED, type Names } from './protocol/names.js';

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
}

/** A parameter that is not allowed. The message says which and what is; it never repeats what was given. */
export class BadParameter extends Error {
  constructor(
    message: string,
    /** what follows on the connection cannot be told from more of this request */
    readonly unreadable = false,
  ) {
    super(message);
  }
}

export const KEY = /^[A-Za-z0-9._~:-]{1,128}$/;
export const KEY_ALLOWED = 'key: give 1 to 128 of A-Z a-z 0-9 . _ ~ : -';
const HOLD = /^\d{1,4}(\.\d{1,3})?$/;
/** Seconds that a page may always ask for: its script does so now and then, however short the service's own hold is. */
const SHORT = 1;
const LONGEST_PROOF = 128;
const NAMES = ['key', 'callback', 'var', 'since', 'hold', 'proof'] as const;
type Name = (typeof NAMES)[number];

/** What each parameter was given as; `twice` holds the names that came more than once, `garbled` those not in UTF-8. */
export interface Parameters {
  given: Partial<Record<Name, string>>;
  twice: Name[];
  garbled: Name[];
}

/** Splits a query string. Unknown parameters are left out: caches and trackers add their own. */
export function split(query: string): Parameters {
  const parameters: Parameters = { given: {}, twice: [], garbled: [] };
  eachPair(query, (given, value) => {
    const name = NAMES[NAMES.indexOf(given as Name)];
    if (name === undefined) return;
    if (parameters.given[name] !== undefined) parameters.twice.push(name);
    if (value === undefined) parameters.garbled.push(name);
    parameters.given[name] = value ?? '';
  });
  return parameters;
}

/** The decoded names and values of a query string or form; undefined where the percent-encoding is not UTF-8. */
export function eachPair(
  text: string,
  take: (name: string | undefined, value: string | undefined) => void,
): void {
  if (text === '') return;
  const read = text.includes('%') || text.includes('+') ? decode : asIs;
  for (const pair of text.split('&')) {
    const equals = pair.indexOf('=');
    if (equals < 0) take(read(pair), '');
    else take(read(pair.slice(0, equals)), read(pair.slice(equals + 1)));
  }
}

const asIs = (text: string) => text;

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return undefined;
  }
}

/** Which form the answer must have. @throws {BadParameter} when that cannot be told: then no script may be sent */
export function formOf({ given, twice, garbled }: Parameters, names: Names): Form {
  const { callback, var: variable } = given;
  if (callback === undefined && variable === undefined) return { mode: 'json', name: '' };
  if (callback !== undefined && variable !== undefined)
    throw new BadParameter('callback, var: give one of them, not both');
  const mode = callback === undefined ? 'var' : 'callback';
  const name = callback ?? variable ?? '';
  if (twice.includes(mode)) throw new BadParameter(`${mode}: give it once`);
  if (garbled.includes(mode) || !names.allows(mode, name)) throw new BadParameter(`${mode}: ${NAME_ALLOWED}`);
  return { mode, name };
}

/** The question itself. @param longest seconds a hold may last @throws {BadParameter} */
export function questionOf({ given, twice, garbled }: Parameters, longest: number): Query {
  for (const name of twice) throw new BadParameter(`${name}: give it once`);
  for (const name of garbled) throw new BadParameter(`${name}: its percent-encoding is broken; give UTF-8`);
  const { key = '', since = '', hold, proof = '' } = given;
  if (!KEY.test(key)) throw new BadParameter(KEY_ALLOWED);
  if (!CURSOR.test(since)) throw new BadParameter('since: give the cursor of the last answer, or nothing');
  if (hold !== undefined && (!HOLD.test(hold) || Number(hold) > Math.max(longest, SHORT)))
    throw new BadParameter(`hold: give seconds from 0 to ${longest}`);
  if (proof.length > LONGEST_PROOF) throw new BadParameter('proof: give the proof of the ticket');
  return { key, since, hold: Math.min(Number(hold ?? longest), longest), proof };
}
