/** The link to Redis over connections in memory, in virtual time: its states, what it logs, and what it asks for again. */
import slotOf from 'cluster-key-slot';
import type { Cluster, Redis } from 'ioredis';
import { expect, onTestFinished, test, vi } from 'vitest';
import { Unavailable, WrongStore } from '../../src/brokers/broker.js';
import { encode } from '../../src/brokers/messages.js';
import type { Connections } from '../../src/brokers/redis/connections.js';
import { RedisBroker } from '../../src/brokers/redis/redis.js';
import { Random } from '../chaos/random.js';
import { fakeConnections } from './clients.js';
import { Clock } from './clock.js';
import { type Connection, Line, Server } from './server.js';

const AWAY = 'Redis is away: held requests stay open, sets are refused';

function world(count = 1) {
  const clock = new Clock();
  const random = new Random(1);
  clock.install(() => random.next());
  onTestFinished(() => clock.uninstall());
  const servers = Array.from({ length: count }, (_, index) => new Server(7001 + index));
  for (const one of servers) one.others = servers.filter(other => other !== one);
  const node = (id = 'n') => {
    const line = new Line(random, 1);
    const logged: unknown[][] = [];
    const events = {
      entry: vi.fn(),
      gap: vi.fn(),
      drop: vi.fn(),
      held: () => 1,
      describe: () => ({ id, held: 0, version: '0', uptime: 0 }),
    };
    let clients!: Connections;
    const broker = new RedisBroker(
      {
        store:
          count > 1
            ? { kind: 'cluster', nodes: ['fake:7001'] }
            : { kind: 'server', url: 'redis://fake:7001' },
        prefix: 't',
        history: 4,
        wait: 0,
        node: id,
        log: {
          info: (...said: unknown[]) => logged.push(said),
          warn: (...said: unknown[]) => logged.push(said),
        } as never,
      },
      () => {
        clients = fakeConnections(line, servers, count > 1);
        return clients;
      },
    );
    const state = { started: false, error: undefined as Error | undefined };
    const start = () =>
      void broker.start(events).then(
        () => {
          state.started = true;
        },
        error => {
          state.error = error;
        },
      );
    return { line, logged, events, broker, state, start, clients: clients as Connections };
  };
  return { clock, servers: servers as [Server, ...Server[]], server: servers[0] as Server, node };
}

/** What became of a promise by now. */
async function settled<T>(clock: Clock, work: Promise<T>, within: number): Promise<T | Error | 'pending'> {
  let result: T | Error | 'pending' = 'pending';
  work.then(
    value => {
      result = value;
    },
    error => {
      result = error;
    },
  );
  await clock.runUntil(clock.now + within);
  return result;
}

async function ready(count = 1) {
  const made = world(count);
  const one = made.node();
  one.start();
  await made.clock.runUntil(500);
  expect(one.broker.status()).toEqual({ up: true, cause: undefined, reconnects: 0 });
  one.events.gap.mockClear();
  return { ...made, one };
}
const subscriberOf = ({ line }: { line: Line }) =>
  [...line.connections].filter(({ role }) => role === 'subscriber');

test('a start that goes well logs nothing, and says once that entries may have been missed before', async () => {
  const { clock, node } = world();
  const one = node();
  one.start();
  await clock.runUntil(100);
  expect([one.state.started, one.logged, one.events.gap.mock.calls.length]).toEqual([true, [], 1]);
  await clock.runUntil(20_000);
  expect([one.logged, one.events.gap.mock.calls.length]).toEqual([[], 1]);
});

test('a start whose commands are connected later than the subscriber logs nothing either', async () => {
  const { clock, node } = world();
  const one = node();
  one.line.delay = role => (role === 'commands' ? 100 : 1);
  one.start();
  await clock.runUntil(1000);
  expect([one.state.started, one.broker.status().up, one.logged]).toEqual([true, true, []]);
});

test('Redis is away at the start: the node starts without it, and is there when Redis is', async () => {
  const { clock, server, node } = world();
  server.up = false;
  const one = node();
  one.start();
  await clock.runUntil(100);
  const cause = 'fake:7001: connect ECONNREFUSED fake:7001';
  expect([one.state.started, one.broker.status()]).toEqual([true, { up: false, cause, reconnects: 0 }]);
  await clock.runUntil(10_000);
  expect(one.logged).toEqual([[{ cause }, AWAY]]);
  server.up = true;
  await clock.runUntil(12_500);
  expect(one.broker.status()).toEqual({ up: true, cause: undefined, reconnects: 1 });
  expect(one.logged.slice(1)).toEqual([['Redis is back']]);
});

test('Redis says nothing at the start: the node starts without it after 3 s', async () => {
  const { clock, server, node } = world();
  server.pause(60_000);
  const one = node();
  one.start();
  await clock.runUntil(2999);
  expect(one.state.started).toBe(false);
  await clock.runUntil(3001);
  expect([one.state.started, one.broker.status().cause]).toEqual([
    true,
    'fake:7001: no answer within 3000 ms; is it TLS (rediss://)?',
  ]);
});

test('Redis says nothing from some moment of the start on: the node starts after 3 s', async () => {
  for (let moment = 0; moment < 10; moment++) {
    const { clock, server, node } = world();
    const one = node();
    // each way takes a millisecond, so that each step of the start is between two others
    one.line.delay = () => 1;
    one.start();
    await clock.runUntil(moment + 0.5);
    server.pause(60_000);
    await clock.runUntil(3001);
    expect(one.state.started, `silent after ${moment} ms`).toBe(true);
  }
});

test.each<[what: string, count: number, options: object, address: string]>([
  ['a server with TLS', 1, { tls: {} }, 'fake:7001'],
  ['a socket', 1, { path: '/run/redis.sock' }, '/run/redis.sock'],
  ['a master that Sentinels name', 1, { name: 'tag', host: '' }, 'tag'],
  ['a Cluster', 3, {}, 'fake:7001,fake:7002,fake:7003'],
])('%s says nothing at the start: nobody guesses at TLS', async (_, count, options, at) => {
  const { clock, servers, node } = world(count);
  for (const server of servers) server.pause(60_000);
  const one = node();
  Object.assign(one.clients.client.options, options);
  one.start();
  await clock.runUntil(3001);
  expect(one.broker.status().cause).toBe(`${at}: no answer within 3000 ms`);
});

test.each([
  ['auth', 'WRONGPASS invalid username-password pair', /WRONGPASS/],
  ['exists', "CROSSSLOT Keys in request don't hash to the same slot", /TAGWAIT_REDIS_CLUSTER/],
  ['subscribe', "NOPERM User x has no permissions to run the 'subscribe' command", /docs\/redis\.md/],
  ['tagwaitHeartbeat', "NOPERM User x has no permissions to run the 'evalsha' command", /docs\/redis\.md/],
])('a %s that is refused for good ends the start, and all connections', async (command, refusal, said) => {
  const { clock, server, node } = world();
  server.refusals.set(command, refusal);
  const one = node();
  one.start();
  await clock.runUntil(2900);
  expect(one.state.error).toBeInstanceOf(WrongStore);
  expect(one.state.error?.message).toMatch(said);
  await clock.runUntil(10_000);
  expect([one.line.connections.size, clock.pending]).toEqual([0, 0]);
});

test('a server of a Cluster in place of one alone refuses two keys of different slots, which ends the start', async () => {
  const { clock, server, node } = world();
  const execute = server.execute.bind(server);
  server.execute = (connection, name, names, args) => {
    if (new Set(names.map(key => slotOf(key))).size > 1)
      throw new Error("CROSSSLOT Keys in request don't hash to the same slot");
    return execute(connection, name, names, args);
  };
  const one = node();
  one.start();
  await clock.runUntil(100);
  expect(one.state.error).toBeInstanceOf(WrongStore);
  expect(one.state.error?.message).toMatch(/: CROSSSLOT .*: give TAGWAIT_REDIS_CLUSTER/);
});

test('the same refusal later only takes Redis away, until it is lifted', async () => {
  const { clock, server, one } = await ready();
  server.refusals.set('*', 'NOPERM User x has no permissions');
  await clock.runUntil(10_000);
  expect(one.broker.status()).toMatchObject({ up: false, cause: expect.stringContaining('NOPERM') });
  server.refusals.clear();
  await clock.runUntil(15_000);
  expect(one.broker.status()).toMatchObject({ up: true, reconnects: 1 });
});

test('each cause is logged once while Redis is away, ten of them at most, and again the next time', async () => {
  const { clock, server, one } = await ready();
  const away = async (causes: number) => {
    for (let cause = 0; cause < causes; cause++) {
      server.refusals.set('tagwaitHeartbeat', `ERR ${cause}`);
      await clock.runUntil(clock.now + 4000);
    }
    const texts = one.logged.splice(0).map(([fields, text]) => [(fields as { cause: string }).cause, text]);
    server.refusals.clear();
    await clock.runUntil(clock.now + 4000);
    expect(one.logged.splice(0)).toEqual([['Redis is back']]);
    return texts;
  };
  expect(await away(2)).toEqual([
    ['fake:7001: ERR 0', AWAY],
    ['fake:7001: ERR 1', AWAY],
  ]);
  expect(await away(13)).toHaveLength(10);
  expect(await away(1)).toHaveLength(1);
});

test('a command says its own error while Redis is there, and the cause of that while it is away', async () => {
  const { clock, server, one } = await ready();
  server.refusals.set('tagwaitPeek', 'OOM no memory');
  const peek = () => settled(clock, one.broker.peek('k', false), 100);
  expect(await peek()).toEqual(new Unavailable('Redis: OOM no memory'));
  server.kill();
  await clock.runUntil(clock.now + 10);
  const away = (await peek()) as Error;
  expect(away).toBeInstanceOf(Unavailable);
  expect(away.message).toMatch(/^Redis: fake:7001: \S+ ECONN/);
});

test('a closing node says goodbye, deletes its marker, and leaves no connection and no timer', async () => {
  const { clock, server, node, one } = await ready();
  const other = node('other');
  other.start();
  await clock.runUntil(1000);
  const nodes = async () => ((await settled(clock, other.broker.nodes(), 50)) as { id: string }[]).length;
  expect(await nodes()).toBe(2);
  const markers = () => server.store.keys().filter(key => key.includes(':m:'));
  expect(markers()).toHaveLength(2);
  const heard: string[] = [];
  other.line.onMessage = text => heard.push(text);
  expect(await settled(clock, one.broker.close(), 50)).toBe(undefined);
  expect(heard).toContain('x n');
  expect(markers()).toEqual(['t:1:m:{0}:other']);
  expect(await nodes()).toBe(1);
  await clock.runUntil(clock.now + 3000);
  expect(one.line.connections.size).toBe(0);
  expect(one.broker.status().up).toBe(false);
  await settled(clock, other.broker.close(), 3000);
  expect(clock.pending).toBe(0);
  expect([...one.logged, ...other.logged]).toEqual([]);
});

test('a node that closes while Redis hangs waits 300 ms for its goodbye, and not at all while Redis is away', async () => {
  const { clock, server, one } = await ready();
  server.pause(60_000);
  const closed = one.broker.close();
  expect(await settled(clock, closed, 299)).toBe('pending');
  expect(await settled(clock, closed, 2)).toBe(undefined);
  await clock.runUntil(clock.now + 65_000);
  expect(one.line.connections.size).toBe(0);
});

test('a node that closes while Redis is away does not wait', async () => {
  const { clock, server, one } = await ready();
  server.kill();
  await clock.runUntil(600);
  expect(await settled(clock, one.broker.close(), 1)).toBe(undefined);
  await clock.runUntil(clock.now + 10_000);
  expect([one.line.connections.size, clock.pending]).toEqual([0, 0]);
});

test('a node that closes while its heartbeat is under way stays closed, and logs nothing later', async () => {
  const { clock, one } = await ready();
  await clock.runUntil(3999);
  one.line.dropping = 'all';
  await clock.runUntil(4000);
  const closed = one.broker.close();
  expect(await settled(clock, closed, 400)).toBe(undefined);
  await clock.runUntil(10_000);
  expect(one.broker.status()).toEqual({ up: false, cause: undefined, reconnects: 0 });
  expect([one.logged, one.events.gap.mock.calls.length]).toEqual([[], 0]);
  expect([one.line.connections.size, clock.pending]).toEqual([0, 0]);
});

test('a node that closes at any moment of its start: the start ends, and leaves no connection and no timer', async () => {
  const { clock, node } = world();
  const nodes = Array.from({ length: 10 }, (_, number) => node(`n${number}`));
  for (const one of nodes) {
    // each way takes a millisecond, so that each step of the start is between two others
    one.line.delay = () => 1;
    one.start();
  }
  for (const [number, one] of nodes.entries()) {
    await clock.runUntil(number + 0.5);
    void one.broker.close();
  }
  await clock.runUntil(5000);
  expect(
    nodes.map(({ line, broker, state }) => [line.connections.size, broker.status().up, state.started]),
  ).toEqual(nodes.map(() => [0, false, true]));
  expect(clock.pending).toBe(0);
});

test.each([1, 3])('the nodes are known as soon as all have replied, on %d servers', async count => {
  const { clock, node, one } = await ready(count);
  const other = node('other');
  other.start();
  await clock.runUntil(3000);
  const found = (await settled(clock, one.broker.nodes(), 50)) as { id: string }[];
  expect(found.map(({ id }) => id)).toEqual(['n', 'other']);
});

test('a poll whose page has left is dropped on the other nodes', async () => {
  const { clock, node, one } = await ready();
  const other = node('other');
  other.start();
  await clock.runUntil(1000);
  one.broker.drop('k', 'name', '192.0.2.1');
  await clock.runUntil(1100);
  expect(other.events.drop.mock.calls).toEqual([['k', 'name', '192.0.2.1']]);
});

test('a message that this version does not know is ignored', async () => {
  const { clock, one } = await ready();
  const { client } = one.clients as { client: Redis | Cluster };
  await settled(clock, client.publish('t:1:all', 'z what is this'), 100);
  await clock.runUntil(10_000);
  expect([one.broker.status().up, one.logged]).toEqual([true, []]);
});

test('the connection of the commands breaks: the subscriber connects again too, and entries may be missing', async () => {
  const { clock, one } = await ready();
  const [before] = subscriberOf(one);
  for (const connection of one.line.connections)
    if (connection.role === 'commands') connection.reset('read ECONNRESET');
  await clock.runUntil(505);
  expect(one.broker.status()).toMatchObject({ up: false, reconnects: 0 });
  expect(one.logged[0]).toEqual([{ cause: 'fake:7001: read ECONNRESET' }, AWAY]);
  await clock.runUntil(3000);
  expect(one.broker.status()).toEqual({ up: true, cause: undefined, reconnects: 1 });
  expect(subscriberOf(one)).not.toContain(before);
  expect(subscriberOf(one)).toHaveLength(1);
  expect(one.events.gap).toHaveBeenCalledTimes(1);
});

test.each(['commands', 'subscriber'])(
  'the connection of the %s ends without an error: that is the cause, each time',
  async role => {
    const { clock, one } = await ready();
    const cause = 'fake:7001: the connection was closed';
    const lose = async (how: (connection: Connection) => void) => {
      for (const connection of one.line.connections) if (connection.role === role) how(connection);
      await clock.runUntil(clock.now + 5);
      const causes = one.logged.splice(0).map(([fields]) => (fields as { cause: string }).cause);
      await clock.runUntil(clock.now + 5000);
      expect(one.broker.status()).toMatchObject({ up: true, cause: undefined });
      one.logged.length = 0;
      return causes;
    };
    expect(await lose(connection => connection.end())).toEqual([cause]);
    expect((await lose(connection => connection.reset('read ECONNRESET')))[0]).toBe(
      'fake:7001: read ECONNRESET',
    );
    expect(await lose(connection => connection.end())).toEqual([cause]);
  },
);

test('the subscriber ends before it was ever connected: the address is said all the same', async () => {
  const { clock, node } = world();
  const one = node();
  one.start();
  one.clients.subscriber.disconnect();
  await clock.runUntil(50);
  expect(one.logged).toEqual([[{ cause: 'fake:7001: the connection was closed' }, AWAY]]);
  await clock.runUntil(3000);
  expect(one.broker.status()).toEqual({ up: true, cause: undefined, reconnects: 1 });
});

test('an error of a connection that works all the same takes nothing away', async () => {
  const { clock, one } = await ready();
  one.clients.client.emit('error', new Error('ERR once'));
  expect(one.broker.status()).toEqual({ up: true, cause: undefined, reconnects: 0 });
  await clock.runUntil(5000);
  expect([one.broker.status().reconnects, one.logged, one.events.gap.mock.calls.length]).toEqual([0, [], 0]);
});

test('a page counts as watching whose node came while this one heard nothing', async () => {
  const { clock, node, one } = await ready(3);
  await clock.runUntil(4000);
  one.line.silent.add('subscriber');
  for (const connection of subscriberOf(one)) connection.reset('read ECONNRESET');
  await clock.runUntil(4100);
  const other = node('other');
  other.start();
  await clock.runUntil(6900);
  await settled(clock, Promise.resolve(other.broker.subscribe('k', '')), 50);
  const receipt = await settled(clock, one.broker.set('k', '1', { ttl: 60_000 }), 50);
  expect(receipt).toMatchObject({ watched: true });
});

test('heartbeats were refused for a time, and messages were received all the while: a node that died later is known to be dead', async () => {
  const { clock, servers, node, one } = await ready(3);
  const other = node('other');
  other.start();
  await clock.runUntil(4000);
  await settled(clock, other.broker.subscribe('k', ''), 50);
  const watched = async () =>
    ((await settled(clock, one.broker.set('k', '1', { ttl: 60_000 }), 50)) as { watched: boolean }).watched;
  expect(await watched()).toBe(true);
  for (const server of servers) server.refusals.set('tagwaitHeartbeat', 'OOM no memory');
  await clock.runUntil(clock.now + 2500);
  expect(one.broker.status().up).toBe(false);
  for (const server of servers) server.refusals.clear();
  await clock.runUntil(clock.now + 2500);
  expect(one.broker.status().up).toBe(true);
  for (const role of ['commands', 'subscriber'] as const) other.line.silent.add(role);
  await clock.runUntil(clock.now + 9000);
  expect(await watched()).toBe(false);
});

test('the subscriber breaks: Redis is away until it has subscribed again', async () => {
  const { clock, server, one } = await ready();
  server.refusals.set('subscribe', 'LOADING Redis is loading');
  for (const connection of subscriberOf(one)) connection.reset('read ECONNRESET');
  await clock.runUntil(502);
  expect(one.broker.status()).toMatchObject({ up: false, cause: 'fake:7001: read ECONNRESET' });
  await clock.runUntil(1500);
  expect(one.broker.status()).toMatchObject({
    up: false,
    cause: 'fake:7001: SUBSCRIBE: LOADING Redis is loading',
  });
  server.refusals.clear();
  await clock.runUntil(3500);
  expect(one.broker.status()).toMatchObject({ up: true, reconnects: 1 });
});

test('the clients end, as ioredis does when it gives up: they are connected again', async () => {
  const { clock, one } = await ready();
  for (const client of [one.clients.client, one.clients.subscriber]) {
    client.disconnect();
    await clock.runUntil(clock.now + 20);
    expect(one.broker.status().up).toBe(false);
    await clock.runUntil(clock.now + 5000);
    expect(one.broker.status().up).toBe(true);
  }
});

test('heartbeats are answered and do not come back: it is logged, and the subscriber connects again', async () => {
  const { clock, one } = await ready();
  const [before] = subscriberOf(one);
  one.line.dropping = 'all';
  await clock.runUntil(4500);
  expect(one.logged[0]).toEqual(['Redis delivers no messages: subscribing again']);
  expect(one.logged[1]).toEqual([{ cause: 'fake:7001: no messages are delivered' }, AWAY]);
  one.line.dropping = 'none';
  await clock.runUntil(8000);
  expect(one.broker.status()).toMatchObject({ up: true });
  expect(subscriberOf(one)).not.toContain(before);
});

test('a heartbeat is lost with its connection: what may be missing is read once, and not again with the next', async () => {
  const { clock, one } = await ready();
  one.line.dropping = 'all';
  await clock.runUntil(3400);
  one.line.dropping = 'none';
  await clock.runUntil(8000);
  expect(one.broker.status()).toMatchObject({ up: true, reconnects: 1 });
  expect(one.events.gap).toHaveBeenCalledTimes(1);
});

test('messages stop, and the connection breaks before that is known: nothing is said of messages', async () => {
  const { clock, server, one } = await ready();
  one.line.dropping = 'all';
  await clock.runUntil(2100);
  server.refusals.set('subscribe', 'LOADING Redis is loading');
  for (const connection of subscriberOf(one)) connection.reset('read ECONNRESET');
  await clock.runUntil(6000);
  server.refusals.clear();
  one.line.dropping = 'none';
  await clock.runUntil(9000);
  expect(one.broker.status().up).toBe(true);
  expect(one.logged.map(([said]) => (said as { cause?: string }).cause ?? said)).toEqual([
    'fake:7001: read ECONNRESET',
    'fake:7001: SUBSCRIBE: LOADING Redis is loading',
    'Redis is back',
  ]);
});

test('the commands go silent, and the subscriber does not: what is said is what ended the connection', async () => {
  const { clock, one } = await ready();
  one.line.silent.add('commands');
  await clock.runUntil(20_000);
  const causes = one.logged.map(([fields]) => (fields as { cause: string }).cause);
  expect(causes).toEqual([
    "fake:7001: Socket timeout. Expecting data, but didn't receive any in 3500ms.",
    'fake:7001: connect ETIMEDOUT',
  ]);
});

test('a node that closes while its heartbeat has not come back leaves no timer', async () => {
  const { clock, one } = await ready();
  one.line.dropping = 'all';
  await clock.runUntil(2100);
  expect(await settled(clock, one.broker.close(), 50)).toBe(undefined);
  await clock.runUntil(2500);
  expect(clock.pending).toBe(0);
});

test('messages stop without a sign: Redis is away as soon as that is known, and not when the connection ends', async () => {
  const { clock, one } = await ready();
  // the server does not hear of the end of the connection, which then takes 2 s
  for (const connection of subscriberOf(one)) connection.kill();
  await clock.runUntil(3400);
  expect(one.broker.status().up).toBe(true);
  await clock.runUntil(3700);
  expect(one.broker.status()).toMatchObject({ up: false, cause: 'fake:7001: no messages are delivered' });
});

test('the commands are connected later than the subscriber: Redis is back at that moment', async () => {
  const { clock, one } = await ready();
  await clock.runUntil(2100);
  one.line.delay = role => (role === 'commands' ? 100 : 1);
  for (const connection of one.line.connections)
    if (connection.role === 'commands') connection.reset('read ECONNRESET');
  await clock.runUntil(2200);
  expect([subscriberOf(one).length, one.broker.status().up]).toEqual([1, false]);
  // the next heartbeat is due after 4 s
  await clock.runUntil(3000);
  expect(one.broker.status()).toEqual({ up: true, cause: undefined, reconnects: 1 });
});

test.each([
  ['that was the next but one: one was lost', '0', 3, 1],
  ['of a server that owns no slots any more: it says nothing', '9', 3, 0],
])('a heartbeat comes back %s', async (_, server, count, gaps) => {
  const { clock, one } = await ready();
  const { client } = one.clients as { client: Redis };
  const heartbeat = encode({ kind: 'heartbeat', node: 'n', server, count });
  await settled(clock, client.publish('t:1:all', heartbeat), 100);
  expect(one.events.gap).toHaveBeenCalledTimes(gaps);
  await clock.runUntil(1900);
  expect([one.broker.status().reconnects, one.logged]).toEqual([0, []]);
});

/** Messages arrive ever later, up to 3 s, while other bytes arrive all the time. @returns what ends it */
function slow(clock: Clock, line: Line, client: Redis): () => void {
  const since = clock.now;
  const talk = setInterval(() => void client.publish('t:1:all', 'z something'), 100);
  line.delay = role => (role === 'commands' ? 1 : Math.max(1, Math.min(3000, (clock.now - since) / 2)));
  return () => {
    clearInterval(talk);
    line.delay = () => 1;
  };
}

test.each([1, 3])(
  'messages arrive late on a slow line, on %d servers: nothing is taken for lost, nor read again',
  async count => {
    const { clock, one, node } = await ready(count);
    const other = node('other');
    other.start();
    await clock.runUntil(3000);
    await settled(clock, Promise.resolve(one.broker.subscribe('k', '')), 50);
    await settled(clock, other.broker.set('k', '1', { ttl: 600_000 }), 50);
    const { client } = other.clients as { client: Redis };
    const stale = async () => {
      const found = settled(clock, one.broker.verify([{ key: 'k', position: 'old-1' }]), 20);
      return ((await found) as string[]).length;
    };
    expect(await stale()).toBe(1);
    one.events.gap.mockClear();
    const end = slow(clock, one.line, client);
    await clock.runUntil(10_000);
    const [seen, from] = [new Set<number>(), clock.now];
    while (clock.now < from + 10_000) {
      seen.add(await stale());
      await clock.runUntil(clock.now + 80);
    }
    expect([...seen], 'late all the time').toEqual([0]);
    end();
    await clock.runUntil(clock.now + 6000);
    expect(await stale()).toBe(1);
    expect(one.broker.status()).toEqual({ up: true, cause: undefined, reconnects: 0 });
    expect([one.logged, one.events.gap.mock.calls.length]).toEqual([[], 0]);
  },
);

test('while messages of a Cluster arrive late no node is taken for dead; later one that died is known to be', async () => {
  const { clock, one, node } = await ready(3);
  const [other, third] = [node('other'), node('third')];
  for (const each of [other, third]) each.start();
  await clock.runUntil(3000);
  await settled(clock, Promise.resolve(other.broker.subscribe('k', '')), 50);
  const watched = async () =>
    ((await settled(clock, one.broker.set('k', '1', { ttl: 600_000 }), 50)) as { watched: boolean }).watched;
  const end = slow(clock, one.line, third.clients.client as Redis);
  await clock.runUntil(10_000);
  for (const role of ['commands', 'subscriber'] as const) other.line.silent.add(role);
  await clock.runUntil(25_000);
  expect(await watched()).toBe(true);
  end();
  await clock.runUntil(32_000);
  expect(await watched()).toBe(false);
  expect([one.broker.status().reconnects, one.logged]).toEqual([0, []]);
});

test.each<[string, (server: Server) => void]>([
  ['another process answers', server => server.restart()],
  [
    'the marker is gone',
    ({ store }) => {
      for (const key of store.keys()) store.del(key);
    },
  ],
])('%s: entries may have been missed, and the link works all the time', async (_, happens) => {
  const { clock, server, one } = await ready();
  await clock.runUntil(3000);
  expect(one.events.gap).not.toHaveBeenCalled();
  happens(server);
  await clock.runUntil(7500);
  expect(one.events.gap).toHaveBeenCalledTimes(1);
  expect([one.broker.status(), one.logged]).toEqual([{ up: true, cause: undefined, reconnects: 0 }, []]);
});

test('each process of Redis is asked once for its eviction policy', async () => {
  const { clock, server, node } = world();
  let policy = 'volatile-lru';
  const asked = vi.fn();
  const execute = server.execute.bind(server);
  server.execute = (connection, name, names, args) => {
    if (name !== 'info') return execute(connection, name, names, args);
    asked(...args);
    return `maxmemory:0\r\nmaxmemory_policy:${policy}\r\n`;
  };
  const one = node();
  one.start();
  await clock.runUntil(9000);
  const warning = 'Redis may evict values and subscriptions: set maxmemory-policy to noeviction';
  expect(one.logged.splice(0)).toEqual([[{ address: 'fake:7001', policy: 'volatile-lru' }, warning]]);
  expect(asked.mock.calls).toEqual([['memory']]);
  policy = 'noeviction';
  server.restart();
  await clock.runUntil(12_000);
  expect([one.logged, asked.mock.calls.length]).toEqual([[], 2]);
});

test('a server that hides its policy is not warned of', async () => {
  const { clock, server, node } = world();
  server.refusals.set('info', 'NOPERM');
  const one = node();
  one.start();
  await clock.runUntil(3000);
  expect([one.broker.status().up, one.logged]).toEqual([true, []]);
});

test('servers of a Cluster are not asked whether they are one, which each would refuse', async () => {
  const { clock, servers, node } = world(3);
  for (const server of servers) server.refusals.set('exists', 'CROSSSLOT Keys in request');
  const one = node();
  one.start();
  await clock.runUntil(3000);
  expect([one.broker.status().up, one.state.error]).toEqual([true, undefined]);
});

test('all servers of a Cluster are lost: the cause names one, and what was wrong with it', async () => {
  const { clock, servers, one } = await ready(3);
  for (const server of servers) server.kill();
  await clock.runUntil(3000);
  expect(one.broker.status().up).toBe(false);
  const causes = one.logged.map(([fields]) => (fields as { cause: string }).cause);
  expect(causes.join('\n')).toMatch(/^fake:700\d: (read|connect) ECONN/);
  for (const cause of causes) expect(cause).toMatch(/^fake:700\d/);
});

test('one server of a Cluster is lost: it is named, and the subscriber connects again, as it may have been there', async () => {
  const { clock, servers, one } = await ready(3);
  expect(servers.every(({ store }) => store.keys().some(key => key.includes(':m:')))).toBe(true);
  const [before] = subscriberOf(one);
  const lost = servers.find(server => server !== before?.server) as Server;
  lost.kill();
  await clock.runUntil(3000);
  expect(one.broker.status()).toMatchObject({ up: false, cause: expect.stringContaining(lost.address) });
  expect(subscriberOf(one)).not.toContain(before);
  lost.restart();
  lost.up = true;
  await clock.runUntil(8000);
  expect(one.broker.status()).toMatchObject({ up: true, reconnects: 1 });
});

test('a slot that no server of a Cluster owns has no heartbeat, and each server has its own all the same', async () => {
  const { clock, servers, one } = await ready(3);
  const client = one.clients.client as Cluster & { slots: string[][] };
  const slots = [...client.slots];
  delete slots[slotOf('0')];
  Object.assign(client, { slots });
  for (const { store } of servers) for (const key of store.keys()) store.del(key);
  await clock.runUntil(20_000);
  for (const { store } of servers)
    expect(store.keys()).toEqual([expect.stringMatching(/^t:1:m:\{[1-9]\d*\}:n$/)]);
  expect([one.broker.status(), one.logged]).toEqual([{ up: true, cause: undefined, reconnects: 0 }, []]);
});

test('no server of a Cluster owns a slot: Redis is away until one does', async () => {
  const { clock, one } = await ready(3);
  const client = one.clients.client as Cluster & { slots: string[][] };
  const { slots } = client;
  Object.assign(client, { slots: [] });
  await clock.runUntil(3000);
  expect(one.broker.status()).toEqual({
    up: false,
    cause: 'fake:7001,fake:7002,fake:7003: no server is known',
    reconnects: 0,
  });
  Object.assign(client, { slots });
  await clock.runUntil(6000);
  expect(one.broker.status()).toEqual({ up: true, cause: undefined, reconnects: 1 });
});
