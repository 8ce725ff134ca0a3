/**
 * The fast path: reads the head of a request without Node's HTTP, when it is written in the one way that every reader
 * takes alike. That is how pages, proxies and backends write it.
 *
 * Node's HTTP keeps a parser, a request, a response and a dozen other objects for each request that is held, and spends
 * more on them than all other code here (bench/README.md has figures). It reads every other request, one at a time:
 * this file says why, and where such a request ends.
 */
import { ASKED_FOR, type AskedFor } from './exchange.js';
import type { Body } from './framing.js';

/**
 * Request line and headers, bytes. Script requests carry all cookies of a parent domain, which browsers let grow to
 * several KiB; more than this is 431. The server keeps no more than this of a head that arrives slowly.
 */
export const HEADER_BYTES = 16 * 1024;

/** Why a request is not on the fast path: a label of the metric, and a word in the debug log. */
export const SLOW_REASONS = [
  /** a GET, HEAD or OPTIONS with a body, or a POST without a length */
  'body',
  /** a body in chunks */
  'chunked',
  /** a `Connection` other than keep-alive or close */
  'connection',
  'expect',
  /** no Host, or an empty one */
  'host',
  /** a body above 64 KiB for the route of the fast path */
  'large_body',
  /** a head above 16 KiB */
  'large_head',
  /** more than 256 headers: refused with 431, since each costs something, and Node's HTTP leaves out those after 2,000 */
  'many_headers',
  /** no HTTP, or two lengths: Node's HTTP refuses most of it */
  'malformed',
  /** other than GET, HEAD, OPTIONS and POST */
  'method',
  /** a byte above ASCII in a header */
  'non_ascii',
  /** a header that matters here, twice */
  'repeated_header',
  /** other than a path in ASCII, such as `*` and absolute URLs */
  'target',
  'upgrade',
  /** HTTP/1.0 */
  'version',
] as const;
export type SlowReason = (typeof SLOW_REASONS)[number];

/** The head of a request. */
export interface Head {
  method: string;
  /** the target as it was sent */
  url: string;
  /** bytes of the head, the empty line included */
  length: number;
  body: Body;
  headers: KnownHeaders;
  /** absent: the request is on the fast path */
  slow?: SlowReason;
}
/** The headers of ASKED_FOR, in its order. */
type KnownHeaders = (string | undefined)[];

/** The part of RFC 9112 that every reader takes alike: single spaces, no folding, no bytes above ASCII, CRLF. */
const HEAD = /^(GET|POST|HEAD|OPTIONS) (\/[!-~]*) HTTP\/1\.1\r\n(?:[\w!#$%&'*+.^`|~-]+:[\t -~]*\r\n)+$/;
/** What may differ without a doubt about where the head ends: method, target, version, and bytes above ASCII. */
const CLEAR =
  /^([A-Z-]+) ([!-~\x80-\xff]+) HTTP\/1\.([01])\r\n(?:[\w!#$%&'*+.^`|~-]+:[\t -~\x80-\xff]*\r\n)*$/;
/** How the head of any request begins. */
const BEGINNING = /^[A-Z-]{1,20}(?: |$)/;
const METHODS: ReadonlySet<string> = new Set(['GET', 'POST', 'HEAD', 'OPTIONS']);
const HEADER_INDEX: ReadonlyMap<string, number> = new Map(ASKED_FOR.map((name, index) => [name, index]));
export const headerOf = (headers: KnownHeaders, name: AskedFor) => headers[HEADER_INDEX.get(name) ?? -1];
/** Headers that change how a request is read, or what happens to its connection. */
const FRAMING_HEADERS: ReadonlyMap<string, SlowReason> = new Map([
  ['expect', 'expect'],
  ['transfer-encoding', 'chunked'],
  ['upgrade', 'upgrade'],
]);
/** The names of both, by length. */
const NAMES_BY_LENGTH: string[][] = [];
for (const name of [...HEADER_INDEX.keys(), ...FRAMING_HEADERS.keys()])
  NAMES_BY_LENGTH[name.length] = [...(NAMES_BY_LENGTH[name.length] ?? []), name];
/** Makes a letter small, and leaves a dash as it is. */
const SMALL = 32;
const BODY_HEADERS = /\r\n(content-length|transfer-encoding):([^\r]*)/gi;
const LENGTH = /^\d{1,9}$/;
/** Headers of one request. Browsers send 20, chains of proxies add 20. */
const MAX_HEADERS = 256;
/** Bytes of the shortest: `a:` and its line end. */
const SHORTEST_HEADER = 4;
const CR = 13;
const LF = 10;

/** Without the empty lines in front of a request, which RFC 9112 §2.2 has a server ignore. */
export function skipEmptyLines(bytes: Buffer): Buffer {
  let start = 0;
  while (bytes[start] === CR || bytes[start] === LF) start++;
  return start === 0 ? bytes : bytes.subarray(start);
}

/**
 * Reads a head.
 * @param bytes from the start of a request; what follows its head is not looked at
 * @param seen how many of them were in the last call that returned undefined
 * @returns undefined while the head is not whole
 */
export function readHead(bytes: Buffer, seen = 0): Head | undefined {
  const end = bytes.indexOf('\r\n\r\n', Math.max(0, seen - 3), 'latin1');
  if (end > HEADER_BYTES) return unclear('large_head');
  if (end < 0) return readPart(bytes, seen);
  if (end > MAX_HEADERS * SHORTEST_HEADER && linesOf(bytes, end) > MAX_HEADERS)
    return unclear('many_headers');
  const text = bytes.toString('latin1', 0, end + 2);
  const [, method, target] = HEAD.exec(text) ?? [];
  if (method === undefined || target === undefined) return readOther(text);
  const headers: KnownHeaders = new Array(ASKED_FOR.length);
  const slow = readHeaders(text, headers);
  if (slow) return readOther(text, slow);
  const given = headerOf(headers, 'content-length');
  const length = given === undefined ? 0 : LENGTH.test(given) ? Number(given) : -1;
  if (!headerOf(headers, 'host')) return readOther(text, 'host');
  if (method === 'POST' ? given === undefined || length < 0 : length !== 0) return readOther(text, 'body');
  return {
    method,
    // a copy: a key is part of it, and would keep the whole head in memory
    url: bytes.toString('latin1', method.length + 1, method.length + 1 + target.length),
    length: end + 4,
    body: length,
    headers,
  };
}

/** Line ends in the first bytes: as many as there are headers, when the last line's is not counted. */
function linesOf(bytes: Buffer, end: number): number {
  let lines = 0;
  for (let at = 0; at < end; at++) if (bytes[at] === LF) lines++;
  return lines;
}

/** A head that is not whole. @returns undefined when it may become one */
function readPart(bytes: Buffer, seen: number): Head | undefined {
  if (bytes.length > HEADER_BYTES) return unclear('large_head');
  if (!BEGINNING.test(bytes.toString('latin1', 0, 21))) return unclear('malformed');
  // Node's HTTP refuses a CR or LF of its own at once
  for (let at = bytes.indexOf(LF, seen); at >= 0; at = bytes.indexOf(LF, at + 1))
    if (bytes[at - 1] !== CR) return unclear('malformed');
  for (let at = bytes.indexOf(CR, Math.max(0, seen - 1)); at >= 0; at = bytes.indexOf(CR, at + 1))
    if ((bytes[at + 1] ?? LF) !== LF) return unclear('malformed');
  return undefined;
}

/** @returns why the request is not on the fast path @param headers are filled in */
function readHeaders(text: string, headers: KnownHeaders): SlowReason | undefined {
  let end = text.indexOf('\r\n');
  for (let start = end + 2; start < text.length; start = end + 2) {
    end = text.indexOf('\r\n', start);
    const colon = text.indexOf(':', start);
    const name = knownName(text, start, colon);
    if (name === undefined) continue;
    const framing = FRAMING_HEADERS.get(name);
    if (framing) return framing;
    const index = HEADER_INDEX.get(name);
    if (index === undefined) continue;
    if (headers[index] !== undefined) return 'repeated_header';
    headers[index] = text.slice(colon + 1, end).trim();
  }
  const connection = headerOf(headers, 'connection')?.toLowerCase() ?? 'keep-alive';
  return connection === 'keep-alive' || connection === 'close' ? undefined : 'connection';
}

/** A header's name if anything is decided by it. Makes no string: a head may have thousands that nothing is decided by. */
function knownName(text: string, start: number, end: number): string | undefined {
  const names = NAMES_BY_LENGTH[end - start];
  if (!names) return undefined;
  for (const name of names) {
    let at = 0;
    while (at < name.length && (text.charCodeAt(start + at) | SMALL) === name.charCodeAt(at)) at++;
    if (at === name.length) return name;
  }
  return undefined;
}

/** A head for Node's HTTP. @param text it, without the empty line */
function readOther(text: string, known?: SlowReason): Head {
  const [, method, url, minor] = CLEAR.exec(text) ?? [];
  if (method === undefined || url === undefined) return unclear('malformed');
  const slow = known ?? reasonOf(text, method, url, minor);
  return { method, url, length: text.length + 2, body: bodyOf(text, minor), headers: [], slow };
}

function reasonOf(text: string, method: string, url: string, minor: string | undefined): SlowReason {
  if (minor === '0') return 'version';
  if (!METHODS.has(method)) return 'method';
  if (!/^\/[!-~]*$/.test(url)) return 'target';
  return text.indexOf('\r\n') === text.length - 2 ? 'host' : 'non_ascii';
}

/** Where the body ends, if there is no doubt about it. */
function bodyOf(text: string, minor: string | undefined): Body {
  const [first, second] = text.matchAll(BODY_HEADERS);
  if (!first) return 0;
  const [, name = '', given = ''] = first;
  const value = given.trim();
  if (second) return 'unclear';
  if (name.toLowerCase() === 'content-length') return LENGTH.test(value) ? Number(value) : 'unclear';
  return value.toLowerCase() === 'chunked' && minor === '1' ? 'chunked' : 'unclear';
}

/** What no head could be read from: all that follows is Node's, and the connection ends with its answer. */
const unclear = (slow: SlowReason): Head => ({
  method: '',
  url: '',
  length: 0,
  body: 'unclear',
  headers: [],
  slow,
});
