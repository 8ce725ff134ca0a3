/**
 * Plain requests, read here: a GET or POST that came whole, in the one way of writing it that nobody reads otherwise.
 *
 * That is what pages and backends send, and all of it is in memory as one piece already. Node's HTTP keeps a parser, a
 * request, a response and a dozen other objects for each one that is held, and spends more on them than all else here
 * (bench/README.md has figures). Whatever is not plain is Node's to read, with its rules and time-outs.
 */
import { ASKED_FOR, type AskedFor } from './exchange.js';

/**
 * Request line and headers, bytes. Script requests bring all cookies of a parent domain along, which browsers let grow
 * to several KiB; more than this is 431. Slow senders make the server keep no more than this each.
 */
export const HEADER_BYTES = 16 * 1024;

export interface Plain {
  method: 'GET' | 'POST';
  url: string;
  fields: Asked;
  body: Buffer;
}
/** What a request says of each that is in ASKED_FOR, in its order. */
type Asked = (string | undefined)[];

/** Of RFC 9112 only what every reader takes alike: no spaces but one, no folding, no bytes above ASCII, CRLF. */
const HEAD = /^(GET|POST) (\/[!-~]*) HTTP\/1\.1\r\n(?:[\w!#$%&'*+.^`|~-]+:[\t -~]*\r\n)+$/;
const PLACES: ReadonlyMap<string, number> = new Map(ASKED_FOR.map((name, place) => [name, place]));
export const fieldOf = (fields: Asked, name: AskedFor) => fields[PLACES.get(name) ?? -1];
/** Fields that change how a request is read, or what is to become of its connection. */
const CHANGING: ReadonlySet<string> = new Set(['expect', 'transfer-encoding', 'upgrade']);
const LENGTH = /^\d{1,9}$/;

/** @returns undefined when it is not exactly one plain request */
export function readPlain(bytes: Buffer): Plain | undefined {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0 || end > HEADER_BYTES) return undefined;
  const head = bytes.toString('latin1', 0, end + 2);
  const [, method, target] = HEAD.exec(head) ?? [];
  if (method === undefined || target === undefined) return undefined;
  const fields = fieldsOf(head);
  if (!fields || !fieldOf(fields, 'host')) return undefined;
  const length = fieldOf(fields, 'content-length');
  if (method === 'POST' ? length === undefined || !LENGTH.test(length) : length !== undefined)
    return undefined;
  if (bytes.length !== end + 4 + Number(length ?? 0)) return undefined;
  return {
    method: method as Plain['method'],
    // a copy: a key is part of it, and would keep the whole head in memory
    url: bytes.toString('latin1', method.length + 1, method.length + 1 + target.length),
    fields,
    body: bytes.subarray(end + 4),
  };
}

/** Those of a head that are asked for. @returns undefined when one came twice or makes the request another than a plain one */
function fieldsOf(head: string): Asked | undefined {
  const fields: Asked = new Array(ASKED_FOR.length);
  let end = head.indexOf('\r\n');
  for (let start = end + 2; start < head.length; start = end + 2) {
    end = head.indexOf('\r\n', start);
    const colon = head.indexOf(':', start);
    const name = head.slice(start, colon).toLowerCase();
    if (CHANGING.has(name)) return undefined;
    const place = PLACES.get(name);
    if (place === undefined) continue;
    if (fields[place] !== undefined) return undefined;
    fields[place] = head.slice(colon + 1, end).trim();
  }
  const connection = fieldOf(fields, 'connection')?.toLowerCase() ?? 'keep-alive';
  return connection === 'keep-alive' || connection === 'close' ? fields : undefined;
}
