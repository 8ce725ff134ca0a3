/** A TCP line between a client and a server on this machine. The test decides what goes wrong on it. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { type Owner, onTestFinished } from './owner.js';

/** up: from the client to the server; down: from the server to the client */
export type Direction = 'up' | 'down' | 'both';

export interface Line {
  /** Clients connect to this port of 127.0.0.1. */
  readonly port: number;
  /** connections whose two ends are open now */
  readonly connections: number;
  /**
   * Drops all bytes, and the news that one side has closed, until `heal`. A connection that lost something stays silent
   * after that too, as when a NAT forgets it. A new connection is accepted, and is silent as well.
   */
  swallow(direction: Direction): void;
  /** Keeps all bytes back until `heal`, and delivers them then, as TCP does after an outage. */
  stall(direction: Direction): void;
  /** Delivers everything so many milliseconds late, each way, until `heal`. */
  delay(ms: number): void;
  /** Delivers at most so many bytes a second in a direction, over all connections, until `heal`. */
  limit(direction: Direction, bytes: number): void;
  /** Ends `swallow`, `stall`, `delay` and `limit`. */
  heal(): void;
  /** Resets all connections, both ends. */
  cut(): void;
  /** Resets the client's end of all connections. The server's end stays open and hears nothing of it. */
  halfOpen(): void;
  close(): Promise<void>;
}

interface Faults {
  swallow: boolean;
  stall: boolean;
  delay: number;
  /** bytes a second */
  rate: number;
  /** when all that was taken is delivered, at this rate */
  freeAt: number;
}

const none = (): Faults => ({
  swallow: false,
  stall: false,
  delay: 0,
  rate: Number.POSITIVE_INFINITY,
  freeAt: 0,
});

/** How many bytes of one connection are on a line of limited rate, as in a window of TCP: other connections get their share. */
const WINDOW = 65_536;

/** One direction of one connection. */
class Flow {
  lost = false;
  readonly #queue: { due: number; item: Buffer | 'end' | 'reset' }[] = [];
  #timer: NodeJS.Timeout | undefined;
  /** bytes in the queue */
  #queued = 0;

  constructor(
    readonly from: Socket,
    readonly to: Socket,
    readonly faults: Faults,
  ) {
    from.on('data', bytes => this.#take(bytes));
    from.on('end', () => this.#take('end'));
    from.on('error', () => this.#take('reset'));
    from.on('close', () => !this.lost && !to.destroyed && this.#take('end'));
    to.on('drain', () => this.update());
    this.update();
  }

  /** Applies the faults as they are now. */
  update(): void {
    clearTimeout(this.#timer);
    if (!this.faults.stall) this.#deliverDue();
    const full = Number.isFinite(this.faults.rate) && this.#queued >= WINDOW;
    if (this.faults.stall || this.to.writableNeedDrain || full) this.from.pause();
    else this.from.resume();
  }

  #deliverDue(): void {
    const now = performance.now();
    for (let [next] = this.#queue; next && next.due <= now; [next] = this.#queue) {
      this.#queue.shift();
      this.#queued -= sizeOf(next.item);
      this.#deliver(next.item);
    }
    const [next] = this.#queue;
    if (next) this.#timer = setTimeout(() => this.update(), next.due - now);
  }

  #take(item: Buffer | 'end' | 'reset'): void {
    if (this.faults.swallow) this.lost = true;
    if (this.lost) return;
    const { faults } = this;
    const last = this.#queue.at(-1)?.due ?? 0;
    const bytes = sizeOf(item);
    this.#queued += bytes;
    const arrives = Math.max(performance.now(), faults.freeAt) + (bytes / faults.rate) * 1000;
    faults.freeAt = arrives;
    this.#queue.push({ due: Math.max(last, arrives + faults.delay), item });
    this.update();
  }

  #deliver(item: Buffer | 'end' | 'reset'): void {
    if (this.lost || this.to.destroyed) return;
    if (item === 'reset') this.to.resetAndDestroy();
    else if (this.to.writableEnded) return;
    else if (item === 'end') this.to.end();
    else this.to.write(item);
  }
}

const sizeOf = (item: Buffer | 'end' | 'reset') => (typeof item === 'string' ? 0 : item.length);

/** @param target the server's port on 127.0.0.1, or where it is when a client connects */
export async function line(target: number | (() => number), own: Owner = onTestFinished): Promise<Line> {
  const [up, down] = [none(), none()];
  const sockets = new Set<Socket>();
  const pairs = new Set<[Flow, Flow]>();
  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => {}).on('close', () => sockets.delete(socket));
    return socket.setNoDelay();
  };
  const server = createServer({ allowHalfOpen: true }, accepted => {
    const client = keep(accepted);
    // the server never sees a connection whose first packet is lost
    if (up.swallow) return void client.resume().on('end', () => client.destroy());
    const port = typeof target === 'number' ? target : target();
    const upstream = keep(connect({ host: '127.0.0.1', port, allowHalfOpen: true }));
    const pair: [Flow, Flow] = [new Flow(client, upstream, up), new Flow(upstream, client, down)];
    pairs.add(pair);
    for (const end of [client, upstream])
      end.on('close', () => client.destroyed && upstream.destroyed && pairs.delete(pair));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const change = (direction: Direction, faults: Partial<Faults>) => {
    if (direction !== 'down') Object.assign(up, faults);
    if (direction !== 'up') Object.assign(down, faults);
    for (const flows of pairs) for (const flow of flows) flow.update();
  };
  const made: Line = {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return [...pairs].filter(([{ from, to }]) => !from.destroyed && !to.destroyed).length;
    },
    swallow: direction => change(direction, { swallow: true }),
    stall: direction => change(direction, { stall: true }),
    delay: ms => change('both', { delay: ms }),
    limit: (direction, rate) => change(direction, { rate }),
    heal: () => change('both', none()),
    cut: () => {
      for (const socket of sockets) socket.resetAndDestroy();
    },
    halfOpen: () => {
      for (const flows of pairs) {
        for (const flow of flows) flow.lost = true;
        flows[0].from.resetAndDestroy();
      }
    },
    close: async () => {
      const closed = new Promise(resolve => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
  own(made.close);
  return made;
}
