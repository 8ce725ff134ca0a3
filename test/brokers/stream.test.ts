/** The sockets that clients of Redis are given. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { Connector } from '../../src/brokers/redis/stream.js';

/** A server that listens on a port, or at a path. @returns the port, and the first bytes of the next connection */
async function server(path?: string) {
  const made = createServer();
  onTestFinished(() => void made.close());
  made.listen(path ?? { port: 0, host: '127.0.0.1' });
  await once(made, 'listening');
  const address = made.address() as { port: number };
  const bytes = async () => {
    const [socket] = (await once(made, 'connection')) as [Socket];
    onTestFinished(() => void socket.destroy());
    const [data] = (await once(
      socket.on('error', () => {}),
      'data',
    )) as [Buffer];
    return data.toString('latin1');
  };
  return { port: address.port, bytes };
}
async function connect(options: object): Promise<{ connector: Connector; socket: Socket }> {
  const connector = new Connector(options);
  const socket = await connector.connect(() => {});
  onTestFinished(() => void socket.destroy());
  return { connector, socket };
}

test('a socket that fails twice, as a TLS handshake does, fails: nothing is thrown', async () => {
  const { port } = await server();
  const { connector, socket } = await connect({ host: '127.0.0.1', port });
  const [first, second] = [new Error('the certificate'), new Error('decode error')];
  socket.emit('error', first);
  socket.emit('error', second);
  expect((connector as unknown as { firstError?: Error }).firstError).toBe(first);
});

test('connects to a Unix socket if a path is given, and ignores host and port', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tagwait-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'redis.sock');
  const { bytes } = await server(path);
  const first = bytes();
  const { socket } = await connect({ path, host: '127.0.0.1', port: 1 });
  socket.write('PING');
  expect(await first).toBe('PING');
});

test.each([
  ['its name', 'localhost', {}, /localhost/],
  ['no name for an address', '127.0.0.1', {}, /^(?!.*127\.0\.0\.1)/s],
  ['the name of the settings', 'localhost', { servername: 'redis.example' }, /redis\.example/],
])('with TLS the server is sent %s', async (_, host, tls, sent) => {
  const { port, bytes } = await server();
  const first = bytes();
  // what a client sends first in TLS is readable
  await connect({ host, port, tls });
  const hello = await first;
  expect(hello.charCodeAt(0)).toBe(0x16);
  expect(hello).toMatch(sent);
});
