/**
 * Refuses requests that browsers send to the internal port for pages of other sites (CSRF and DNS rebinding). A page
 * can make its visitor's browser send requests to any address that the visitor can reach, including loopback: forms and
 * `no-cors` requests need no permission, and a DNS name that resolves to 127.0.0.1 makes the port the page's own
 * origin.
 */
import type { Middleware } from 'koa';
import { isLoopback } from '../loopback.js';
import { type Exchange, HeaderBlock } from '../wire/exchange.js';
import { HttpExchange } from '../wire/http.js';

/** Sec-Fetch-Site of requests by the user or by a page of the same origin. */
const OWN_SITES = ['same-origin', 'none'];

/** @returns true if the request was refused, and answered */
export type Guard = (exchange: Exchange) => boolean;

/**
 * @param tokens whether backends need a token. Without tokens, only requests from this machine to a loopback name are
 * allowed.
 */
export function guardOf(tokens: boolean): Guard {
  return exchange => {
    const detail = otherSite(exchange) ?? (tokens ? undefined : otherMachine(exchange));
    if (detail === undefined) return false;
    exchange.send(403, FIELDS, JSON.stringify({ code: 403, message: 'forbidden', detail }));
    return true;
  };
}

/** Headers of an answer to a backend. */
export const BACKEND_HEADERS = {
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
  'Content-Type': 'application/json; charset=utf-8',
};
const FIELDS = new HeaderBlock(BACKEND_HEADERS);

function otherSite(exchange: Exchange): string | undefined {
  const site = exchange.header('sec-fetch-site') ?? 'none';
  if (!OWN_SITES.includes(site))
    return 'Sec-Fetch-Site: the internal port is for backends, not for pages of other sites';
  const origin = exchange.header('origin');
  if (origin !== undefined && !isOf(origin, exchange.header('host') ?? ''))
    return 'Origin: the internal port is for backends, not for pages of other origins';
  return undefined;
}

/** Whether an origin has this host and port. @param host as in the Host header */
function isOf(origin: string, host: string): boolean {
  if (!URL.canParse(origin)) return false;
  const { protocol, host: own } = new URL(origin);
  const asked = `${protocol}//${host}`;
  return own !== '' && URL.canParse(asked) && new URL(asked).host === own;
}

function otherMachine(exchange: Exchange): string | undefined {
  if (!isLoopback(exchange.address))
    return 'address: without TAGWAIT_SET_TOKENS only this machine may ask; set them';
  // HTTP/1.0 requests, which no browser sends, may have none
  const host = exchange.header('host');
  if (host !== undefined && !isLoopback(host.replace(/:\d*$/, '')))
    return 'Host: without TAGWAIT_SET_TOKENS give 127.0.0.1, [::1] or localhost';
  return undefined;
}

/** The guard as a Koa middleware. */
export const guarded =
  (guard: Guard): Middleware =>
  (ctx, next) => {
    if (!guard(new HttpExchange(ctx.req, ctx.res))) return next();
    ctx.respond = false;
    return undefined;
  };
