/** What a poll is answered: the codes of the protocol, an answer as data, and its text. */
import type { Entry } from '../brokers/broker.js';

/** Each code's message and, for answers in JSON, HTTP status. A script's status is 200: its tag cannot see another. */
export const ANSWERS = {
  success: { code: 0, message: 'success', status: 200 },
  timeout: { code: -1, message: 'timeout', status: 200 },
  expired: { code: -2, message: 'expired', status: 410 },
  busy: { code: -3, message: 'busy', status: 429 },
  badRequest: { code: -4, message: 'bad request', status: 400 },
  forbidden: { code: -5, message: 'forbidden', status: 403 },
  moved: { code: -6, message: 'moved', status: 503 },
  unavailable: { code: -7, message: 'unavailable', status: 503 },
} as const;

export type Kind = keyof typeof ANSWERS;

/** An answer as data, until a transport writes it: as a script, as JSON, as an event or as a message. */
export type Answer =
  /** `entries`: at least one, oldest first; `cursor`: the client's, after them; `lost`: entries that are no longer kept */
  | { kind: 'success'; entries: readonly Entry[]; lost: number; cursor: string }
  /** `cursors`: of a poll of several keys, in its order; then `cursor` says nothing */
  | { kind: 'timeout'; cursor: string; cursors?: readonly string[] }
  | { kind: 'expired' | 'forbidden' }
  /** `detail`: which parameter, and what is allowed; never text of the request */
  | { kind: 'badRequest'; detail: string }
  /** `retry`: milliseconds until the client asks again */
  | { kind: 'busy' | 'moved' | 'unavailable'; retry: number };

/** Characters of values in one answer. V8 makes no text of more than 2^29 of them. */
export const MAX_ANSWER = 64 * 1024 * 1024;

/** The oldest entries, as many as one answer takes: at least one. The page asks again for those after them. */
export function fitting(entries: readonly Entry[]): readonly Entry[] {
  let room = MAX_ANSWER;
  const over = entries.findIndex(({ value }, index) => {
    room -= value.length;
    return room < 0 && index > 0;
  });
  return over < 0 ? entries : entries.slice(0, over);
}

export const EXPIRED: Answer = { kind: 'expired' };
export const FORBIDDEN: Answer = { kind: 'forbidden' };

/**
 * The object of the protocol, as text that is valid JSON and safe in a script.
 * Example: `{"code":-1,"message":"timeout","cursor":"a1-7"}`.
 * @param left seconds until the ticket ends, where there is one: a page needs no clock that agrees
 * @param key of a poll of several keys: the one that the answer is for
 */
export function textOf(answer: Answer, left?: number, key?: string): string {
  const { code, message } = ANSWERS[answer.kind];
  const its = key === undefined ? '' : `,"key":"${key}"`;
  const more = left === undefined || answer.kind === 'expired' ? '' : `,"left":${left}`;
  return `{"code":${code},"message":"${message}"${its}${membersOf(answer)}${more}}`;
}

function membersOf(answer: Answer): string {
  switch (answer.kind) {
    case 'success':
      return valuesOf(answer);
    case 'timeout':
      return answer.cursors ? `,"cursors":${JSON.stringify(answer.cursors)}` : `,"cursor":"${answer.cursor}"`;
    case 'badRequest':
      return `,"detail":${JSON.stringify(answer.detail).replaceAll('<', '\\u003c')}`;
    case 'busy':
    case 'moved':
    case 'unavailable':
      // at least 1: the page's script takes 0 for none, and ends
      return `,"retry":${Math.max(1, Math.round(answer.retry))}`;
    default:
      return '';
  }
}

/** The newest value, with those before it. */
function valuesOf({ entries, lost, cursor }: Extract<Answer, { kind: 'success' }>): string {
  const newest = entries[entries.length - 1] as Entry;
  let more = `,"data":${newest.value},"cursor":"${cursor}"`;
  if (entries.length > 1) more += `,"earlier":[${entries.slice(0, -1).map(entry => entry.value)}]`;
  if (lost > 0) more += `,"lost":${lost}`;
  if (newest.final) more += newest.receipt ? ',"final":true,"receipt":true' : ',"final":true';
  return more;
}
