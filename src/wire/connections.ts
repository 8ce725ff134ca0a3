/** The connections of a server, which are read here and not by its own HTTP. */
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { Connection } from './connection.js';
import type { ConnectionOptions, Owner } from './options.js';
import { Turns } from './turns.js';

/** Every connection of a server. */
export class Connections implements Owner<Connection> {
  readonly all = new Set<Connection>();
  readonly pipelined: Turns = new Turns();
  readonly options: ConnectionOptions;
  readonly serve: (connection: Socket | Duplex) => void;
  readonly #server: Server;
  closing = false;

  /**
   * Takes a server's connections, in place of its own HTTP, which listens to 'connection' as others may. That its listener
   * is the first one is not documented; test/slowpath.test.ts fails when it is not.
   */
  constructor(server: Server, options: ConnectionOptions) {
    this.#server = server;
    this.options = options;
    const [own] = server.listeners('connection');
    if (!own) throw new Error('the server has no HTTP of its own');
    server.off('connection', own as () => void);
    this.serve = connection => own.call(server, connection);
    server.on('connection', (socket: Socket) => {
      if (!socket.destroyed) this.all.add(new Connection(this, socket));
    });
  }

  get upgrades(): boolean {
    return this.#server.listenerCount('upgrade') > 0;
  }

  /** Closes those that were answered and ask nothing now. */
  closeIdle(): void {
    for (const connection of this.all) if (connection.idle) connection.close();
  }

  /** Closes the most dispensable one, and of those the one that has waited for longest. @returns false when there is none */
  makeRoom(): boolean {
    let found: Connection | undefined;
    for (const connection of this.all) if (isBefore(connection, found)) found = connection;
    found?.giveWay();
    return found !== undefined;
  }

  closeAll(): void {
    for (const connection of this.all) connection.close();
  }
}

function isBefore(one: Connection, other: Connection | undefined): boolean {
  const { dispensable } = one;
  if (dispensable === undefined) return false;
  if (other?.dispensable === undefined) return true;
  return (dispensable - other.dispensable || one.turn - other.turn) < 0;
}
