/** Connects an ioredis client, and connects it again when ioredis gives up. Reports why a connection failed. */
import type { Cluster, Redis } from 'ioredis';
import { addressOf } from './connections.js';
import { noteFailure } from './failures.js';

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

/** ioredis gives up (`end`) when a failover is announced while it connects. */
export function keepConnected(client: Redis | Cluster, events: ConnectionEvents): void {
  let cause = '';
  /** of a Cluster: the server of an error */
  const addresses = new WeakMap<Error, string>();
  const connect = () => {
    if (events.wanted()) client.connect().catch(() => {});
  };
  // an `error` event without a listener would end the process
  client.on('error', (error: Error & { lastNodeError?: Error }) => {
    const failed = error.lastNodeError ?? error;
    const address = addresses.get(failed) ?? addressOf(client);
    cause = `${address}: ${noteFailure(client, address, failed.message)}`;
    events.failed(cause);
  });
  // one server of a Cluster: the Cluster may work without it
  client.on('node error', (error: Error, address: string) => {
    addresses.set(error, address);
    cause = `${address}: ${noteFailure(client, address, error.message)}`;
  });
  client.on('close', () => {
    const address = addressOf(client);
    events.closed(cause || `${address}: ${noteFailure(client, address, 'the connection was closed')}`);
    cause = '';
  });
  client.on('end', () => setTimeout(connect, DELAY).unref());
  connect();
}
