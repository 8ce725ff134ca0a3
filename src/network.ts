/** The network of a client: which address in X-Forwarded-For counts, and which addresses count as one. */
import { isIPv4, isIPv6 } from 'node:net';
import ipaddr from 'ipaddr.js';

/** Longest address with zone and port, characters. Longer entries are not parsed. */
const MAX_ADDRESS_LENGTH = 80;

/**
 * The client's address in X-Forwarded-For: the one that the outermost trusted proxy saw. Each proxy appends the address
 * of its peer, so the last `proxies` entries can be trusted, and a header sent by the client itself is before them.
 * With fewer entries than proxies the first one counts. Example: with 2 proxies, `fake, 192.0.2.1, 10.0.0.1` gives
 * 192.0.2.1.
 * @returns undefined if the entry is not an address: then the proxy's own address counts
 */
export function clientIn(header: string, proxies: number): string | undefined {
  let end = header.length;
  let comma = header.lastIndexOf(',');
  for (let hop = 1; hop < proxies && comma >= 0; hop++) {
    end = comma;
    comma = header.lastIndexOf(',', comma - 1);
  }
  const entry = header.slice(comma + 1, end).trim();
  if (entry.length > MAX_ADDRESS_LENGTH) return undefined;
  // some proxies add the port: 192.0.2.1:50000, [2001:db8::1]:50000
  const address = /^\[([^\]]+)\](?::\d+)?$/.exec(entry)?.[1] ?? entry.replace(/^([\d.]+):\d+$/, '$1');
  return isIPv4(address) || isIPv6(address) ? address : undefined;
}

/**
 * The network by which an address is counted. IPv4 inside IPv6 (a dual-stack listener, NAT64) counts as IPv4. Examples:
 * `::ffff:192.0.2.1` is 192.0.2.1, `2001:db8::1` is 2001:db8:0:0::/64.
 */
export function network(address: string): string {
  // hot path: an IPv4 address has no colon
  if (!address.includes(':') || !isIPv6(address)) return address;
  const parsed = ipaddr.IPv6.parse(address);
  if (parsed.isIPv4MappedAddress()) return parsed.toIPv4Address().toString();
  const { parts } = parsed;
  if (parsed.range() === 'rfc6052') {
    const [high = 0, low = 0] = parts.slice(6);
    return [high >> 8, high & 255, low >> 8, low & 255].join('.');
  }
  return `${parts
    .slice(0, 4)
    .map(part => part.toString(16))
    .join(':')}::/64`;
}
