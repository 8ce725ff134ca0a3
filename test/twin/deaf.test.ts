/** A node whose messages from Redis stop without a sign, in virtual time: how soon its pages hear all the same. */

import { expect, onTestFinished, test } from 'vitest';
import { RedisBroker } from '../../src/brokers/redis/redis.js';
import { LongPoll } from '../../src/hold/longpoll.js';
import { textOf } from '../../src/protocol/answers.js';
import { Random } from '../chaos/random.js';
import { fakeConnections } from './clients.js';
import { Clock } from './clock.js';
import { Line, Server } from './server.js';

/** Two nodes on one server, and a page that is held on the first from the start. */
async function world() {
  const clock = new Clock();
  const random = new Random(1);
  clock.install(() => random.next());
  onTestFinished(() => clock.uninstall());
  const server = new Server(7001);
  const nodes = ['n0', 'n1'].map(node => {
    const line = new Line(random, 1);
    const broker = new RedisBroker(
      {
        store: { kind: 'server', url: 'redis://fake:7001' },
        prefix: 't',
        history: 4,
        wait: 0,
        node,
        log: { info() {}, warn() {} },
      },
      () => fakeConnections(line, [server], false),
    );
    const longpoll = new LongPoll(broker, { id: node, version: '0' });
    void longpoll.start();
    return { line, longpoll };
  });
  const [one, two] = nodes as [(typeof nodes)[0], (typeof nodes)[0]];
  await clock.runUntil(1000);
  const heard: { data: string; at: number }[] = [];
  const ask = (since: string) => {
    one.longpoll.get(
      { key: 'k', since, hold: 25_000 },
      {
        answer: answer => {
          const { data, cursor = since } = JSON.parse(textOf(answer));
          if (data) heard.push({ data, at: clock.now });
          ask(cursor);
        },
      },
    );
  };
  ask('');
  return {
    clock,
    server,
    one,
    two,
    heard,
    set: (value: string) => two.longpoll.set('k', value, { ttl: 600_000 }),
  };
}

// what is believed is verified every 10 s, at 10, 20 and 30 s: what is heard long before that was noticed otherwise
test.each([
  ['the connection goes silent', 10_500],
  ['and again, later', 20_500],
])('%s: a value is heard within 6 s', async (_, at) => {
  const { clock, one, set, heard } = await world();
  await clock.runUntil(at);
  for (const connection of one.line.connections) if (connection.role === 'subscriber') connection.kill();
  void set('lost');
  await clock.runUntil(at + 6000);
  expect(heard.map(({ data }) => data)).toEqual(['lost']);
  void set('next');
  await clock.runUntil(at + 6100);
  expect(
    heard.map(({ data }) => data),
    'and the next at once',
  ).toEqual(['lost', 'next']);
});

test('some messages are lost, a heartbeat among them: the value is heard within 5 s', async () => {
  const { clock, one, set, heard } = await world();
  await clock.runUntil(10_500);
  one.line.dropping = 'all';
  void set('lost');
  await clock.runUntil(12_600);
  expect(heard).toEqual([]);
  one.line.dropping = 'none';
  await clock.runUntil(15_500);
  expect(heard.map(({ data }) => data)).toEqual(['lost']);
});

test('one heartbeat is lost, and the next comes before its echo is late: the value is heard within 4 s', async () => {
  const { clock, one, set, heard } = await world();
  await clock.runUntil(10_500);
  // commands and replies are slow: a reply comes after 1.4 s, and its echo is waited for 1.5 s more
  one.line.delay = role => (role === 'commands' ? 700 : 1);
  await clock.runUntil(14_000);
  expect(one.longpoll.ready()).toBe(true);
  const reconnects = one.longpoll.store().reconnects;
  one.line.dropping = 'all';
  void set('lost');
  await clock.runUntil(15_000);
  one.line.dropping = 'none';
  await clock.runUntil(16_600);
  expect(heard, 'no message has arrived yet').toEqual([]);
  await clock.runUntil(18_500);
  expect(heard.map(({ data }) => data)).toEqual(['lost']);
  expect(one.longpoll.store().reconnects, 'the connection was never in doubt').toBe(reconnects);
});

test('all data are flushed: a value that is set 3 s later is heard at once', async () => {
  const { clock, server, set, heard } = await world();
  await clock.runUntil(10_500);
  for (const name of server.store.keys()) server.store.del(name);
  await clock.runUntil(13_500);
  void set('after');
  await clock.runUntil(13_600);
  expect(heard.map(({ data }) => data)).toEqual(['after']);
});

test('one message is lost, and nothing tells: the value is heard when what is believed is verified', async () => {
  const { clock, one, set, heard } = await world();
  await clock.runUntil(10_500);
  one.line.dropping = 'entries';
  void set('lost');
  await clock.runUntil(10_600);
  one.line.dropping = 'none';
  await clock.runUntil(19_000);
  expect(heard).toEqual([]);
  await clock.runUntil(25_500);
  expect(heard.map(({ data }) => data)).toEqual(['lost']);
});
