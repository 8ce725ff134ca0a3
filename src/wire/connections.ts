/** All connections of a server, which the fast path reads instead of Node's HTTP server. */
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { Connection } from './connection.js';
import type { ConnectionOptions, Owner } from './options.js';
import { RoundRobin } from './round-robin.js';
import type { Upgrades } from './upgrades.js';

/** Every connection of a server. */
export class Connections implements Owner<Connection> {
  readonly all = new Set<Connection>();
  readonly pipelined: RoundRobin = new RoundRobin();
  readonly options: ConnectionOptions;
  readonly serve: (connection: Socket | Duplex) => void;
  readonly upgrades: Upgrades | undefined;
  closing = false;

  /**
   * Takes over the connections of a server, by replacing its own listener of 'connection'. That this is the first
   * listener is not documented; test/slowpath.test.ts fails if it changes.
   */
  constructor(server: Server, options: ConnectionOptions, upgrades?: Upgrades) {
    this.options = options;
    this.upgrades = upgrades;
    const [own] = server.listeners('connection');
    if (!own) throw new Error('the server has no HTTP of its own');
    server.off('connection', own as () => void);
    this.serve = connection => own.call(server, connection);
    server.on('connection', (socket: Socket) => {
      if (!socket.destroyed) this.all.add(new Connection(this, socket));
    });
  }

  /** Closes idle connections. */
  closeIdle(): void {
    for (const connection of this.all) if (connection.idle) connection.close();
  }

  /**
   * Closes the connection with the lowest `evictionPriority`; of several, the one that was inactive longest.
   * @returns false if there is none
   */
  makeRoom(): boolean {
    let found: Connection | undefined;
    for (const connection of this.all) if (isBefore(connection, found)) found = connection;
    found?.evict();
    return found !== undefined;
  }

  closeAll(): void {
    for (const connection of this.all) connection.close();
    this.upgrades?.closeAll();
  }
}

function isBefore(one: Connection, other: Connection | undefined): boolean {
  const { evictionPriority } = one;
  if (evictionPriority === undefined) return false;
  if (other?.evictionPriority === undefined) return true;
  return (evictionPriority - other.evictionPriority || one.lastActivity - other.lastActivity) < 0;
}
