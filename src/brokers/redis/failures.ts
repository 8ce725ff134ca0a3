/**
 * Why servers failed, by address. ioredis reports the reason once, as an error of the connection; each command after that
 * only fails with a consequence of it.
 */
import type { Cluster, Redis } from 'ioredis';
import { isRedirection, NO_CONNECTION } from './connections.js';

const CONSEQUENCE = new RegExp(`^(?:Connection is closed\\.|timeout|${NO_CONNECTION})$`);
/** A reason explains the consequences of this time, ms. */
const FEW_SECONDS = 10_000;

interface Failure {
  message: string;
  at: number;
}

const failures = new WeakMap<Redis | Cluster, Map<string, Failure>>();

/** The reason of a failure, which may have been reported before. */
export function reasonOf(client: Redis | Cluster, address: string, message: string): string {
  // ioredis has no connection to the server and sent the command to another one, which refused it
  const words = isRedirection({ message }) ? NO_CONNECTION : message;
  const before = failures.get(client)?.get(address);
  if (!before || !CONSEQUENCE.test(words) || performance.now() - before.at >= FEW_SECONDS) return words;
  return before.message;
}

/** Notes an error of a connection to a server. @returns the reason of the failure */
export function noteFailure(client: Redis | Cluster, address: string, message: string): string {
  const reason = reasonOf(client, address, message);
  if (reason !== message) return reason;
  const reasons = failures.get(client) ?? new Map<string, Failure>();
  failures.set(client, reasons.set(address, { message, at: performance.now() }));
  return reason;
}

/** The server works: its next failure has another reason. */
export function forgetFailure(client: Redis | Cluster, address: string): void {
  failures.get(client)?.delete(address);
}
