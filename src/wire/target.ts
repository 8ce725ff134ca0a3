/** Normalizes and checks the target and Host of requests that Node's HTTP server has read (RFC 9112 §3.2). */
import type { IncomingMessage } from 'node:http';

/** Longest target except for polls, bytes: a router takes some µs per 100 bytes. Polls have their own limit. */
const TARGET_BYTES = 4096;

/** An absolute URL: its authority, and its path with the query. */
const ABSOLUTE = /^https?:\/\/([^/?#]+)(.*)$/i;
/** A path with an optional query, or the `*` of OPTIONS; no fragment. */
const PATH = /^(?:\/[^#]*|\*)$/;

/** Why a request is refused before routing. */
export interface Malformed {
  status: 400 | 414;
  /** what is allowed */
  detail: string;
}

const TOO_LONG: Malformed = { status: 414, detail: `the target: give at most ${TARGET_BYTES} bytes` };
const NO_PATH: Malformed = { status: 400, detail: 'the target: give a path that begins with /, without a #' };
const HOSTS: Malformed = { status: 400, detail: 'Host: give it once' };

/** Replaces an absolute URL by its path, and Host by the URL's host. */
export function toOriginForm(request: IncomingMessage): void {
  const url = request.url as string;
  if (url.startsWith('/')) return;
  const found = ABSOLUTE.exec(url);
  if (!found) return;
  const [host, path] = found.slice(1) as [string, string];
  request.headers.host = host;
  request.url = path.startsWith('/') ? path : `/${path}`;
}

/** Checks target and Host. @returns undefined if both are valid */
export function malformed(request: IncomingMessage): Malformed | undefined {
  const url = request.url as string;
  if (url.length > TARGET_BYTES) return TOO_LONG;
  if (!PATH.test(url)) return NO_PATH;
  return hasTwoHosts(request.rawHeaders) ? HOSTS : undefined;
}

/**
 * Whether there are several Host headers; Node's HTTP server keeps the first. @param headers name, value, name, value …
 */
export function hasTwoHosts(headers: readonly string[]): boolean {
  let hosts = 0;
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] as string;
    if (name.length === 4 && name.toLowerCase() === 'host') hosts++;
  }
  return hosts > 1;
}
