/**
 * The heartbeats of this node: every 2 s, one to every Redis server. Each checks three things: the command was answered
 * (the server can be reached), our own message came back (the subscriber receives messages), marker and replication id
 * are unchanged (no flush, no restart, no promotion).
 */
import slotOf from 'cluster-key-slot';
import { Cluster } from 'ioredis';
import type { Logger } from '../../log.js';
import { DEAD_AFTER, type Survey } from '../survey.js';
import { addressFor, addressOf, type Connections, wordsOf } from './connections.js';
import { type Arrivals, Echo } from './echo.js';
import { forgetFailure, reasonOf } from './failures.js';
import { assertNoCluster, warnOfEviction } from './inspect.js';
import type { Keys } from './keys.js';

export interface HeartbeatsOptions {
  connections: Connections;
  keys: Keys;
  node: string;
  log: Pick<Logger, 'warn'>;
  survey: Survey;
  /** the channel of all nodes */
  channel: string;
  /** the connection that receives it */
  arrivals: Arrivals;
  /** Commands are answered but messages do not arrive. */
  onSilence(): void;
  /** One server of a Cluster stopped answering: messages may have come through that server. @param cause with the address */
  onServerLost(cause: string): void;
}

/** What the node knows of one server. */
interface Server {
  /** its replication id, see set.lua; undefined: not known yet, entries may have been missed */
  replid: string | undefined;
  /** number of heartbeats sent */
  sent: number;
  /** the newest of them that came back as a message */
  received: number;
  /** the newest of them that was answered or failed */
  settled: number;
  /** why that one failed; undefined: it was answered */
  failure: string | undefined;
  /** from an answer until the message arrives */
  echo: Echo | undefined;
}

export class Heartbeats {
  readonly #options: HeartbeatsOptions;
  /** by hash tag, see `#tags` */
  readonly #servers = new Map<string, Server>();
  /** Whether messages arrive late: what they say of other nodes, and of keys, may be out of date. */
  late = false;

  constructor(options: HeartbeatsOptions) {
    this.#options = options;
  }

  /** Sends one heartbeat to every server. Never rejects. @returns whether entries may have been missed */
  async send(): Promise<boolean> {
    const missed = await Promise.all(this.#tags().map(tag => this.#sendTo(tag)));
    return missed.includes(true);
  }

  /** Why a server does not work; undefined: all of them answer. */
  get failure(): string | undefined {
    if (this.#servers.size === 0) return `${addressOf(this.#options.connections.client)}: no server is known`;
    return [...this.#servers.values()].find(({ failure }) => failure)?.failure;
  }

  /** The connection to all servers broke. They count as failed until their next answer. @param cause with the address */
  fail(cause: string): void {
    for (const server of this.#servers.values()) server.failure = cause;
  }

  /** The subscriber has subscribed just now: heartbeats that were sent before do not come back. */
  resetEchoes(): void {
    for (const server of this.#servers.values()) {
      server.received = server.sent;
      clearEcho(server);
    }
  }

  /** A heartbeat of this node came back. @returns whether an earlier one was lost, and maybe entries with it */
  receive(tag: string, count: number): boolean {
    const server = this.#servers.get(tag);
    if (!server) return false;
    const missed = count > server.received + 1;
    server.received = Math.max(server.received, count);
    clearEcho(server);
    if (this.late && count === server.sent) {
      this.late = false;
      this.#options.survey.listening(true);
    }
    return missed;
  }

  stop(): void {
    for (const server of this.#servers.values()) clearEcho(server);
  }

  /** Deletes the node's marker on every server: from then on the node counts as gone. */
  deleteMarkers(): Promise<number>[] {
    return [...this.#servers.keys()].map(tag => this.#options.connections.client.del(this.#marker(tag)));
  }

  #marker(tag: string): string {
    return `${this.#options.keys.markers(tag)}${this.#options.node}`;
  }

  /**
   * A hash tag for each server that owns slots: a key with that tag is stored there. Example: on a Cluster of three
   * masters `['0', '1', '3']`. Forgets the servers that own none any more.
   */
  #tags(): string[] {
    const { client } = this.#options.connections;
    if (!(client instanceof Cluster)) return ['0'];
    const masters = new Set(client.slots.map(servers => servers[0]).filter(Boolean));
    const tags: string[] = [];
    for (let tag = 0; masters.size > 0 && tag < 100_000; tag++)
      if (masters.delete(client.slots[slotOf(String(tag))]?.[0])) tags.push(String(tag));
    for (const [tag, server] of this.#servers) {
      if (tags.includes(tag)) continue;
      clearEcho(server);
      this.#servers.delete(tag);
    }
    return tags;
  }

  /** @returns whether entries may have been missed: another process or a promoted server answered, or the marker is gone */
  async #sendTo(tag: string): Promise<boolean> {
    const { survey, channel, connections, onServerLost } = this.#options;
    const { client } = connections;
    const server = this.#server(tag);
    const count = ++server.sent;
    try {
      const message = survey.heartbeat(tag, count);
      const [kept, replid] = await client.tagwaitHeartbeat(this.#marker(tag), DEAD_AFTER, channel, message);
      const same = kept === 1 && replid === server.replid;
      if (replid !== server.replid) await this.#inspect(tag);
      server.replid = replid;
      settle(server, count, undefined);
      forgetFailure(client, addressFor(client, this.#marker(tag)));
      if (server.received < count) this.#expectEcho(server);
      return !same;
    } catch (error) {
      const wasReached = server.failure === undefined;
      const address = addressFor(client, this.#marker(tag));
      settle(server, count, `${address}: ${reasonOf(client, address, wordsOf(error as Error))}`);
      if (wasReached && server.failure && client instanceof Cluster) onServerLost(server.failure);
      return false;
    }
  }

  #server(tag: string): Server {
    let server = this.#servers.get(tag);
    if (!server) {
      server = { replid: undefined, sent: 0, received: 0, settled: 0, failure: undefined, echo: undefined };
      this.#servers.set(tag, server);
    }
    return server;
  }

  async #inspect(tag: string): Promise<void> {
    const { keys, log, connections } = this.#options;
    await assertNoCluster(connections.client, [keys.entries('0'), keys.entries('1')]);
    void warnOfEviction(connections.client, this.#marker(tag), log);
  }

  /** Starts the wait for the message of an answered heartbeat. */
  #expectEcho(server: Server): void {
    const { arrivals, survey, onSilence } = this.#options;
    server.echo ??= new Echo(arrivals, {
      late: () => {
        this.late = true;
        survey.listening(false);
      },
      lost: () => {
        server.echo = undefined;
        onSilence();
      },
    });
  }
}

/** A heartbeat was answered or failed. An old one, on a connection that is being left, may fail after its successor was answered. */
function settle(server: Server, count: number, failure: string | undefined): void {
  if (count < server.settled) return;
  server.settled = count;
  server.failure = failure;
}

function clearEcho(server: Server): void {
  server.echo?.clear();
  server.echo = undefined;
}
