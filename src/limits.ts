/**
 * Limits of held requests, polls and connections: per node, per key and per address. Only counters in Maps: a poll
 * costs 0.15 µs here, with a promise per poll (rate-limiter-flexible 11, measured) 1.0 to 1.4 µs.
 */
import { readFileSync } from 'node:fs';
import { getHeapStatistics } from 'node:v8';
import { clientIn, network } from './network.js';

/** The limits, as metrics and logs name them. */
export const LIMITS = ['held', 'held_per_key', 'held_per_ip', 'polls_per_ip', 'connections_per_ip'] as const;
export type Limit = (typeof LIMITS)[number];

export interface LimitOptions {
  /** requests held by this node; here and below 0 means no limit; undefined: as many as `fdBudget` allows */
  maxHeld?: number | undefined;
  maxHeldPerKey: number;
  maxHeldPerIp: number;
  /** per second */
  maxPollsPerIp: number;
  /** number of trusted proxies in front, for X-Forwarded-For */
  trustProxy: number;
}

/** Descriptors reserved for the log, Redis and Node.js itself. An idle node has 25 open. */
const RESERVED = 48;
/** 1/8 of the other descriptors, at most 256, are for the internal port. */
const INTERNAL_SHARE = 8;
const MAX_INTERNAL = 256;
/** 1/20 of the connections to the public port are not held, so that they can be answered `busy`. */
const ANSWERED_SHARE = 20;
/** Heap per held request, bytes; more than one needs, because a node that runs out of heap loses all its requests. */
const BYTES_PER_HELD = 16 * 1024;

export interface FdBudget {
  /** open-file limit of the process; undefined: unknown or unlimited */
  openFiles: number | undefined;
  /** connections to the public port; further ones are closed at once */
  connections: number;
  /** held requests; fewer than `connections` */
  held: number;
  /** connections to the internal port; their descriptors are never used by the public port */
  internal: number;
}

/**
 * Divides the open-file limit, so that accepting a connection never fails for lack of a descriptor. Example: a limit of
 * 1024 gives 122 internal and 854 public connections, of which 811 are held.
 */
export function fdBudget(openFiles = openFileLimit(), heap = getHeapStatistics().heap_size_limit): FdBudget {
  const byMemory = Math.floor(heap / BYTES_PER_HELD);
  const free = Math.max(4, (openFiles ?? Number.POSITIVE_INFINITY) - RESERVED);
  const internal = Math.max(1, Math.min(MAX_INTERNAL, Math.floor(free / INTERNAL_SHARE)));
  const connections = Math.min(free - internal, byMemory);
  return {
    openFiles,
    connections,
    held: connections - Math.ceil(connections / ANSWERED_SHARE),
    internal,
  };
}

/** The soft limit, which Node.js raises to the hard limit at its start. Without /proc it is read from the report. */
function openFileLimit(): number | undefined {
  const known = (limit: unknown) => (Number.isFinite(Number(limit)) ? Number(limit) : undefined);
  try {
    return known(/Max open files\s+(\S+)/.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]);
  } catch {
    const report = process.report?.getReport() as
      | { userLimits?: { open_files?: { soft: unknown } } }
      | undefined;
    return known(report?.userLimits?.open_files?.soft);
  }
}

/** Retry delay for a refused hold, ms: random, so that refused pages do not come back all at once. */
const retryDelay = () => 1000 + Math.random() * 4000;
/** Polls are counted per window of this length, ms. */
const WINDOW = 1000;
/** Connections of an address per request that it may hold: requests that are answered `busy` need one too. */
const SOCKETS_PER_HELD = 2;

/** Counts usage by network: an IPv4 address, or an IPv6 /64, the smallest network of an IPv6 customer. */
export class Limits {
  readonly #options: LimitOptions;
  readonly maxHeld: number;
  /** polls in the present window, by network; replaced by an empty Map at its end */
  #polls = new Map<string, number>();
  #windowEnd = 0;
  readonly #held = new Map<string, number>();
  readonly #sockets = new Map<string, number>();
  #connections = 0;
  /** the largest number of connections since `peak` was called */
  #peak = 0;
  readonly #onReached: (limit: Limit) => void;

  /** @param onReached called for each refused request or connection */
  constructor(options: LimitOptions, fds = fdBudget(), onReached: (limit: Limit) => void = () => {}) {
    this.#options = options;
    this.#onReached = onReached;
    this.maxHeld = options.maxHeld ?? fds.held;
  }

  /**
   * Counts a request of any kind, whatever its answer.
   * @returns 0 if it is allowed, otherwise the retry delay in ms
   */
  request(network: string): number {
    const max = this.#options.maxPollsPerIp;
    if (max === 0) return 0;
    const now = performance.now();
    if (now >= this.#windowEnd) {
      this.#polls = new Map();
      this.#windowEnd = now + WINDOW;
    }
    const polls = (this.#polls.get(network) ?? 0) + 1;
    this.#polls.set(network, polls);
    if (polls <= max) return 0;
    this.#onReached('polls_per_ip');
    // spread over the time that all of them need: 1,000 polls at 200/s come back over the next 5 s
    return Math.ceil(this.#windowEnd - now + (Math.random() * WINDOW * polls) / max);
  }

  /** Whether a key has reached its limit of held requests. @param heldForKey requests held for it on this node */
  fullFor(heldForKey: number): boolean {
    const { maxHeldPerKey } = this.#options;
    return maxHeldPerKey > 0 && heldForKey >= maxHeldPerKey;
  }

  /** Whether this node has reached its limit of held requests. */
  full(held: number): boolean {
    return this.maxHeld > 0 && held >= this.maxHeld;
  }

  /**
   * Counts a request to be held, until `release`.
   * @param held requests held by this node @param heldForKey requests held for the same key
   * @returns 0 if it is allowed, otherwise the retry delay in ms, and nothing is counted
   */
  hold(network: string, held: number, heldForKey: number): number {
    const { maxHeldPerIp } = this.#options;
    const heldForNetwork = this.#held.get(network) ?? 0;
    const limit = this.full(held)
      ? 'held'
      : this.fullFor(heldForKey)
        ? 'held_per_key'
        : maxHeldPerIp > 0 && heldForNetwork >= maxHeldPerIp
          ? 'held_per_ip'
          : undefined;
    if (limit) {
      this.#onReached(limit);
      return retryDelay();
    }
    this.retain(network);
    return 0;
  }

  /** Counts a held request without regard to the limits, until `release`. */
  retain(network: string): void {
    this.#held.set(network, (this.#held.get(network) ?? 0) + 1);
  }

  release(network: string): void {
    decrease(this.#held, network);
  }

  /** Counts a connection, until `disconnect`. @returns false if there are too many, and nothing is counted */
  connect(network: string): boolean {
    const { maxHeldPerIp, trustProxy } = this.#options;
    const sockets = this.#sockets.get(network) ?? 0;
    // behind a proxy all connections come from the proxy
    if (trustProxy === 0 && maxHeldPerIp > 0 && sockets >= maxHeldPerIp * SOCKETS_PER_HELD) {
      this.#onReached('connections_per_ip');
      return false;
    }
    this.#sockets.set(network, sockets + 1);
    this.#connections++;
    this.#peak = Math.max(this.#peak, this.#connections);
    return true;
  }

  disconnect(network: string): void {
    this.#connections--;
    decrease(this.#sockets, network);
  }

  /** Open connections. */
  get connections(): number {
    return this.#connections;
  }

  /** Open connections, and their largest number since the last call. */
  peak(): { now: number; peak: number } {
    const peak = this.#peak;
    this.#peak = this.#connections;
    return { now: this.#connections, peak };
  }

  /**
   * The network of a client, as trusted proxies report it.
   * @param direct address of the connection's peer @param forwardedFor value of the header X-Forwarded-For
   */
  networkOf(direct: string, forwardedFor: string | undefined): string {
    const { trustProxy } = this.#options;
    const client =
      trustProxy > 0 && forwardedFor !== undefined ? clientIn(forwardedFor, trustProxy) : undefined;
    return network(client ?? direct);
  }
}

function decrease(counts: Map<string, number>, name: string): void {
  const count = counts.get(name) ?? 0;
  if (count > 1) counts.set(name, count - 1);
  else counts.delete(name);
}
