/** What a poll is answered: the codes of the protocol, and their texts. */
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

/** An answer ready to be sent: its kind, and its object as text that is JSON and safe script alike. */
export interface Answer {
  kind: Kind;
  text: string;
}

function answer(kind: Kind, more: string): Answer {
  const { code, message } = ANSWERS[kind];
  return { kind, text: `{"code":${code},"message":"${message}"${more}}` };
}

/** The newest value, with those before it. @param entries at least one, oldest first @param cursor the page's, after them */
export function success(entries: readonly Entry[], lost: number, cursor: string): Answer {
  const newest = entries[entries.length - 1] as Entry;
  let more = `,"data":${newest.value},"cursor":"${cursor}"`;
  if (entries.length > 1) more += `,"earlier":[${entries.slice(0, -1).map(entry => entry.value)}]`;
  if (lost > 0) more += `,"lost":${lost}`;
  if (newest.final) more += ',"final":true';
  return answer('success', more);
}

export const timeout = (cursor: string) => answer('timeout', `,"cursor":"${cursor}"`);
export const expired = answer('expired', '');
export const forbidden = answer('forbidden', '');
/** @param detail which parameter, and what is allowed; never text of the request */
export const badRequest = (detail: string) =>
  answer('badRequest', `,"detail":${JSON.stringify(detail).replaceAll('<', '\\u003c')}`);
/** @param retry milliseconds until the page asks again */
export const busy = (retry: number) => answer('busy', `,"retry":${Math.round(retry)}`);
export const moved = (retry: number) => answer('moved', `,"retry":${Math.round(retry)}`);
export const unavailable = (retry: number) => answer('unavailable', `,"retry":${Math.round(retry)}`);
