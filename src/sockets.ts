/**
 * The listening sockets of a cluster. The primary binds them, keeps them open and accepts nothing: so a taken port is found
 * before any worker starts, and connections that wait outlive a worker. Each worker gets both sockets, and accepts.
 */
import type { Worker } from 'node:cluster';
import { lookup } from 'node:dns/promises';
import net, { type Server } from 'node:net';
import { getSystemErrorName } from 'node:util';
import { Balance } from './balance.js';
import { PORT_NAMES, type PortName } from './wire/shared.js';
import type { ToWorker } from './worker.js';

type Address = [host: string, port: number];

export class Sockets {
  readonly #ports = new Map<PortName, { handle: Handle; balance: Balance<Worker> }>();
  #closed = false;

  /** @throws errors of listening, such as EADDRINUSE and ENOTFOUND */
  async bind(addresses: Record<PortName, Address>): Promise<void> {
    for (const port of PORT_NAMES) {
      const balance = new Balance<Worker>({
        pause: worker => this.#send(worker, { kind: 'pause', port }),
        resume: worker => void this.#share(worker, port),
        ask: worker => this.#send(worker, { kind: 'ask', port }),
      });
      this.#ports.set(port, { handle: await bind(...addresses[port]), balance });
    }
  }

  /** A worker is ready to accept connections on this port. */
  open(worker: Worker, port: PortName): void {
    void this.#share(worker, port);
    this.#ports.get(port)?.balance.add(worker);
  }

  /** A worker has accepted so many connections. */
  onReport(worker: Worker, port: PortName, count: number): void {
    if (!this.#closed) this.#ports.get(port)?.balance.onReport(worker, count);
  }

  /** A worker has died. */
  delete(worker: Worker): void {
    for (const { balance } of this.#ports.values()) balance.delete(worker);
  }

  /** To be called a few times a second: see `Balance.check`. */
  check(): void {
    if (!this.#closed) for (const { balance } of this.#ports.values()) balance.check();
  }

  /** Has all workers accept, also those that paused. When the last of them closes a port, it is closed. */
  async close(): Promise<void> {
    this.#closed = true;
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
  const { address, family } = await lookup(host.replace(/^\[|\]$/g, ''));
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
