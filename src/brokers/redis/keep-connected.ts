/** Connects an ioredis client, and connects it again when ioredis gives up. Reports why a connection failed. */
import type { Cluster, Redis } from 'ioredis';
import { addressOf } from './connections.js';

/** Delay before a client that has ended connects again, ms. */
const DELAY = 100;

export interface ConnectionEvents {
  /** false: do not connect again */
  wanted(): boolean;
  /** An error of the connection. @param cause one line, with the address */
  failed(cause: string): void;
  /** The connection is closed. @param cause the last error of it, with the address */
  closed(cause: string): void;
}

/** What ioredis says of a server of a Cluster whose connection failed, within a few seconds after it has said why. */
const CONSEQUENCE = /^(?:Connection is closed\.|timeout)$/;
/** ms */
const FEW_SECONDS = 10_000;

/** ioredis gives up (`end`) when a failover is announced while it connects. */
export function keepConnected(client: Redis | Cluster, events: ConnectionEvents): void {
  let cause = '';
  /** of a Cluster: why each server failed, and when, by its address */
  const failures = new Map<string, { message: string; at: number }>();
  const addresses = new WeakMap<Error, string>();
  const connect = () => {
    if (events.wanted()) client.connect().catch(() => {});
  };
  // an `error` event without a listener would end the process
  client.on('error', (error: Error & { lastNodeError?: Error }) => {
    const failed = error.lastNodeError ?? error;
    const address = addresses.get(failed);
    cause = `${address ?? addressOf(client)}: ${failures.get(address ?? '')?.message ?? failed.message}`;
    events.failed(cause);
  });
  // one server of a Cluster: the Cluster may work without it
  client.on('node error', (error: Error, address: string) => {
    const [before, at] = [failures.get(address), performance.now()];
    const known = before && at - before.at < FEW_SECONDS && CONSEQUENCE.test(error.message);
    const { message } = known ? before : error;
    if (!known) failures.set(address, { message, at });
    addresses.set(error, address);
    cause = `${address}: ${message}`;
  });
  client.on('close', () => {
    events.closed(cause || `${addressOf(client)}: the connection was closed`);
    cause = '';
  });
  client.on('end', () => setTimeout(connect, DELAY).unref());
  connect();
}
