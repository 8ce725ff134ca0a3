/**
 * A primary with two workers that share two ports, for test/handover.test.ts. It stops one of them, and writes the ports
 * as JSON. At SIGUSR2 it kills that worker, writes a line, and blocks until a byte comes on stdin: so it finds the end of
 * the worker's channel, new connections and the worker's exit at one time, and reads them in this order.
 */
import cluster from 'node:cluster';
import { once } from 'node:events';
import { readSync, writeSync } from 'node:fs';
import { createServer } from 'node:net';
import { keepHandedOver } from '../dist/handover.js';

const PORTS = 2;
const write = (/** @type {unknown} */ line) => writeSync(1, `${JSON.stringify(line)}\n`);

async function work() {
  const ports = [];
  for (let place = 0; place < PORTS; place++) {
    const server = createServer(socket => socket.on('error', () => {}).end('answered'));
    server.listen({ port: 0, host: '127.0.0.1' });
    await once(server, 'listening');
    ports.push(/** @type {import('node:net').AddressInfo} */ (server.address()).port);
  }
  process.send?.(ports);
}

async function lead() {
  cluster.schedulingPolicy = cluster.SCHED_RR;
  const workers = [cluster.fork(), cluster.fork()];
  for (const worker of workers) {
    worker.on('error', () => {});
    worker.on('exit', keepHandedOver(worker.process));
  }
  const [[ports]] = await Promise.all(workers.map(worker => once(worker, 'message')));
  const pid = /** @type {number} */ (workers[0]?.process.pid);
  process.on('SIGUSR2', () => {
    process.kill(pid, 'SIGKILL');
    write('killed');
    readSync(0, Buffer.alloc(1));
  });
  process.kill(pid, 'SIGSTOP');
  write(ports);
}

await (cluster.isPrimary ? lead() : work());
