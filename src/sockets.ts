/**
 * The listening sockets of a cluster. The primary binds them, keeps them open and accepts nothing: so a taken port is found
 * before any worker starts, and connections that wait outlive a worker. Each worker gets both sockets, and accepts.
 */
import type { Worker } from 'node:cluster';
import { lookup } from 'node:dns/promises';
import net, { type Server } from 'node:net';
import { getSystemErrorName } from 'node:util';
import { Balance, CHECK_INTERVAL } from './balance.js';
import { withoutBrackets } from './loopback.js';
import { PORT_NAMES, type PortName } from './wire/shared.js';
import type { ToWorker } from './worker.js';

type Address = [host: string, port: number];

/**
 * While nobody accepts, workers that are ready wait for those that start with them, or the first one would get all clients
 * that wait. So long at most, ms: one that cannot start does not hold up the others.
 */
const START_LIMIT = 5000;

interface Port {
  handle: Handle;
  balance: Balance<Worker>;
  /** ready, and waits for the others */
  ready: Set<Worker>;
}

export class Sockets {
  readonly #ports = new Map<PortName, Port>();
  /** the workers that others wait for at a start */
  readonly #awaited = new Set<Worker>();
  #limit: NodeJS.Timeout | undefined;
  #closed = false;

  /** @throws errors of listening, such as EADDRINUSE and ENOTFOUND */
  async bind(addresses: Record<PortName, Address>): Promise<void> {
    for (const port of PORT_NAMES) {
      const balance = new Balance<Worker>({
        pause: worker => this.#send(worker, { kind: 'pause', port }),
        resume: worker => void this.#share(worker, port),
        ask: worker => this.#send(worker, { kind: 'ask', port }),
      });
      this.#ports.set(port, { handle: await bind(...addresses[port]), balance, ready: new Set() });
    }
    setInterval(() => this.#check(), CHECK_INTERVAL).unref();
  }

  /** A worker was started. */
  add(worker: Worker): void {
    this.#awaited.add(worker);
  }

  /** A worker is ready to accept connections on this port. */
  open(worker: Worker, name: PortName): void {
    const port = this.#ports.get(name);
    // it had no descriptor left: asks again
    if (port?.balance.has(worker)) return void this.#share(worker, name);
    port?.ready.add(worker);
    this.#begin();
  }

  /** @param accepted connections since the worker's last report @param open all that are open now */
  onReport(worker: Worker, port: PortName, accepted: number, open: number): void {
    if (!this.#closed) this.#ports.get(port)?.balance.onReport(worker, accepted, open);
  }

  /** A worker has died. */
  delete(worker: Worker): void {
    this.#awaited.delete(worker);
    for (const { balance, ready } of this.#ports.values()) {
      ready.delete(worker);
      balance.delete(worker);
    }
    this.#begin();
  }

  #check(): void {
    if (!this.#closed) for (const { balance } of this.#ports.values()) balance.check();
  }

  /** Has the workers that are ready accept, when all are or others accept already. */
  #begin(): void {
    let waiting = false;
    for (const [name, { balance, ready }] of this.#ports) {
      if (balance.size > 0 || this.#late(ready).length === 0) {
        for (const worker of ready) {
          void this.#share(worker, name);
          balance.add(worker);
        }
        ready.clear();
      }
      waiting ||= ready.size > 0;
    }
    if (waiting) this.#limit ??= setTimeout(() => this.#beginWithout(), START_LIMIT).unref();
    else {
      clearTimeout(this.#limit);
      this.#limit = undefined;
    }
  }

  /** Waits no longer for the workers that are not ready. */
  #beginWithout(): void {
    this.#limit = undefined;
    for (const { ready } of this.#ports.values())
      if (ready.size > 0) for (const worker of this.#late(ready)) this.#awaited.delete(worker);
    this.#begin();
  }

  #late(ready: Set<Worker>): Worker[] {
    return [...this.#awaited].filter(worker => !ready.has(worker));
  }

  /** Has all workers accept, also those that paused. When the last of them closes a port, it is closed. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#limit);
    const paused = [...this.#ports].flatMap(([port, { balance }]) =>
      balance.paused().map(worker => ({ worker, port })),
    );
    await Promise.all(paused.map(({ worker, port }) => this.#share(worker, port)));
    for (const { handle } of this.#ports.values()) handle.close();
    this.#ports.clear();
  }

  /** Has a worker accept connections. It gets the socket each time, because it closes it to pause. */
  #share(worker: Worker, port: PortName): Promise<void> {
    // the types know no socket that is only bound
    const socket = this.#ports.get(port)?.handle as unknown as Server | undefined;
    return new Promise(resolve => {
      if (!socket || !worker.isConnected()) return resolve();
      worker.send({ kind: 'accept', port } satisfies ToWorker, socket, () => resolve());
    });
  }

  #send(worker: Worker, message: ToWorker): void {
    if (worker.isConnected()) worker.send(message, () => {});
  }
}

/** A socket as Node's cluster module passes it between processes. */
interface Handle {
  close(): void;
  /** @returns 0, or the negative number of an error */
  getsockname(name: { address?: string; port?: number }): number;
}

/**
 * Node.js has no documented way to bind a socket without accepting from it. Its cluster module uses this one, and
 * test/workers.test.ts fails if it changes.
 * @returns the negative number of an error if it fails
 */
const { _createServerHandle: createServerHandle } = net as unknown as {
  _createServerHandle(
    address: string,
    port: number,
    family: number,
    fd: undefined,
    flags: 0,
  ): Handle | number;
};

/** @throws errors of listening, such as EADDRINUSE and ENOTFOUND */
async function bind(host: string, port: number): Promise<Handle> {
  const { address, family } = await lookup(withoutBrackets(host));
  const handle = createServerHandle(address, port, family, undefined, 0);
  if (typeof handle === 'number') throw failed(handle, address, port);
  // libuv reports a taken port only now
  const errno = handle.getsockname({});
  if (errno === 0) return handle;
  handle.close();
  throw failed(errno, address, port);
}

function failed(errno: number, address: string, port: number): Error {
  const code = getSystemErrorName(errno);
  const message = `listen ${code}: ${address}:${port}`;
  return Object.assign(new Error(message), { code, errno, syscall: 'listen', address, port });
}
