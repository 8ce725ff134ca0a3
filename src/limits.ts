/**
 * How much a page, an address and everyone together may ask for. Counters in Maps and nothing else: a poll costs
 * 0.15 µs here, a limiter with a promise per poll (rate-limiter-flexible 11, measured) 1.0 to 1.4 µs.
 */
import { readFileSync } from 'node:fs';
import { isIPv4, isIPv6 } from 'node:net';
import { getHeapStatistics } from 'node:v8';
import ipaddr from 'ipaddr.js';

/** Which limit was reached: this node's, a key's, an address's. */
export const LIMITS = ['held', 'held_per_key', 'held_per_ip', 'polls_per_ip', 'connections_per_ip'] as const;
export type Limit = (typeof LIMITS)[number];

export interface LimitOptions {
  /** requests held by this node; as all that follow, 0 is no limit; undefined: what `budget` allows */
  maxHeld?: number | undefined;
  maxHeldPerKey: number;
  maxHeldPerIp: number;
  /** a second */
  maxPollsPerIp: number;
  /** proxies in front whose X-Forwarded-For is believed */
  trustProxy: number;
}

/** Descriptors kept for what is not a socket of either port: the log, Redis, Node's own. A node at rest has 25 open. */
const OWN = 48;
/** Of the rest, one in so many is the internal port's, at most `INTERNAL_MOST`, and one in so many is not held. */
const INTERNAL_SHARE = 8;
const INTERNAL_MOST = 256;
const ANSWERED_SHARE = 20;
/** Heap to keep for each, more than one takes: a node that runs out of heap takes all its pages along. */
const BYTES_PER_HELD = 16 * 1024;

export interface Budget {
  /** what the process may have open; undefined: the system does not say, or sets no limit */
  openFiles: number | undefined;
  /** sockets of the public port: at this limit further ones are closed at once */
  connections: number;
  /** fewer than `connections`: who is not held can still be answered `busy` */
  held: number;
  /** sockets of the internal port, for which descriptors stay free whatever happens on the public one */
  internal: number;
}

/** How an open-file limit is shared out, so that accepting a connection never fails for want of a descriptor. */
export function budget(openFiles = openFileLimit(), heap = getHeapStatistics().heap_size_limit): Budget {
  const byMemory = Math.floor(heap / BYTES_PER_HELD);
  const free = Math.max(4, (openFiles ?? Number.POSITIVE_INFINITY) - OWN);
  const internal = Math.max(1, Math.min(INTERNAL_MOST, Math.floor(free / INTERNAL_SHARE)));
  const connections = Math.min(free - internal, byMemory);
  return {
    openFiles,
    connections,
    held: connections - Math.ceil(connections / ANSWERED_SHARE),
    internal,
  };
}

/** The soft limit: Node raises it to the hard one at start. The report knows it where there is no /proc. */
function openFileLimit(): number | undefined {
  const known = (limit: unknown) => (Number.isFinite(Number(limit)) ? Number(limit) : undefined);
  try {
    return known(/^Max open files\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]);
  } catch {
    const report = process.report?.getReport() as
      | { userLimits?: { open_files?: { soft: unknown } } }
      | undefined;
    return known(report?.userLimits?.open_files?.soft);
  }
}

/** Milliseconds until a refused page asks again, when only others' leaving can help: spread, or all come back at once. */
const later = () => 1000 + Math.random() * 4000;
const WINDOW = 1000;
/** Sockets that one address may have for each request it may hold: those to be answered `busy` need one too. */
const SOCKETS_PER_HELD = 2;

/** What is being used, by network address: an IPv4 address, or the /64 that an IPv6 customer has at the least. */
export class Limits {
  readonly #options: LimitOptions;
  readonly maxHeld: number;
  /** polls of this second: dropped whole when it is over, so it never holds more than a second's polls */
  #polls = new Map<string, number>();
  #windowEnd = 0;
  readonly #held = new Map<string, number>();
  readonly #sockets = new Map<string, number>();
  #connections = 0;
  #most = 0;
  readonly #reached: (limit: Limit) => void;

  /** @param reached is told of everyone who is refused */
  constructor(options: LimitOptions, shares = budget(), reached: (limit: Limit) => void = () => {}) {
    this.#options = options;
    this.#reached = reached;
    this.maxHeld = options.maxHeld ?? shares.held;
  }

  /**
   * Counts a request, whatever it is and however it is answered.
   * @returns 0, or the milliseconds after which its client may ask again
   */
  request(network: string): number {
    const most = this.#options.maxPollsPerIp;
    if (most === 0) return 0;
    const now = performance.now();
    if (now >= this.#windowEnd) {
      this.#polls = new Map();
      this.#windowEnd = now + WINDOW;
    }
    const polls = (this.#polls.get(network) ?? 0) + 1;
    this.#polls.set(network, polls);
    // as many seconds as it would take to serve those who came: an office of 1,000 pages is not told to come back at once
    if (polls <= most) return 0;
    this.#reached('polls_per_ip');
    return Math.ceil(this.#windowEnd - now + (Math.random() * WINDOW * polls) / most);
  }

  /** Whether a key has all the waiters that it may have. @param heldForKey how many it has on this node */
  fullFor(heldForKey: number): boolean {
    const { maxHeldPerKey } = this.#options;
    return maxHeldPerKey > 0 && heldForKey >= maxHeldPerKey;
  }

  full(held: number): boolean {
    return this.maxHeld > 0 && held >= this.maxHeld;
  }

  /**
   * Counts a request that is to be held; `release` takes it back.
   * @param held by this node now @param heldForKey of those, for the same key
   * @returns 0, or the milliseconds after which its page may ask again: then nothing was counted
   */
  hold(network: string, held: number, heldForKey: number): number {
    const { maxHeldPerIp } = this.#options;
    const mine = this.#held.get(network) ?? 0;
    const limit = this.full(held)
      ? 'held'
      : this.fullFor(heldForKey)
        ? 'held_per_key'
        : maxHeldPerIp > 0 && mine >= maxHeldPerIp
          ? 'held_per_ip'
          : undefined;
    if (limit) {
      this.#reached(limit);
      return later();
    }
    this.#held.set(network, mine + 1);
    return 0;
  }

  release(network: string): void {
    decrease(this.#held, network);
  }

  /** Counts a connection; `disconnect` takes it back. @returns false when there are too many: nothing was counted */
  connect(network: string): boolean {
    const { maxHeldPerIp, trustProxy } = this.#options;
    const sockets = this.#sockets.get(network) ?? 0;
    // behind a proxy all sockets are the proxy's
    if (trustProxy === 0 && maxHeldPerIp > 0 && sockets >= maxHeldPerIp * SOCKETS_PER_HELD) {
      this.#reached('connections_per_ip');
      return false;
    }
    this.#sockets.set(network, sockets + 1);
    this.#connections++;
    if (this.#connections > this.#most) this.#most = this.#connections;
    return true;
  }

  disconnect(network: string): void {
    this.#connections--;
    decrease(this.#sockets, network);
  }

  /** Connections counted now. */
  get connections(): number {
    return this.#connections;
  }

  /** Connections now, and the most since this was asked before. */
  crowd(): { now: number; most: number } {
    const most = this.#most;
    this.#most = this.#connections;
    return { now: this.#connections, most };
  }

  /**
   * Who asks, as far as those who can be believed say.
   * @param direct the address at the connection's other end @param forwardedFor of the header X-Forwarded-For
   */
  networkOf(direct: string, forwardedFor: string | undefined): string {
    const { trustProxy } = this.#options;
    const behind =
      trustProxy > 0 && forwardedFor !== undefined ? forwarded(forwardedFor, trustProxy) : undefined;
    return network(behind ?? direct);
  }
}

function decrease(counts: Map<string, number>, name: string): void {
  const count = counts.get(name) ?? 0;
  if (count > 1) counts.set(name, count - 1);
  else counts.delete(name);
}

/** Characters of an address with its zone and port. What is longer is not looked at. */
const LONGEST_ADDRESS = 80;

/**
 * The address that the outermost believed proxy saw. Each proxy appends the address of who asked it, so the last entry
 * is the nearest proxy's word, and what stands before the believed ones is anyone's: a page that sends the header
 * itself only writes there. With fewer entries than proxies the first is taken, since a believed one wrote it.
 * @returns undefined when it is not an address: then the proxy itself is counted, never what was made up
 */
function forwarded(header: string, proxies: number): string | undefined {
  let end = header.length;
  let comma = header.lastIndexOf(',');
  for (let hop = 1; hop < proxies && comma >= 0; hop++) {
    end = comma;
    comma = comma === 0 ? -1 : header.lastIndexOf(',', comma - 1);
  }
  const entry = header.slice(comma + 1, end).trim();
  if (entry.length > LONGEST_ADDRESS) return undefined;
  // some proxies add the port: 192.0.2.1:50000, [2001:db8::1]:50000
  const address = /^\[([^\]]+)\](?::\d+)?$/.exec(entry)?.[1] ?? entry.replace(/^([\d.]+):\d+$/, '$1');
  return isIPv4(address) || isIPv6(address) ? address : undefined;
}

/** An address as it is counted. IPv4 inside IPv6 (a dual-stack listener, NAT64) counts as the IPv4 address. */
export function network(address: string): string {
  // no IPv4 address has one, and every poll comes by here
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
