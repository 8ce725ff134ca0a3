/** Loopback addresses: of settings, Host headers and peers, and the one by which this machine reaches itself. */
import { isIPv6 } from 'node:net';

const IPV4 = String.raw`127(?:\.\d{1,3}){3}`;
/** IPv4 inside IPv6 as sockets write it, ::ffff:127.0.0.1, and as URL parsers do, ::ffff:7f00:1. */
const IPV6 = String.raw`::1|::ffff:(?:${IPV4}|7f[\da-f]{2}:[\da-f]{1,4})`;
const LOOPBACK = new RegExp(String.raw`^(?:${IPV4}|${IPV6}|\[(?:${IPV6})\]|localhost)$`, 'i');

/** @param name a host name or address without a port */
export const isLoopback = (name: string): boolean => LOOPBACK.test(name);

/** A host as sockets take it: an IPv6 address without the brackets of URLs. */
export const withoutBrackets = (host: string): string => host.replace(/^\[|\]$/g, '');

/** The host in a URL by which this machine reaches what listens on an address. @param host without brackets */
export function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  if (host === '::') return '[::1]';
  return isIPv6(host) ? `[${host}]` : host;
}
