/** Responses as text. */
import { STATUS_CODES } from 'node:http';
import type { Fields } from './exchange.js';

/** To a client that is too slow with its request; as Node's HTTP writes it. */
export const TIMED_OUT = 'HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n';
/** To a request with too many headers. */
export const TOO_MANY_HEADERS = 'HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n\r\n';

/** To a client that sends its body in tiny chunks. */
export const TOO_FINE = 'HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n';

/**
 * @param keepAlive seconds to advertise; undefined: the connection is closed @param text ASCII
 * @param bodiless it answers HEAD: only the length of the text is given
 */
export function responseOf(
  status: number,
  { lines }: Fields,
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
/** Now, as RFC 9110 §5.6.7 has it: made once a second. */
function date(): string {
  const now = Math.floor(Date.now() / 1000);
  if (now !== second) {
    second = now;
    text = new Date(now * 1000).toUTCString();
  }
  return text;
}
