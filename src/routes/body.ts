/** Reads and checks request bodies of the internal port: JSON or forms, of bounded size. */
import { z } from 'zod';
import { nearest } from '../nearest.js';
import { CURSOR } from '../protocol/cursor.js';
import { jsonOf, safeScript } from '../protocol/jsonp.js';
import { losesDigits, WrittenNumber, writtenNumber } from '../protocol/numbers.js';
import { decodeEscapes, KEY, KEY_ALLOWED } from '../protocol/query.js';
import { BodyError } from '../wire/bytes.js';
import type { Exchange } from '../wire/exchange.js';
import { JSON_TYPE, MEDIA_TYPES, mediaTypeOf } from './media-type.js';

/** Ends a request: HTTP status, message, and further fields of the answer. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly more: Record<string, unknown>,
  ) {
    super(message);
  }
}
/** @param detail the field and what is allowed; never text from the request */
export const badRequest = (detail: string) => new Refusal(400, 'bad request', { detail });
const tooLarge = (detail: string) => new Refusal(413, 'too large', { detail });
const unsupported = () => new Refusal(415, 'unsupported media type', { detail: MEDIA_TYPES });

/** ignores a byte order mark */
const UTF8 = new TextDecoder('utf-8', { fatal: true });

/** One byte of a value may take six in a body (`\u00XX`). 8,192 bytes are for the other fields. */
const bodyLimit = (maxValueBytes: number) => maxValueBytes * 6 + 8192;

/**
 * Reads the fields of a body. JSON gives an object. A form gives strings, and `value`, `show` and `user` as JSON. An
 * empty body has no fields. @param field the field that may be large @throws {Refusal} 400, 413 or 415
 */
export async function readBody(exchange: Exchange, maxValueBytes: number, field = 'value'): Promise<unknown> {
  const chunked = exchange.header('transfer-encoding') !== undefined;
  if (!chunked && Number(exchange.header('content-length') ?? 0) === 0) return {};
  const encoded = exchange.header('content-encoding');
  const type = encoded ? undefined : mediaTypeOf(exchange.header('content-type'));
  // a body in chunks may be empty, and needs no type then
  if (!type && !chunked) throw unsupported();
  let bytes: Buffer;
  try {
    bytes = await exchange.body(bodyLimit(maxValueBytes));
  } catch (error) {
    if (!(error instanceof BodyError)) throw error;
    if (error.why === 'ended early') throw badRequest('the body: it ended early');
    throw tooLarge(
      `the body: give at most ${bodyLimit(maxValueBytes)} bytes, with at most ${maxValueBytes} bytes of JSON as ${field} (TAGWAIT_MAX_VALUE_BYTES)`,
    );
  }
  if (bytes.length === 0) return {};
  if (!type) throw unsupported();
  const text = decode(bytes);
  if (text === '') return {};
  return type === JSON_TYPE ? parse(text) : fieldsOfForm(text);
}

function decode(bytes: Buffer): string {
  try {
    return UTF8.decode(bytes);
  } catch {
    throw badRequest('the body: give UTF-8');
  }
}

/** Fields that take any JSON. */
const JSON_FIELDS = ['value', 'show', 'user'];

function parse(text: string): unknown {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw badRequest('the body: give JSON');
  }
  const lost = losesDigits(text);
  if (lost !== undefined) throw inexact(fieldAt(text, lost) ?? 'the body');
  return parsed;
}

const inexact = (name: string) =>
  badRequest(`${name}: holds an integer that a double cannot hold exactly; give it as a string`);

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\]]/g;

/** The field that contains a number of the body, if it is a field that takes any JSON. @param json valid JSON */
function fieldAt(json: string, position: number): string | undefined {
  let depth = 0;
  let name: string | undefined;
  for (const { 0: token, index } of json.matchAll(TOKEN)) {
    if (index > position) break;
    if (token === '{' || token === '[') depth++;
    else if (token === '}' || token === ']') depth--;
    // a string that is a value is followed by the next name before there is a number
    else if (depth === 1) name = JSON_FIELDS.find(field => token === `"${field}"`);
  }
  return name;
}

/** More than any form of this API has. A body with more is refused before it is decoded. */
const FORM_FIELDS = 32;

function fieldsOfForm(text: string): Record<string, unknown> {
  const fields = new Map<string, unknown>();
  const pairs = text.split('&', FORM_FIELDS + 1);
  if (pairs.length > FORM_FIELDS) throw badRequest(`the body: give at most ${FORM_FIELDS} fields`);
  for (const pair of pairs) {
    const equals = pair.indexOf('=');
    const name = decodeForm(equals < 0 ? pair : pair.slice(0, equals));
    if (fields.has(name)) throw badRequest('the body: give each field once');
    const given = equals < 0 ? '' : decodeForm(pair.slice(equals + 1));
    fields.set(name, JSON_FIELDS.includes(name) ? valueOfForm(name, given) : given);
  }
  return Object.fromEntries(fields);
}

/** @throws {Refusal} 400 if the text is not percent-encoded UTF-8 */
function decodeForm(text: string): string {
  const decoded = decodeEscapes(text);
  if (decoded === undefined) throw badRequest('the body: its percent-encoding is broken; give UTF-8');
  return decoded;
}

const WORDS = new Map<string, unknown>([
  ['true', true],
  ['false', false],
  ['null', null],
]);

/**
 * A value in a form. It is JSON if it is an object, an array, a quoted string, `true`, `false`, `null`, or a number that
 * JavaScript prints exactly as given. Everything else is a string: `scanned`, `1.10`, `[urgent] call me`, an account
 * number of 28 digits. So is JSON that is cut off: a body in JSON is refused then.
 */
function valueOfForm(name: string, text: string): unknown {
  if (!/^\s*["[{]/.test(text)) return WORDS.has(text) ? WORDS.get(text) : (writtenNumber(text) ?? text);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return text;
  }
  if (losesDigits(text) !== undefined) throw inexact(name);
  return parsed;
}

const LONGEST_TTL = 31_536_000;
const TTL_ALLOWED = `ttl: give seconds, more than 0 and at most ${LONGEST_TTL}`;
const LONGEST_RECEIPT = 10;
const RECEIPT_ALLOWED = `receipt: give seconds from 0 to ${LONGEST_RECEIPT}`;
const FINAL_ALLOWED = 'final: give true or false';
const text = (allowed: string, pattern: RegExp) => z.string(allowed).regex(pattern, allowed);
/** The known field that one of the first unknown ones is near to. Two letters are near to any short name. */
const fieldNear = (unknown: readonly string[], names: readonly string[]) =>
  unknown
    .slice(0, FORM_FIELDS)
    .map(name => (name.length > 2 ? nearest(name, names) : undefined))
    .find(meant => meant !== undefined);
const object = <Shape extends z.ZodRawShape>(shape: Shape) =>
  z.strictObject(shape, {
    error: issue => {
      const names = Object.keys(shape);
      if (issue.code !== 'unrecognized_keys') return `the body: give an object of ${names.join(', ')}`;
      const meant = fieldNear(issue.keys, names);
      return `the body: has a field of another name; there are ${names.join(', ')}${meant ? `; did you mean ${meant}?` : ''}`;
    },
  });
/** A form has strings only. */
const numberOfForm = (given: unknown) =>
  typeof given === 'string' && /^\d+(\.\d+)?$/.test(given) ? Number(given) : given;
const booleanOfForm = (given: unknown) => (given === 'true' ? true : given === 'false' ? false : given);
/** Many languages write null into JSON for a field that is not given. */
const orAbsent = <T extends z.ZodType>(schema: T) =>
  z.preprocess(given => given ?? undefined, schema.optional()).optional();

const ttl = orAbsent(
  z.preprocess(numberOfForm, z.number(TTL_ALLOWED).gt(0, TTL_ALLOWED).max(LONGEST_TTL, TTL_ALLOWED)),
);
const key = text(KEY_ALLOWED, KEY);
const id = orAbsent(
  text('id: give 1 to 64 printable ASCII characters without spaces', /^[\x21-\x7e]{1,64}$/),
);
const receipt = orAbsent(
  z.preprocess(
    numberOfForm,
    z.number(RECEIPT_ALLOWED).min(0, RECEIPT_ALLOWED).max(LONGEST_RECEIPT, RECEIPT_ALLOWED),
  ),
);
const anyJson = (name: string) => z.unknown().refine(given => given !== undefined, `${name}: give any JSON`);
const setFields = object({
  key,
  value: anyJson('value'),
  ttl,
  final: orAbsent(z.preprocess(booleanOfForm, z.boolean(FINAL_ALLOWED))),
  expect: text('expect: give a cursor, or "" for nothing set yet', CURSOR).optional(),
  id,
  receipt,
});
const newFields = object({ ttl });

const characters = (name: string, min: number) =>
  z
    .string(`${name}: give ${min} to 256 characters`)
    .refine(given => given.length >= min && [...given.slice(0, 513)].length <= 256);
const phone = characters('phone', 1);
const visitor = characters('visitor', 1);
const loginFields = {
  new: object({ visitor, ttl, show: z.unknown().optional() }),
  scan: object({ key, phone }),
  approve: object({ key, phone, user: anyJson('user'), receipt }),
  deny: object({ key, phone }),
  redeem: object({ key, code: characters('code', 0), visitor, id }),
};

/** @throws {Refusal} 400 with all faults at once */
function check<T extends z.ZodType>(schema: T, given: unknown): z.output<T> {
  const result = schema.safeParse(given);
  if (result.success) return result.data;
  throw badRequest(result.error.issues.map(issue => issue.message).join('; '));
}

export const checkSet = (given: unknown) => check(setFields, given);
/** PHP writes an empty array as `[]`, also where it stands for an object. */
export const checkNew = (given: unknown) =>
  check(newFields, Array.isArray(given) && given.length === 0 ? {} : given);
export type LoginFields = { [Step in keyof typeof loginFields]: z.output<(typeof loginFields)[Step]> };
export const checkLogin = <Step extends keyof LoginFields>(step: Step, given: unknown) =>
  check(loginFields[step], given) as LoginFields[Step];

/**
 * Renders a value as it is stored. Its size is that of compact JSON in UTF-8.
 * @param field the field that it was given in @throws {Refusal} 400 or 413
 */
export function renderWithin(field: string, value: unknown, max: number): string {
  let json: string;
  try {
    json = value instanceof WrittenNumber ? value.text : jsonOf(value);
  } catch (error) {
    if (error instanceof TypeError) throw badRequest(`${field}: ${error.message}`);
    throw error;
  }
  if (Buffer.byteLength(json) > max)
    throw tooLarge(`${field}: give at most ${max} bytes of JSON (TAGWAIT_MAX_VALUE_BYTES)`);
  return safeScript(json);
}
