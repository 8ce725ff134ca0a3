/** Heartbeats whose answers come in any order: what the node takes from them. */
import { Cluster, type Redis } from 'ioredis';
import { expect, test } from 'vitest';
import type { Connections } from '../../src/brokers/redis/connections.js';
import { noteFailure } from '../../src/brokers/redis/failures.js';
import { Heartbeats } from '../../src/brokers/redis/heartbeats.js';
import { Keys } from '../../src/brokers/redis/keys.js';
import { Survey } from '../../src/brokers/survey.js';

/** Heartbeats to one server, alone or of a Cluster, each of which the test answers. */
function world(clustered = false) {
  const sent: { answer(): void; fail(message: string): void }[] = [];
  const lost: string[] = [];
  const client = {
    options: { host: 'fake', port: 7001 },
    ...(clustered && { slots: Array(16_384).fill(['fake:7001']) }),
    tagwaitHeartbeat: () =>
      new Promise<[number, string]>((resolve, reject) => {
        sent.push({
          answer: () => resolve([1, 'id']),
          fail: message => reject(new Error(message)),
        });
      }),
    exists: async () => 0,
    info: async () => 'maxmemory_policy:noeviction\r\n',
  };
  if (clustered) Object.setPrototypeOf(client, Cluster.prototype);
  const channel = { broadcast: async () => 1, send: () => {} };
  const heartbeats = new Heartbeats({
    connections: { client } as unknown as Connections,
    keys: new Keys('t', 0, false),
    node: 'n',
    log: { warn() {} },
    survey: new Survey('n', channel, {} as never),
    channel: 'all',
    arrivals: { arrived: 0, ping: async () => 'PONG' },
    onSilence: () => {},
    onServerLost: cause => lost.push(cause),
  });
  return { heartbeats, sent, lost, client: client as unknown as Redis };
}

test('a heartbeat fails after its successor was answered: the server works', async () => {
  const { heartbeats, sent } = world();
  const [first, second] = [heartbeats.send(), heartbeats.send()];
  sent[1]?.answer();
  await second;
  sent[0]?.fail('Connection is closed.');
  await first;
  expect(heartbeats.failure).toBe(undefined);
});

test('a heartbeat is answered after its successor failed: the server does not work until another one is answered', async () => {
  const { heartbeats, sent } = world();
  const [first, second] = [heartbeats.send(), heartbeats.send()];
  sent[1]?.fail('ERR no');
  await second;
  sent[0]?.answer();
  await first;
  expect(heartbeats.failure).toBe('fake:7001: ERR no');
  const third = heartbeats.send();
  sent[2]?.answer();
  await third;
  expect(heartbeats.failure).toBe(undefined);
});

test('the connection to all servers broke: they count as failed until the next answer, also that of an earlier heartbeat', async () => {
  const { heartbeats, sent } = world();
  const first = heartbeats.send();
  heartbeats.fail('fake:7001: read ECONNRESET');
  expect(heartbeats.failure).toBe('fake:7001: read ECONNRESET');
  sent[0]?.answer();
  await first;
  expect(heartbeats.failure).toBe(undefined);
});

test('a server that works again fails for another reason than before', async () => {
  const { heartbeats, sent, client } = world();
  noteFailure(client, 'fake:7001', 'read ECONNRESET');
  for (const [at, reason] of ['read ECONNRESET', undefined, 'Connection is closed.'].entries()) {
    const answered = heartbeats.send();
    if (reason) sent[at]?.fail('Connection is closed.');
    else sent[at]?.answer();
    await answered;
    expect(heartbeats.failure).toBe(reason && `fake:7001: ${reason}`);
  }
});

test.each([false, true])('a server is lost: it is named once, and only of a Cluster: %s', async clustered => {
  const { heartbeats, sent, lost } = world(clustered);
  const beat = async (failure?: string) => {
    const settled = heartbeats.send();
    if (failure) sent.at(-1)?.fail(failure);
    else sent.at(-1)?.answer();
    await settled;
    return lost.splice(0);
  };
  const wanted = (text: string) => (clustered ? [`fake:7001: ${text}`] : []);
  expect(await beat()).toEqual([]);
  expect(await beat('ERR one')).toEqual(wanted('ERR one'));
  expect(await beat('ERR two')).toEqual([]);
  expect(await beat()).toEqual([]);
  expect(await beat('ERR three')).toEqual(wanted('ERR three'));
});

test('a server of a Cluster is not lost when an old heartbeat fails', async () => {
  const { heartbeats, sent, lost } = world(true);
  const [first, second] = [heartbeats.send(), heartbeats.send()];
  sent[1]?.answer();
  await second;
  sent[0]?.fail('Connection is closed.');
  await first;
  expect(lost).toEqual([]);
});
