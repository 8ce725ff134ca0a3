/** Connections that the primary hands to its workers. */
import type { ChildProcess } from 'node:child_process';

/** What Node's cluster module sends with a connection. */
interface NewConnection {
  act?: string;
  /** the port that it came to */
  key?: string;
}

/**
 * Keeps the connection that a worker was handed last, on each port. Node waits until the worker has taken it, and forgets
 * it when the worker dies before that: the client would wait for ever, connected to the primary, where nothing reads.
 * @returns closes these connections, for when the worker has died; those that it took are closed here already
 */
export function keepHandedOver(child: ChildProcess): () => void {
  const newest = new Map<string, { close(): void }>();
  const send = child.send.bind(child) as (...given: unknown[]) => boolean;
  child.send = ((...given: unknown[]) => {
    const [message, handle] = given as [NewConnection | undefined, { close(): void } | undefined];
    if (handle && message?.act === 'newconn') newest.set(String(message.key), handle);
    return send(...given);
  }) as ChildProcess['send'];
  return () => {
    for (const handle of newest.values()) handle.close();
  };
}
