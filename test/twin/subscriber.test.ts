/** The client that receives messages, over connections in memory: what it says of a subscription that ends. */
import type { Redis } from 'ioredis';
import { expect, onTestFinished, test } from 'vitest';
import { Subscriber } from '../../src/brokers/redis/subscriber.js';
import { Random } from '../chaos/random.js';
import { FakeClient } from './clients.js';
import { Clock } from './clock.js';
import { Line, Server } from './server.js';

function world() {
  const clock = new Clock();
  const random = new Random(1);
  clock.install(() => random.next());
  onTestFinished(() => clock.uninstall());
  const server = new Server(7001);
  const line = new Line(random, 1);
  // each way takes a millisecond, so that each step is between two others
  line.delay = () => 1;
  const client = new FakeClient(line, 'subscriber', () => server);
  const said: string[] = [];
  const subscriber = new Subscriber(client as unknown as Redis, ['c'], {
    message: text => said.push(`message ${text}`),
    subscribed: () => said.push('subscribed'),
    lost: cause => said.push(cause),
  });
  subscriber.connect();
  const pass = (ms: number) => clock.runUntil(clock.now + ms);
  const reset = (message: string) => {
    for (const connection of line.connections) connection.reset(message);
  };
  return { server, line, client, subscriber, said, pass, reset };
}

test('a server that is away at the start is a cause with its error', async () => {
  const { server, said, pass } = world();
  server.up = false;
  await pass(10);
  expect(said).toEqual(['fake:7001: connect ECONNREFUSED fake:7001']);
});

test('a connection that is dropped ends for the reason of that, whatever becomes of it; the next one for its own', async () => {
  const { client, subscriber, said, pass, reset } = world();
  await pass(100);
  subscriber.reconnect('fake:7001: no messages');
  client.emit('error', new Error('write EPIPE'));
  await pass(1000);
  expect(said.splice(0)).toEqual(['subscribed', 'fake:7001: no messages', 'subscribed']);
  reset('read ECONNRESET');
  await pass(10);
  expect(said).toEqual(['fake:7001: read ECONNRESET']);
});

test('a connection breaks while it subscribes: it ended once, for the reason of that', async () => {
  const { server, said, pass, reset } = world();
  server.pause(5);
  await pass(6);
  expect(said).toEqual([]);
  server.pause(1000);
  await pass(1);
  reset('read ECONNRESET');
  server.pausedUntil = 0;
  await pass(2000);
  expect(said).toEqual(['fake:7001: read ECONNRESET', 'subscribed']);
});

test('a connection is dropped while it subscribes: its reply means nothing', async () => {
  for (let ms = 0; ms < 12; ms++) {
    const { line, subscriber, said, pass } = world();
    await pass(ms + 0.5);
    // it is closed later than its reply comes
    const [connection] = line.connections;
    if (connection) connection.end = () => void setTimeout(() => connection.reset('left'), 100);
    const before = said.length;
    subscriber.reconnect('fake:7001: left');
    await pass(50);
    expect(said.slice(before), `dropped after ${ms} ms`).toEqual(connection ? [] : ['subscribed']);
    await pass(1000);
    expect(said.at(-1)).toBe('subscribed');
    expect(subscriber.subscribed).toBe(true);
  }
});

test('SUBSCRIBE is refused for a long time: it is tried again, and not more than a few times a second', async () => {
  const { server, said, subscriber, pass } = world();
  server.refusals.set('subscribe', 'NOPERM no permissions');
  await pass(60_000);
  expect(new Set(said)).toEqual(
    new Set(['fake:7001: SUBSCRIBE: NOPERM no permissions', 'fake:7001: SUBSCRIBE: NOPERM no permissions']),
  );
  const tries = said.length;
  expect(tries).toBeGreaterThan(60);
  expect(tries).toBeLessThan(600);
  server.refusals.clear();
  await pass(3000);
  expect(subscriber.subscribed).toBe(true);
});
