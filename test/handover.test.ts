/** Connections that were handed to a worker when it died, with a real cluster of Node.js. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { until } from './harness.js';

/** A connection that is open, and what came on it once it is closed. */
async function open(port: number): Promise<{ socket: Socket; text?: string }> {
  const socket = connect(port, '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  const opened: { socket: Socket; text?: string } = { socket };
  let text = '';
  socket.on('data', part => {
    text += part;
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    opened.text = text;
  });
  await once(socket, 'connect');
  return opened;
}
const openAll = (port: number, count: number) => Promise.all(Array.from({ length: count }, () => open(port)));

test('a worker is killed with a connection that it did not take: every client is answered or hears the end', async () => {
  const primary = spawn(process.execPath, [fileURLToPath(new URL('handover.js', import.meta.url))], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  onTestFinished(() => void primary.kill('SIGKILL'));
  let written = '';
  primary.stdout.on('data', text => {
    written += text;
  });
  const lines = () => written.split('\n').slice(0, -1);
  const [first] = await until(() => lines().length === 1 && lines());
  const [other, port] = JSON.parse(first as string) as [number, number];

  const asked = await openAll(port, 4);
  // two workers are free: the first two connections go to one of them each
  await until(() => asked.filter(({ text }) => text === 'answered').length === 3);
  const [untaken] = asked.filter(({ text }) => text === undefined);

  primary.kill('SIGUSR2');
  await until(() => lines().includes('"killed"'));
  const later = await openAll(other, 4);
  primary.stdin.write('.');
  await until(() => [...later, untaken].every(one => one?.text !== undefined));
  // one may have been handed to the dead worker before its end was read: it is closed, and its client can ask again
  expect(later.filter(({ text }) => text === 'answered').length).toBeGreaterThanOrEqual(3);
  expect(untaken?.text).toBe('');
});
