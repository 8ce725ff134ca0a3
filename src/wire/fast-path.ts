/**
 * The fast path: parses the head of a request without Node's HTTP server, if its form is one that all servers read in
 * the same way. Browsers, proxies and backends send that form.
 *
 * Node's HTTP server keeps a parser, a request, a response and a dozen other objects for each held request, which cost
 * more than all other code here (bench/README.md has figures). It reads all other requests, one at a time: this file
 * decides which, and where they end.
 */
import { KNOWN_HEADERS, type KnownHeader } from './exchange.js';
import type { Body } from './framing.js';

/**
 * Limit of request line and headers, bytes; more is answered with 431. Script requests contain all cookies of a parent
 * domain, up to several KiB. Also the limit of what is buffered of an incomplete head.
 */
export const HEADER_BYTES = 16 * 1024;

/** Why a request is not on the fast path, for the metric's label and the debug log. */
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
  /** more than 256 headers: refused with 431, because each costs time and Node's HTTP server drops those after 2,000 */
  'many_headers',
  /** no HTTP, or two lengths: Node's HTTP server refuses most of these */
  'malformed',
  /** other than GET, HEAD, OPTIONS and POST */
  'method',
  /** a byte above ASCII in a header */
  'non_ascii',
  /** a header that tagwait reads, twice */
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
  /** the request target as it was sent */
  url: string;
  /** bytes of the head, with the empty line */
  length: number;
  body: Body;
  headers: KnownHeaders;
  /** absent: the request is on the fast path */
  slow?: SlowReason;
}
/** Values of the headers of KNOWN_HEADERS, in the same order. */
type KnownHeaders = (string | undefined)[];

/** The part of RFC 9112 that all servers read in the same way: single spaces, no folding, ASCII only, CRLF. */
const HEAD = /^(GET|POST|HEAD|OPTIONS) (\/[!-~]*) HTTP\/1\.1\r\n(?:[\w!#$%&'*+.^`|~-]+:[\t -~]*\r\n)+$/;
/** A wider form whose end is also clear: any method, target, version, and bytes above ASCII. */
const CLEAR =
  /^([A-Z-]+) ([!-~\x80-\xff]+) HTTP\/1\.([01])\r\n(?:[\w!#$%&'*+.^`|~-]+:[\t -~\x80-\xff]*\r\n)*$/;
/** How the head of any request begins. */
const BEGINNING = /^[A-Z-]{1,20}(?: |$)/;
const METHODS: ReadonlySet<string> = new Set(['GET', 'POST', 'HEAD', 'OPTIONS']);
const HEADER_INDEX: ReadonlyMap<string, number> = new Map(KNOWN_HEADERS.map((name, index) => [name, index]));
export const headerOf = (headers: KnownHeaders, name: KnownHeader) =>
  headers[HEADER_INDEX.get(name) as number];
/**
 * Headers that change how a request is read, or what happens to its connection: such a request is not on the fast path.
 */
const FRAMING_HEADERS: ReadonlyMap<string, SlowReason> = new Map([
  ['expect', 'expect'],
  ['transfer-encoding', 'chunked'],
  ['upgrade', 'upgrade'],
]);
/** The names of both kinds, by length. */
const NAMES_BY_LENGTH: string[][] = [];
for (const name of [...HEADER_INDEX.keys(), ...FRAMING_HEADERS.keys()])
  NAMES_BY_LENGTH[name.length] = [...(NAMES_BY_LENGTH[name.length] ?? []), name];
/** Bit that makes an ASCII letter lower case, and does not change a dash. */
const SMALL = 32;
const BODY_HEADERS = /\r\n(content-length|transfer-encoding):([^\r]*)/gi;
/** At most 15 digits: an exact number. */
const LENGTH = /^\d{1,15}$/;
/** Limit of headers. Browsers send 20, chains of proxies add 20. */
const MAX_HEADERS = 256;
/** Length of the shortest header, bytes: `a:` and CRLF. */
const SHORTEST_HEADER = 4;
const CR = 13;
const LF = 10;

/** Removes empty lines before a request (RFC 9112 §2.2). */
export function skipEmptyLines(bytes: Buffer): Buffer {
  let start = 0;
  while (bytes[start] === CR || bytes[start] === LF) start++;
  return start === 0 ? bytes : bytes.subarray(start);
}

/**
 * Parses a head.
 * @param bytes from the start of a request; those after its head are ignored
 * @param seen number of them that were in the last call, which returned undefined
 * @returns undefined: the head is not complete
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
  const headers: KnownHeaders = new Array(KNOWN_HEADERS.length);
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

/** Number of line ends before `end`: the number of headers, because the last line's end is not included. */
function linesOf(bytes: Buffer, end: number): number {
  let lines = 0;
  for (let at = 0; at < end; at++) if (bytes[at] === LF) lines++;
  return lines;
}

/** Checks an incomplete head. @returns undefined: it may become a valid one */
function readPart(bytes: Buffer, seen: number): Head | undefined {
  if (bytes.length > HEADER_BYTES) return unclear('large_head');
  if (!BEGINNING.test(bytes.toString('latin1', 0, 21))) return unclear('malformed');
  // Node's HTTP server refuses a single CR or LF at once
  for (let at = bytes.indexOf(LF, seen); at >= 0; at = bytes.indexOf(LF, at + 1))
    if (bytes[at - 1] !== CR) return unclear('malformed');
  for (let at = bytes.indexOf(CR, Math.max(0, seen - 1)); at >= 0; at = bytes.indexOf(CR, at + 1))
    if ((bytes[at + 1] ?? LF) !== LF) return unclear('malformed');
  return undefined;
}

/** Parses the headers. @param headers receives the values @returns why the request is not on the fast path */
function readHeaders(text: string, headers: KnownHeaders): SlowReason | undefined {
  let end = text.indexOf('\r\n');
  for (let start = end + 2; start < text.length; start = end + 2) {
    end = text.indexOf('\r\n', start);
    const colon = text.indexOf(':', start);
    const name = knownName(text, start, colon);
    if (name === undefined) continue;
    const framing = FRAMING_HEADERS.get(name);
    if (framing) return framing;
    const index = HEADER_INDEX.get(name) as number;
    if (headers[index] !== undefined) return 'repeated_header';
    headers[index] = text.slice(colon + 1, end).trim();
  }
  const connection = headerOf(headers, 'connection')?.toLowerCase() ?? 'keep-alive';
  return connection === 'keep-alive' || connection === 'close' ? undefined : 'connection';
}

/** The name of a header that tagwait reads. Allocates no string: a head may have hundreds of other headers. */
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

/** A head for Node's HTTP server. @param text the head without the empty line */
function readOther(text: string, known?: SlowReason): Head {
  const found = CLEAR.exec(text);
  if (!found) return unclear('malformed');
  const [method, url, minor] = found.slice(1) as [string, string, string];
  const slow = known ?? reasonOf(text, method, url, minor);
  return { method, url, length: text.length + 2, body: bodyOf(text, minor), headers: [], slow };
}

function reasonOf(text: string, method: string, url: string, minor: string): SlowReason {
  if (minor === '0') return 'version';
  if (!METHODS.has(method)) return 'method';
  if (!/^\/[!-~]*$/.test(url)) return 'target';
  return text.indexOf('\r\n') === text.length - 2 ? 'host' : 'non_ascii';
}

/** The length of the body, as far as it is clear. */
function bodyOf(text: string, minor: string): Body {
  const [first, second] = text.matchAll(BODY_HEADERS);
  if (!first) return 0;
  const [name, given] = first.slice(1) as [string, string];
  const value = given.trim();
  if (second) return 'unclear';
  if (name.toLowerCase() === 'content-length') return LENGTH.test(value) ? Number(value) : 'unclear';
  return value.toLowerCase() === 'chunked' && minor === '1' ? 'chunked' : 'unclear';
}

/** No valid head: Node's HTTP server says what is wrong with it; one that it accepts is refused. */
const unclear = (slow: SlowReason): Head => ({
  method: '',
  url: '',
  length: 0,
  body: 'unclear',
  headers: [],
  slow,
});
