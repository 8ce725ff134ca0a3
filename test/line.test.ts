/** The line that other tests break things with does what it says. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { until } from './harness.js';
import { type Line, line } from './line.js';

interface End {
  socket: Socket;
  text: string;
  closed: boolean;
}
const end = (socket: Socket): End => {
  const made: End = { socket, text: '', closed: false };
  socket.setEncoding('utf8').on('data', text => {
    made.text += text;
  });
  socket
    .on('error', () => {})
    .on('close', () => {
      made.closed = true;
    });
  return made;
};

describe('a line', () => {
  let through: Line;
  const accepted: End[] = [];
  beforeEach(async () => {
    accepted.length = 0;
    const server = createServer(socket => accepted.push(end(socket)));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    through = await line((server.address() as AddressInfo).port, onTestFinished);
    onTestFinished(() => {
      for (const { socket } of accepted) socket.destroy();
      server.close();
    });
  });
  const dial = async () => {
    const socket = connect(through.port, '127.0.0.1');
    onTestFinished(() => void socket.destroy());
    await once(socket, 'connect');
    return end(socket);
  };
  const pair = async (): Promise<[End, End]> => {
    const before = accepted.length;
    const client = await dial();
    await until(() => accepted.length > before);
    return [client, accepted[before] as End];
  };
  /** Both ends hear each other. */
  const talk = async ([client, server]: [End, End]) => {
    const [asked, answered] = [client.text.length, server.text.length];
    client.socket.write('up');
    server.socket.write('down');
    await until(() => server.text.length > answered && client.text.length > asked);
  };

  test('carries bytes and the end of each side', async () => {
    const [client, server] = await pair();
    await talk([client, server]);
    expect(through.connections).toBe(1);
    client.socket.end();
    await until(() => server.closed && client.closed);
    await until(() => through.connections === 0);
  });

  test('swallows one way: nothing arrives, no end either, and the connection stays silent when it heals', async () => {
    const [client, server] = await pair();
    const [untouched, other] = await pair();
    through.swallow('up');
    client.socket.write('lost');
    server.socket.write('heard');
    await until(() => client.text === 'heard');
    const late = await dial();
    late.socket.write('lost');
    through.heal();
    client.socket.write('lost too');
    client.socket.end();
    await talk([untouched, other]);
    await talk(await pair());
    expect([server.text, server.closed, late.closed]).toEqual(['', false, false]);
  });

  test('stalls: everything arrives in order when it heals, the end too', async () => {
    const [client, server] = await pair();
    through.stall('both');
    client.socket.write('1');
    server.socket.write('a');
    await new Promise(resolve => setTimeout(resolve, 50));
    client.socket.end('2');
    expect([client.text, server.text]).toEqual(['', '']);
    through.heal();
    await until(() => server.text === '12' && client.text === 'a' && server.closed);
  });

  test('delays each way, and keeps the order when it heals', async () => {
    const [client, server] = await pair();
    const began = performance.now();
    through.delay(200);
    client.socket.write('1');
    await until(() => server.text === '1');
    expect(performance.now() - began).toBeGreaterThan(190);
    client.socket.write('2');
    await new Promise(resolve => setTimeout(resolve, 20));
    through.heal();
    client.socket.write('3');
    await until(() => server.text === '123');
  });

  test('carries so many bytes a second in a direction, over all connections', async () => {
    const [one, two] = [await pair(), await pair()];
    through.limit('down', 100_000);
    const began = performance.now();
    for (const [client, server] of [one, two]) {
      client.socket.write('up');
      server.socket.write('x'.repeat(20_000));
    }
    await until(() => one[1].text === 'up' && two[1].text === 'up');
    expect(two[0].text).not.toHaveLength(20_000);
    await until(() => one[0].text.length + two[0].text.length === 40_000);
    expect(performance.now() - began).toBeGreaterThan(390);
    through.heal();
    await talk(one);
  });

  test('cuts: both ends are reset, and a new connection works', async () => {
    const [client, server] = await pair();
    through.cut();
    await until(() => client.closed && server.closed);
    await talk(await pair());
  });

  test('leaves the server with a half-open connection', async () => {
    const [client, server] = await pair();
    through.halfOpen();
    await until(() => client.closed);
    server.socket.write('to nobody');
    await talk(await pair());
    expect([server.closed, through.connections]).toEqual([false, 1]);
  });
});
