/**
 * Keeps browsers of other sites off the internal port. A web page can make its visitor's browser send requests to any
 * address that the visitor reaches, loopback included: forms and `no-cors` requests need no permission, and a DNS name
 * that is pointed at 127.0.0.1 makes the port a page's own origin.
 */
import type { Middleware } from 'koa';
import { isLoopback } from '../loopback.js';
import { type Exchange, Fields } from '../wire/exchange.js';
import { HttpExchange } from '../wire/http.js';

/** What browsers say of a request that the user made, or a page of the same origin. */
const OWN_SITES = ['same-origin', 'none'];

/** Answers the requests that it refuses. @returns whether it did */
export type Guard = (exchange: Exchange) => boolean;

/** @param tokens whether the port asks for tokens: without them, only this machine may ask, under a loopback name */
export function guardOf(tokens: boolean): Guard {
  return exchange => {
    const detail = otherSite(exchange) ?? (tokens ? undefined : otherMachine(exchange));
    if (detail === undefined) return false;
    exchange.send(403, FIELDS, JSON.stringify({ code: 403, message: 'forbidden', detail }));
    return true;
  };
}

const FIELDS = new Fields({
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
  'Content-Type': 'application/json; charset=utf-8',
});

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
  // HTTP/1.0 has none, and no browser speaks it
  const host = exchange.header('host');
  if (host !== undefined && !isLoopback(host.replace(/:\d*$/, '')))
    return 'Host: without TAGWAIT_SET_TOKENS give 127.0.0.1, [::1] or localhost';
  return undefined;
}

/** The guard in front of routes of Koa. */
export const guarded =
  (guard: Guard): Middleware =>
  (ctx, next) => {
    if (!guard(new HttpExchange(ctx.req, ctx.res))) return next();
    ctx.respond = false;
    return undefined;
  };
