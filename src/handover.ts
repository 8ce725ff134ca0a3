/** Closes connections that a worker received from the primary and died before it accepted them. */
import type { ChildProcess } from 'node:child_process';

/** The message that Node's cluster module sends together with a connection. */
interface NewConnection {
  act?: string;
  /** identifies the listening port */
  key?: string;
}

/**
 * Closes the connections that a worker was sent and did not accept before it died. Without this their clients would
 * wait for ever, connected to the primary, which reads nothing. Node.js loses them in two ways:
 * - It forgets the newest connection that it sent to a worker, for each port, if the worker dies before it accepts it.
 * - While a worker has such a connection, Node.js does not emit 'disconnect' at the end of its channel. Until 'exit' it
 *   still chooses this worker for the other port, cannot send the connection, and drops it.
 * @returns a function to call when the worker has died, which closes these connections
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

/** Emits 'disconnect' at the end of the channel, before any other event, if Node.js does not. */
function emitDisconnect(child: ChildProcess): void {
  let emitted = false;
  child.once('disconnect', () => {
    emitted = true;
  });
  const disconnect = child.disconnect.bind(child);
  // Node.js calls this when it reads the end of the channel
  child.disconnect = () => {
    disconnect();
    process.nextTick(() => emitted || child.emit('disconnect'));
  };
}
