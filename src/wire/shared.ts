/** A port whose listening socket several processes share. */
import type { Server } from 'node:http';
import { Server as NetServer } from 'node:net';

export const PORT_NAMES = ['internal', 'public'] as const;
export type PortName = (typeof PORT_NAMES)[number];

/** A listening socket that another process bound. */
export interface SharedSocket {
  /**
   * @param accept called with the socket whenever this process is to accept connections from it, the first time soon
   * @param pause called when it is to stop for a while, because it is ahead of the others
   * @param count passes on the number of connections that are open
   */
  open(
    accept: (socket: Closable) => void,
    pause: () => void,
    count: (counted: (open: number) => void) => void,
  ): void;
  /** Called with each connection. */
  accepted(): void;
}
export interface Closable {
  close(): void;
}

/**
 * Has a server accept connections from a shared socket.
 * @param closing whether the port is closed, so that it must not accept again
 * @returns resolves when it listens
 */
export function share(
  server: Server,
  shared: SharedSocket,
  backlog: number,
  closing: () => boolean,
): Promise<void> {
  server.prependListener('connection', () => shared.accepted());
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    shared.open(
      socket => {
        if (closing() || server.listening) return socket.close();
        server.listen(socket, backlog, () => {
          server.off('error', reject);
          resolve();
        });
      },
      // not the method of an HTTP server: that one also closes idle connections, and stops to check timeouts
      () => closing() || NetServer.prototype.close.call(server),
      counted => server.getConnections((_, open) => counted(open)),
    );
  });
}
