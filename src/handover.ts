/** Connections that the primary hands to its workers. */
import type { ChildProcess } from 'node:child_process';

/** What Node's cluster module sends with a connection. */
interface NewConnection {
  act?: string;
  /** the port that it came to */
  key?: string;
}

/**
 * Keeps track of the connections that a worker is handed, so that none is lost when it dies: its client would wait for
 * ever, connected to the primary, where nothing reads. Node loses them in two ways:
 * - It forgets the connection that it handed over last on each port, when the worker dies before it takes it.
 * - While a worker has such a connection, Node does not emit 'disconnect' at the end of its channel. Until 'exit' it goes
 *   on to choose this worker for the other port, cannot send the connection, and drops it.
 * @returns closes the connections that the worker did not take; call it when the worker has died
 */
export function keepHandedOver(child: ChildProcess): () => void {
  const newest = new Map<string, { close(): void }>();
  const send = child.send.bind(child) as (...given: unknown[]) => boolean;
  child.send = ((...given: unknown[]) => {
    const [message, handle] = given as [NewConnection | undefined, { close(): void } | undefined];
    if (handle && message?.act === 'newconn') newest.set(String(message.key), handle);
    return send(...given);
  }) as ChildProcess['send'];
  emitDisconnect(child);
  return () => {
    for (const handle of newest.values()) handle.close();
  };
}

/** Emits 'disconnect' at the end of the channel, before any other event, when Node does not. */
function emitDisconnect(child: ChildProcess): void {
  let emitted = false;
  child.once('disconnect', () => {
    emitted = true;
  });
  const disconnect = child.disconnect.bind(child);
  // Node calls this when it reads the end of the channel
  child.disconnect = () => {
    disconnect();
    process.nextTick(() => emitted || child.emit('disconnect'));
  };
}
