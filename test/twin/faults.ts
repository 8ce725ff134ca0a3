/** What goes wrong between nodes and servers, from when until when, and for which nodes. */
import type { Op } from './schedule.js';
import { isHarmless } from './schedule.js';
import type { Node, World } from './world.js';

type Fault = Exclude<Op, { kind: 'set' | 'arrive' | 'leave' | 'crowd' | 'lose' | 'die' }>;

export class Faults {
  readonly #world: World;
  /** faults that last, by node; those that are over are left in: they say since when Redis can be reached */
  readonly #lasting: { node: Node; from: number; until: number }[] = [];
  /** when the last of all is over, ms since the start */
  over = 0;
  /** until when verification is refused: leases expire, and pages get `unavailable` until their keys are read again */
  unverifiedUntil = Number.NEGATIVE_INFINITY;

  constructor(world: World) {
    this.#world = world;
  }

  /** Whether something is wrong for a node now. */
  touch(node: Node): boolean {
    const { now } = this.#world.clock;
    return this.#lasting.some(fault => fault.node === node && fault.from <= now && now <= fault.until);
  }

  /** When the last of what has gone wrong for a node is over, ms since the start. */
  reachableSince(node: Node): number {
    let since = 0;
    for (const fault of this.#lasting) if (fault.node === node) since = Math.max(since, fault.until);
    return since;
  }

  /** What is wrong on the way of a node that died may be so for the one that takes its place, which starts at this time. */
  inherit(from: Node, to: Node, start: number): void {
    for (const fault of [...this.#lasting])
      if (fault.node === from) this.#lasting.push({ ...fault, node: to });
    this.#lasting.push({ node: to, from: this.#world.clock.now, until: start });
    this.over = Math.max(this.over, start);
  }

  begin(op: Fault): void {
    const { nodes, servers } = this.#world;
    const node = 'node' in op && op.node !== undefined ? nodes[op.node] : undefined;
    const server = 'server' in op ? servers[op.server] : undefined;
    const ms = 'ms' in op ? op.ms : 0;
    const end = (act: () => void) => setTimeout(act, ms);
    // a line that is slow may have something on its way for as long again
    const lasts = op.kind === 'slow' ? ms + op.by : ms;
    this.over = Math.max(this.over, this.#world.clock.now + lasts);
    if (op.kind === 'refuse' && isHarmless(op)) this.unverifiedUntil = this.over;
    if (!isHarmless(op)) for (const one of node ? [node] : nodes) this.#last(one, lasts);
    switch (op.kind) {
      case 'pause':
        return server?.pause(ms);
      case 'down':
        server?.kill();
        end(() => {
          if (!server) return;
          server.restart();
          server.up = true;
        });
        return;
      case 'bus':
        if (server) server.busIsCut = true;
        end(() => {
          if (server) server.busIsCut = false;
        });
        return;
      case 'cut':
        for (const connection of [...(node?.line.connections ?? [])])
          if (connection.role === op.role) connection.reset('read ECONNRESET');
        return;
      case 'stall':
        return node?.line.stall(ms);
      case 'silence':
        node?.line.silent.add(op.role);
        for (const connection of node?.line.connections ?? [])
          if (connection.role === op.role) connection.kill();
        end(() => node?.line.silent.delete(op.role));
        return;
      case 'slow':
        node?.line.slow.set(op.role, op.by);
        end(() => node?.line.slow.delete(op.role));
        return;
      case 'refuse': {
        const { refusals } = node?.line ?? server ?? { refusals: new Map<string, string>() };
        for (const name of op.commands) refusals.set(name, op.error);
        end(() => {
          for (const name of op.commands) refusals.delete(name);
        });
        return;
      }
      case 'drop':
        if (node) node.line.dropping = op.what;
        end(() => {
          if (node) node.line.dropping = 'none';
        });
        return;
      case 'redirect':
        if (node) node.line.redirecting = true;
        end(() => {
          if (node) node.line.redirecting = false;
        });
        return;
      case 'evict':
        for (const key of op.keys) this.#evict(key);
        return;
      case 'evict markers':
        for (const name of server?.store.keys() ?? []) if (name.includes(':m:')) server?.store.del(name);
        return;
    }
  }

  #evict(key: string): void {
    for (const { store } of this.#world.servers) store.del(`t:1:w:{${key}}`);
    for (const { lossAt } of this.#world.nodes) lossAt.set(key, this.#world.clock.now);
  }

  #last(node: Node, ms: number): void {
    const { now } = this.#world.clock;
    this.#lasting.push({ node, from: now, until: now + ms });
    // the next look may come after it is over
    node.goodSince = Number.POSITIVE_INFINITY;
  }
}
