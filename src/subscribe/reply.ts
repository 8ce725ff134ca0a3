/** Reads an answer to a poll. */
import { ANSWERS, type Kind } from '../protocol/answers.js';

const KINDS = Object.keys(ANSWERS) as Kind[];

/** An answer in JSON. */
export interface Reply {
  kind: Kind;
  data?: unknown;
  cursor?: string;
  earlier?: unknown[];
  lost?: number;
  final?: boolean;
  /** ms */
  retry?: number;
  detail?: string;
}

/** @returns undefined: it is not an answer of the service to a page */
export function replyOf(text: string): Reply | undefined {
  const { code, ...more } = fieldsOf(text);
  const kind = KINDS.find(name => ANSWERS[name].code === code);
  return kind && { ...more, kind };
}

/** The fields of an answer in JSON; none if it is not an object in JSON. */
export function fieldsOf(text: string): { code?: unknown; message?: unknown; detail?: string } {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}
