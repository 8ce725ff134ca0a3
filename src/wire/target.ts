/** The target and the Host of a request that Node's HTTP has read (RFC 9112 §3.2): one form of both for all routes. */
import type { IncomingMessage } from 'node:http';

/** Bytes of a target that is no poll's: routers take some µs for each hundred. A poll's has a limit of its own. */
export const TARGET_BYTES = 4096;

/** An absolute URL: its authority, and its path with the query. */
const ABSOLUTE = /^https?:\/\/([^/?#]+)([^#]*)$/i;
/** A path with a query, or the `*` of OPTIONS. What has a fragment is none. */
const PATH = /^(?:\/[^#]*|\*)$/;

/** A request that is refused before any route sees it. */
export interface Malformed {
  status: 400 | 414;
  /** what is allowed */
  detail: string;
}

const TOO_LONG: Malformed = { status: 414, detail: `the target: give at most ${TARGET_BYTES} bytes` };
const NO_PATH: Malformed = { status: 400, detail: 'the target: give a path that begins with /, without a #' };
const HOSTS: Malformed = { status: 400, detail: 'Host: give it once' };

/** Gives a request with an absolute URL the path as its target, and the URL's host in place of the Host field. */
export function toOriginForm(request: IncomingMessage): void {
  const { url = '' } = request;
  if (url.startsWith('/')) return;
  const [, host, path = ''] = ABSOLUTE.exec(url) ?? [];
  if (host === undefined) return;
  request.headers.host = host;
  request.url = path.startsWith('/') ? path : `/${path}`;
}

/** @returns what is wrong with the target or the Host field; undefined: nothing */
export function malformed({ url = '', rawHeaders }: IncomingMessage): Malformed | undefined {
  if (url.length > TARGET_BYTES) return TOO_LONG;
  if (!PATH.test(url)) return NO_PATH;
  return hasTwoHosts(rawHeaders) ? HOSTS : undefined;
}

/** Node's HTTP keeps the first of several. @param headers name, value, name, value … */
export function hasTwoHosts(headers: readonly string[]): boolean {
  let hosts = 0;
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] as string;
    if (name.length === 4 && name.toLowerCase() === 'host') hosts++;
  }
  return hosts > 1;
}
