/** The balancer in front of the nodes. When told to, it repeats polls or cuts them, as bad ones do. */
import { Agent, createServer, type IncomingMessage, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Random } from './random.js';

export interface Front {
  url: string;
  /** share of polls that reach two nodes, and of those that are cut */
  bad: { repeat: number; cut: number };
  close(): void;
}

/** @param nodes where the nodes are now */
export async function proxy(nodes: () => string[], random: Random): Promise<Front> {
  const agent = new Agent({ keepAlive: true });
  const bad = { repeat: 0, cut: 0 };
  const server: Server = createServer((asked, answer) => {
    let answered = false;
    const targets = [...nodes()].sort(() => random.next() - 0.5);
    const sent = targets.slice(0, random.next() < bad.repeat ? 2 : 1).map(node => {
      const forwarded = request(`${node}${asked.url}`, { agent }, (reply: IncomingMessage) => {
        if (answered) return reply.resume();
        answered = true;
        answer.writeHead(reply.statusCode ?? 502, reply.headers);
        return reply.pipe(answer).on('error', () => {});
      });
      forwarded.on('error', () => {
        if (!answered) answer.writeHead(502).end();
        answered = true;
      });
      forwarded.end();
      return forwarded;
    });
    if (random.next() < bad.cut) setTimeout(() => answer.destroy(), random.between(1, 500)).unref();
    answer.on('close', () => {
      for (const one of sent) one.destroy();
    });
  });
  server.listen(0, '127.0.0.1');
  await new Promise(resolve => server.once('listening', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    bad,
    close: () => {
      server.close();
      server.closeAllConnections();
      agent.destroy();
    },
  };
}
