/** The sockets that clients of Redis are given. */
import { once } from 'node:events';
import { createServer } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { Connector } from '../../src/brokers/redis/stream.js';

test('a socket that fails twice, as a TLS handshake does, fails: nothing is thrown', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const connector = new Connector({ host: '127.0.0.1', port });
  const socket = await connector.connect(() => {});
  onTestFinished(() => void socket.destroy());
  const [first, second] = [new Error('the certificate'), new Error('decode error')];
  socket.emit('error', first);
  socket.emit('error', second);
  expect((connector as unknown as { firstError?: Error }).firstError).toBe(first);
});
