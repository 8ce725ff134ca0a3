/** A TCP load balancer in this process. It has no health checks: a connection goes to the next node that accepts it. */
import { connect, createServer, type Socket } from 'node:net';
import { type Owner, onTestFinished } from '../owner.js';
import { listenOnFree } from '../ports.js';

/** Listens on all of 127.0.0.0/8, because a browser opens six connections to each host. @returns the port */
export async function balancer(nodes: readonly number[], own: Owner = onTestFinished): Promise<number> {
  const sockets = new Set<Socket>();
  let turn = 0;
  const server = createServer(client => {
    sockets.add(client);
    client.on('close', () => sockets.delete(client));
    client.on('error', () => {});
    const first = turn++;
    passOn(
      client,
      nodes.map((_, index) => nodes[(first + index) % nodes.length] as number),
    );
  });
  own(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return listenOnFree(server, '0.0.0.0');
}

/** Connects the client to the first of these ports that accepts. */
function passOn(client: Socket, [port, ...others]: number[]): void {
  if (port === undefined) return void client.resetAndDestroy();
  let accepted = false;
  const node = connect(port, '127.0.0.1', () => {
    accepted = true;
    node.setNoDelay();
    client.setNoDelay().pipe(node).pipe(client);
  });
  client.on('close', () => node.destroy());
  node.on('error', () => {
    if (accepted) client.resetAndDestroy();
    else if (!client.destroyed) passOn(client, others);
  });
}
