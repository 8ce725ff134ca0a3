/** Formats responses. */
import { STATUS_CODES } from 'node:http';
import { HeaderBlock } from './exchange.js';

/** For a client that is too slow with its request; the same text as Node's HTTP server. */
export const TIMED_OUT = 'HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n';
/** For a head that is too large, or has too many headers. */
export const TOO_LARGE = 'HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n\r\n';

const UNREADABLE =
  'the request: give a head as in RFC 9112, and a body with one Content-Length, or with Transfer-Encoding: chunked and no tiny chunks\n';
/** Headers of the answer to a request that servers may read in different ways. */
const REFUSED = new HeaderBlock({
  'Content-Type': 'text/plain; charset=utf-8',
  'X-Content-Type-Options': 'nosniff',
  'Cache-Control': 'no-store',
});

/** Such an answer. @param bodiless true for HEAD */
export const refusal = (bodiless: boolean): string =>
  responseOf(400, REFUSED, UNREADABLE, undefined, bodiless);

/**
 * @param text ASCII
 * @param keepAlive timeout to advertise, s; undefined: `Connection: close`
 * @param bodiless true for HEAD: sends only the length of the text
 */
export function responseOf(
  status: number,
  { lines }: HeaderBlock,
  text: string,
  keepAlive: number | undefined,
  bodiless: boolean,
): string {
  const after =
    keepAlive === undefined
      ? 'Connection: close'
      : `Connection: keep-alive\r\nKeep-Alive: timeout=${keepAlive}`;
  return `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines}Content-Length: ${text.length}\r\nDate: ${date()}\r\n${after}\r\n\r\n${bodiless ? '' : text}`;
}

let second = 0;
let text = '';
/** The Date header (RFC 9110 §5.6.7), formatted once per second. */
function date(): string {
  const now = Math.floor(Date.now() / 1000);
  if (now !== second) {
    second = now;
    text = new Date(now * 1000).toUTCString();
  }
  return text;
}
