/**
 * Checks what a broker of the app's returns and reports. Its types were checked by a compiler at best, and the texts
 * become parts of scripts and answers. Each check returns a copy, and throws a TypeError that names what is wrong.
 */
import { POSITION } from '../protocol/cursor.js';
import { render } from '../protocol/jsonp.js';
import type { Backlog, Entry, NodeInfo, Peek, Receipt, StoreStatus } from './broker.js';

type Fields = Record<string, unknown>;

const kindOf = (given: unknown) => (given === null ? 'null' : typeof given);

function fieldsOf(given: unknown, what: string): Fields {
  if (typeof given !== 'object' || given === null)
    throw new TypeError(`${what}: give an object, not ${kindOf(given)}`);
  return given as Fields;
}

function check<T>(given: unknown, is: (given: unknown) => given is T, what: string, form: string): T {
  if (is(given)) return given;
  throw new TypeError(`${what}: give ${form}`);
}

const isPosition = (given: unknown): given is string => typeof given === 'string' && POSITION.test(given);
const isText = (given: unknown): given is string => typeof given === 'string';
const isNumber = (given: unknown): given is number => Number.isFinite(given);
const isBoolean = (given: unknown): given is boolean => typeof given === 'boolean';
const isList = (given: unknown): given is unknown[] => Array.isArray(given);

/** A key, or the name or the address of a poll. */
export const textOf = (given: unknown, what: string): string => check(given, isText, what, 'a text');
export const positionOf = (given: unknown, what: string): string =>
  check(given, isPosition, what, 'a position such as "k3-2"');
const newestOf = (given: unknown, what: string) => (given === '' ? '' : positionOf(given, what));
const numberOf = (given: unknown, what: string) => check(given, isNumber, what, 'a number');
const flagOf = (given: unknown, what: string) => check(given, isBoolean, what, 'true or false');
const listOf = (given: unknown, what: string) => check(given, isList, what, 'an array');
/** @param otherwise if it was left out */
const flagOr = (given: unknown, what: string, otherwise: boolean) =>
  given === undefined ? otherwise : flagOf(given, what);

/** A value as it may stand in a script. The error does not contain the value, which may be a secret. */
function jsonTextOf(given: unknown): string {
  try {
    return render(JSON.parse(isText(given) ? given : ''));
  } catch {
    throw new TypeError('value: give the JSON text that was set');
  }
}

export function entryOf(given: unknown): Entry {
  const { value, cursor, prev, final, receipt, at } = fieldsOf(given, 'an entry');
  return {
    value: jsonTextOf(value),
    cursor: positionOf(cursor, 'cursor of an entry'),
    prev: newestOf(prev, 'prev of an entry'),
    final: flagOr(final, 'final of an entry', false),
    ...(receipt !== undefined && { receipt: flagOf(receipt, 'receipt of an entry') }),
    ...(at !== undefined && { at: numberOf(at, 'at of an entry') }),
  };
}

export function receiptOf(given: unknown): Receipt {
  const { cursor, watched, repeated, received } = fieldsOf(given, 'the receipt');
  return {
    cursor: positionOf(cursor, 'cursor'),
    watched: flagOf(watched, 'watched'),
    ...(flagOr(repeated, 'repeated', false) && { repeated: true }),
    ...(received !== undefined && { received: flagOf(received, 'received') }),
  };
}

export function backlogOf(given: unknown): Backlog {
  const { entries, lost = 0, cursor, final, wanted } = fieldsOf(given, 'the backlog');
  return {
    entries: listOf(entries, 'entries').map(entryOf),
    lost: numberOf(lost, 'lost'),
    cursor: newestOf(cursor, 'cursor'),
    final: flagOr(final, 'final', false),
    ...(wanted !== undefined && {
      wanted: listOf(wanted, 'wanted').map(position => positionOf(position, 'wanted')),
    }),
  };
}

export function peekOf(given: unknown): Peek {
  const { entries, cursor, final, ttl, waiters = {} } = fieldsOf(given, 'what peek returns');
  const held = Object.entries(fieldsOf(waiters, 'waiters'));
  return {
    entries: listOf(entries, 'entries').map(one => {
      const entry = fieldsOf(one, 'an entry');
      return { value: jsonTextOf(entry.value), cursor: positionOf(entry.cursor, 'cursor of an entry') };
    }),
    cursor: newestOf(cursor, 'cursor'),
    final: flagOr(final, 'final', false),
    ttl: numberOf(ttl, 'ttl'),
    waiters: Object.fromEntries(held.map(([node, number]) => [node, numberOf(number, 'waiters')])),
  };
}

export const nodesOf = (given: unknown): NodeInfo[] =>
  listOf(given, 'the nodes').map(one => {
    const { id, held, version, uptime } = fieldsOf(one, 'a node');
    return {
      id: textOf(id, 'id of a node'),
      held: numberOf(held, 'held of a node'),
      version: textOf(version, 'version of a node'),
      uptime: numberOf(uptime, 'uptime of a node'),
    };
  });

export const keysOf = (given: unknown): string[] =>
  listOf(given, 'the keys').map(key => textOf(key, 'a key'));

export function statusOf(given: unknown): StoreStatus {
  const { up, cause, reconnects = 0 } = fieldsOf(given, 'the status');
  return {
    up: flagOf(up, 'up'),
    cause: cause === undefined || cause === null ? undefined : lineOf(cause),
    reconnects: numberOf(reconnects, 'reconnects'),
  };
}

/** An error, or anything that was thrown instead, in one line. */
export function lineOf(error: unknown): string {
  if (typeof error === 'string') return error.split('\n', 1)[0] as string;
  if (typeof error !== 'object' || error === null) return `${kindOf(error)} instead of an error`;
  const { message, code } = error as NodeJS.ErrnoException;
  // an error of several addresses has no message
  const text =
    isText(message) && message !== '' ? message : isText(code) ? code : 'an error without a message';
  return text.split('\n', 1)[0] as string;
}
