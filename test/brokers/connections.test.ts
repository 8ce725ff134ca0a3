/** The clients of Redis against scripted servers: what they send, when they reconnect, and how they fail. */
import { EventEmitter, once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import slotOf from 'cluster-key-slot';
import type { Cluster, Redis } from 'ioredis';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import {
  addressFor,
  addressOf,
  backoff,
  connections,
  isRedirection,
  serverOf,
  wordsOf,
} from '../../src/brokers/redis/connections.js';
import { reasonOf } from '../../src/brokers/redis/failures.js';
import { keepConnected } from '../../src/brokers/redis/keep-connected.js';
import type { Store } from '../../src/brokers/redis/store.js';
import { type Answer, speaker } from '../resp.js';
import { PATIENCE } from '../wait.js';

type Script = (name: string, args: string[], socket: Socket) => Answer | undefined;

/** A server that knows what every client sends first. @param script answers the rest, and what it likes of the first */
async function redis(script: Script = () => undefined) {
  const got: string[] = [];
  const sockets = new Set<Socket>();
  const made = await speaker(([name = '', ...args], socket) => {
    sockets.add(socket);
    got.push([name, ...args].join(' '));
    const answer = script(name, args, socket);
    if (answer !== undefined) return answer;
    if (name === 'SUBSCRIBE') return ['subscribe', args[0] as string, 1];
    return name === 'HANG' ? undefined : 'OK';
  });
  return { ...made, got, sockets, at: `127.0.0.1:${made.port}` };
}

/** Waits for a condition on real sockets; the timers may be replaced. */
async function soon(condition: () => unknown): Promise<void> {
  const end = Date.now() + PATIENCE;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`not so: ${condition}`);
    await new Promise(resolve => setImmediate(resolve));
  }
}

function open(store: Store, wait = 0) {
  const made = connections(store, wait);
  const all = new Set([...made.clients, made.client, made.writer, made.subscriber]);
  const errors: string[] = [];
  for (const client of all) client.on('error', ({ message }: Error) => errors.push(message));
  onTestFinished(() => {
    for (const client of all) client.disconnect();
  });
  return { ...made, client: made.client as Redis, errors };
}
const server = (at: string, more = ''): Store => ({ kind: 'server', url: `redis://${at}${more}` });
function fake(...toFake: ('setTimeout' | 'clearTimeout' | 'performance')[]) {
  vi.useFakeTimers({ toFake });
  onTestFinished(() => void vi.useRealTimers());
}
function random(value: number) {
  const spy = vi.spyOn(Math, 'random').mockReturnValue(value);
  onTestFinished(() => spy.mockRestore());
  return spy;
}

test('the delay before a reconnect doubles from 25–50 ms to 250–500 ms', () => {
  const delays = (value: number) => {
    random(value);
    return [1, 2, 9, 10, 11, 1000].map(backoff);
  };
  expect(delays(0)).toEqual([25, 50, 225, 250, 250, 250]);
  expect(delays(1)).toEqual([50, 100, 450, 500, 500, 500]);
});

describe('one server', () => {
  test.each<[command: string, file: string, sent: string, call: (client: Redis) => Promise<unknown>]>([
    ['tagwaitSet', 'set', '2 k w a', client => client.tagwaitSet('k', 'w', 'a')],
    ['tagwaitSetMany', 'set', '2 k w a', client => client.tagwaitSetMany(2, 'k', 'w', 'a')],
    ['tagwaitSubscribe', 'subscribe', '2 w k n', client => client.tagwaitSubscribe(2, 'w', 'k', 'n')],
    ['tagwaitUnsubscribe', 'unsubscribe', '1 w n', client => client.tagwaitUnsubscribe(1, 'w', 'n')],
    ['tagwaitProve', 'prove', '1 k p c m', client => client.tagwaitProve('k', 'p', 'c', 'm')],
    ['tagwaitPeek', 'peek', '1 k 9 1', client => client.tagwaitPeek('k', 9, 1)],
    ['tagwaitHeartbeat', 'heartbeat', '1 m 6500 c t', client => client.tagwaitHeartbeat('m', 6500, 'c', 't')],
    ['tagwaitRenew', 'renew', '0 n 0 w', client => client.tagwaitRenew('n', 0, 'w')],
  ])('the script of %s is sent whole once, and then by its digest', async (_, file, sent, call) => {
    const one = await redis();
    const { client } = open(server(one.at));
    await client.connect();
    await call(client);
    await call(client);
    const [whole, digest] = one.got;
    expect(whole).toMatch(/^EVAL /);
    expect(whole?.endsWith(`${readFileSync(`src/brokers/redis/${file}.lua`, 'latin1')} ${sent}`)).toBe(true);
    expect(digest).toMatch(new RegExp(`^EVALSHA [0-9a-f]{40} ${sent}$`));
  });

  test('what went wrong is said without the names of options that are none of ours', async () => {
    const one = await redis((name, _, socket) => {
      if (name === 'HANG') socket.destroy();
      return undefined;
    });
    const { client } = open(server(one.at));
    const failureOf = (command: Promise<unknown>) =>
      command.then(
        () => undefined,
        (error: Error) => wordsOf(error),
      );
    expect(await failureOf(client.get('early'))).toBe('there is no connection');
    await soon(() => client.status === 'ready');
    expect(await failureOf(client.call('HANG'))).toBe('there is no connection');
    expect(wordsOf(new Error('READONLY'))).toBe('READONLY');
  });

  test('sets use the client of all commands, and with `wait` one of their own; none connects by itself', () => {
    const none = open(server('127.0.0.1:1'));
    expect(none.writer).toBe(none.client);
    expect(none.clients).toEqual([none.client]);
    const one = open(server('127.0.0.1:1'), 1);
    expect(one.writer).not.toBe(one.client);
    expect(one.clients).toEqual([one.client, one.writer]);
    for (const { client, writer, subscriber } of [none, one]) {
      expect([client, writer]).not.toContain(subscriber);
      expect([client.status, writer.status, subscriber.status]).toEqual(['wait', 'wait', 'wait']);
    }
  });

  test.each([
    ['', '', ['GET a']],
    [':pw@', '', ['AUTH pw', 'GET a']],
    ['user:pw@', '', ['AUTH user pw', 'GET a']],
    ['user@', '/0', ['AUTH user ', 'GET a']],
    ['user:pw@', '/3', ['AUTH user pw', 'SELECT 3', 'GET a']],
  ])(
    'with the access "%s" and the database "%s" each client sends it first',
    async (access, database, sent) => {
      const one = await redis();
      const { client, writer, subscriber } = open(server(`${access}${one.at}`, database), 1);
      for (const each of [client, writer, subscriber] as Redis[]) {
        one.got.length = 0;
        await each.connect();
        await each.get('a');
        expect(one.got).toEqual(sent);
      }
    },
  );

  test('a command fails at once while there is no connection, and one that was under way is not sent again', async () => {
    const one = await redis();
    const { client, errors } = open(server(one.at));
    await expect(client.get('early')).rejects.toThrow("Stream isn't writeable");
    await soon(() => client.status === 'ready');
    const hung = client.call('HANG');
    await soon(() => one.got.includes('HANG'));
    for (const socket of one.sockets) socket.destroy();
    await expect(hung).rejects.toThrow();
    await soon(() => client.status === 'ready');
    expect(await client.get('later')).toBe('OK');
    expect(one.got).toEqual(['HANG', 'GET later']);
    expect(errors).toEqual([]);
  });

  test('the first reconnect does not wait as one after a refusal does', async () => {
    fake('setTimeout', 'clearTimeout');
    random(1);
    const one = await redis();
    const { client } = open(server(one.at));
    await client.connect();
    await client.get('a');
    for (const socket of one.sockets) socket.destroy();
    await soon(() => client.status === 'reconnecting');
    vi.advanceTimersByTime(49);
    expect(client.status).toBe('reconnecting');
    vi.advanceTimersByTime(1);
    expect(client.status).toBe('connecting');
    await soon(() => client.status === 'ready');
  });

  test('a reconnect to a server that was away does not wait as one after a refusal does', async () => {
    fake('setTimeout', 'clearTimeout');
    random(1);
    const { client, errors } = open(server('127.0.0.1:1'));
    client.connect().catch(() => {});
    await soon(() => client.status === 'reconnecting');
    expect(errors).toEqual(['connect ECONNREFUSED 127.0.0.1:1']);
    vi.advanceTimersByTime(49);
    expect(client.status).toBe('reconnecting');
    vi.advanceTimersByTime(1);
    expect(client.status).toBe('connecting');
  });

  test('a subscriber that has reconnected subscribes only when asked to', async () => {
    const one = await redis();
    const { subscriber } = open(server(one.at));
    await subscriber.connect();
    await subscriber.subscribe('all');
    for (const socket of one.sockets) socket.destroy();
    await soon(() => subscriber.status !== 'ready');
    await soon(() => subscriber.status === 'ready');
    await subscriber.subscribe('again');
    expect(one.got).toEqual(['SUBSCRIBE all', 'SUBSCRIBE again']);
  });

  test.each([
    ['READONLY', "READONLY You can't write against a read only replica."],
    ['NOREPLICAS', 'NOREPLICAS Not enough good replicas to write.'],
    ['MASTERDOWN', "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."],
    ['READONLY', 'ERR Error running script (call to f_1): @user_script:1: -READONLY You cannot write'],
  ])(
    'a replica or an old master is left, at most once a second, and said to be one: %s',
    async (word, text) => {
      fake('performance');
      const one = await redis(name => {
        if (name === 'SET') return new Error(text);
        return name === 'INCR' ? new Error('WRONGTYPE') : undefined;
      });
      const { client, errors } = open(server(one.at));
      await client.connect();
      const closed = vi.fn();
      client.on('close', closed);
      const refused = async (command: Promise<unknown>, reconnects: number) => {
        await expect(command).rejects.toThrow();
        await soon(() => closed.mock.calls.length >= reconnects);
        // what is sent now is answered before the connection is left, if it is, or after it
        for (let count = 0; count < 3; count++) await client.get('a').catch(() => {});
        await soon(() => client.status === 'ready');
        return [closed.mock.calls.length, errors.length];
      };
      expect(await refused(client.incr('a'), 0), 'another error').toEqual([0, 0]);
      expect(await refused(client.set('a', 1), 1)).toEqual([1, 1]);
      vi.advanceTimersByTime(999);
      expect(await refused(client.set('a', 1), 1)).toEqual([1, 1]);
      vi.advanceTimersByTime(1);
      expect(await refused(client.set('a', 1), 2)).toEqual([2, 2]);
      expect(errors[1]).toContain(word);
    },
  );

  test('a database that is refused is asked for again after half a second to a second, and never left for database 0', async () => {
    fake('setTimeout', 'clearTimeout');
    const spy = random(0);
    let refuses = true;
    const one = await redis(name =>
      name === 'SELECT' && refuses ? new Error('ERR DB index is out of range') : undefined,
    );
    const { client, errors } = open(server(one.at, '/7'));
    const attempts = () => one.got.filter(line => line === 'SELECT 7').length;
    const closed = vi.fn();
    client.on('close', closed);
    client.connect().catch(() => {});
    await soon(() => closed.mock.calls.length === 1);
    expect(errors).toEqual(['ERR DB index is out of range']);
    spy.mockReturnValue(1);
    vi.advanceTimersByTime(499);
    expect(client.status).toBe('reconnecting');
    vi.advanceTimersByTime(1);
    await soon(() => closed.mock.calls.length === 2);
    vi.advanceTimersByTime(999);
    expect(client.status).toBe('reconnecting');
    refuses = false;
    vi.advanceTimersByTime(1);
    await soon(() => attempts() === 3 && client.status === 'ready');
    // the next reconnect has nothing to do with a refusal
    for (const socket of one.sockets) socket.destroy();
    await soon(() => closed.mock.calls.length === 3);
    vi.advanceTimersByTime(50);
    await soon(() => attempts() === 4 && client.status === 'ready');
  });

  test('no answer for 3.5 s: the connection is given up', async () => {
    fake('setTimeout', 'clearTimeout');
    const one = await redis();
    const { client, errors } = open(server(one.at));
    await client.connect();
    let failed = false;
    client.call('HANG').catch(() => {
      failed = true;
    });
    await soon(() => one.got.includes('HANG'));
    await vi.advanceTimersByTimeAsync(3499);
    expect([failed, client.status]).toEqual([false, 'ready']);
    await vi.advanceTimersByTimeAsync(1);
    await soon(() => failed);
    expect(errors.join()).toContain('Socket timeout');
  });

  test('half an answer, and the rest does not come: the command fails after 5 s', async () => {
    fake('setTimeout', 'clearTimeout');
    const one = await redis();
    const { client } = open(server(one.at));
    await client.connect();
    let failure = '';
    client.call('HANG').catch(({ message }: Error) => {
      failure = message;
    });
    await soon(() => one.got.includes('HANG'));
    await vi.advanceTimersByTimeAsync(3000);
    const [socket] = one.sockets as Set<Socket & { bytesWritten: number }>;
    const stream = client as unknown as { stream: Socket };
    const before = stream.stream.bytesRead;
    socket?.write('$10\r\nhalf');
    await soon(() => stream.stream.bytesRead > before);
    await vi.advanceTimersByTimeAsync(1999);
    expect(failure).toBe('');
    await vi.advanceTimersByTimeAsync(1);
    await soon(() => failure);
    expect(failure).toBe('Command timed out');
  });

  test('errors are cleaned: no arguments of a command, and a text where there was none', () => {
    const said = (error: Error) => {
      const { client } = open(server('127.0.0.1:1'));
      client.emit('error', error);
      return error.message;
    };
    expect(
      said(new Error("ERR unknown command 'AUTH', with args beginning with: 'user' 'secret'\n'more'")),
    ).toBe("ERR unknown command 'AUTH'");
    expect(said(new AggregateError([new Error('refused by ::1'), new Error('refused by 127.0.0.1')]))).toBe(
      'refused by ::1, refused by 127.0.0.1',
    );
    expect(said(new TypeError())).toBe('TypeError');
    const last = new Error("ERR unknown command 'X' with args beginning with: 'secret'");
    said(Object.assign(new Error('no slots'), { lastNodeError: last }));
    expect(last.message).toBe("ERR unknown command 'X'");
  });
});

/** A scripted Cluster. @param slots how many slots its servers have together, from 0 */
async function clusterOf(
  count: number,
  { script = (() => undefined) as Script, host = '127.0.0.1', slots = 16_384, ports = [] as number[] } = {},
) {
  const each = Math.ceil(slots / count);
  const map = (): Answer[] =>
    servers.map(({ port }, index) => [
      index * each,
      Math.min(slots, (index + 1) * each) - 1,
      [host, ports[index] ?? port, `id${index}`],
    ]);
  const servers: Awaited<ReturnType<typeof redis>>[] = [];
  for (let index = 0; index < count; index++)
    servers.push(
      await redis((name, args, socket) => {
        if (name !== 'CLUSTER') return script(name, args, socket);
        return args[0]?.toUpperCase() === 'SLOTS' ? map() : 'cluster_state:ok\r\n';
      }),
    );
  const owner = (key: string) => servers[Math.floor(slotOf(key) / each)];
  return { servers, owner, nodes: servers.map(({ port }) => `${host}:${port}`) };
}

describe('a Cluster', () => {
  async function ready(store: Store, wait = 0) {
    const made = open(store, wait);
    const client = made.client as unknown as Cluster;
    client.connect().catch(() => {});
    // each server has its own client, which connects with its first command
    await soon(
      () => client.status === 'ready' && client.nodes().every(({ status }) => /ready|wait/.test(status)),
    );
    return { ...made, client };
  }

  test('each key has its server, and the address of all is that of each', async () => {
    const { nodes, owner, servers } = await clusterOf(3);
    const { client } = await ready({ kind: 'cluster', nodes });
    for (const key of ['a', 'b', 'c', 'd', 'e']) {
      const { at, got } = owner(key) as (typeof servers)[0];
      expect([addressFor(client, key), addressOf(serverOf(client, key))]).toEqual([at, at]);
      await client.get(key);
      expect(got).toContain(`GET ${key}`);
    }
    expect(addressOf(client).split(',').sort()).toEqual(nodes.toSorted());
  });

  test('sets use the client of all commands, and with `wait` one of their own', async () => {
    const none = open({ kind: 'cluster', nodes: ['127.0.0.1:1'] });
    expect(none.writer).toBe(none.client);
    expect(none.clients).toEqual([none.client]);
    const one = open({ kind: 'cluster', nodes: ['127.0.0.1:1'] }, 2);
    expect(one.clients).toEqual([one.client, one.writer]);
    expect(one.writer).not.toBe(one.client);
    expect([one.client.status, one.subscriber.status]).toEqual(['wait', 'wait']);
    const { nodes } = await clusterOf(1);
    const { client } = open({ kind: 'cluster', nodes });
    client.connect().catch(() => {});
    await expect(client.get('a')).rejects.toThrow(/Cluster isn't ready/);
  });

  test('user and password are sent to every server, also by the subscriber', async () => {
    const { nodes, servers } = await clusterOf(2);
    const [first, ...rest] = nodes;
    const { client, subscriber } = await ready({
      kind: 'cluster',
      nodes: [`redis://user:pw@${first}`, ...rest],
    });
    await Promise.all(['a', 'b', 'c'].map(key => client.get(key)));
    await subscriber.connect();
    for (const { got } of servers) {
      expect(got).toContain('AUTH user pw');
      expect(got).not.toContain('AUTH pw');
    }
    expect(servers.flatMap(({ got }) => got).filter(line => line === 'AUTH user pw').length).toBeGreaterThan(
      2,
    );
  });

  test('the subscriber uses any server of the settings, and after a reconnect any master that is known by then', async () => {
    const subscribed: Socket[] = [];
    const { nodes, servers } = await clusterOf(2, {
      script: (name, _, socket) => {
        if (name === 'SUBSCRIBE') subscribed.push(socket);
        return undefined;
      },
    });
    const spy = random(0);
    const { client, subscriber, errors } = open({ kind: 'cluster', nodes: nodes.slice(0, 1) });
    await subscriber.connect();
    expect(subscriber.options.port).toBe(servers[0]?.port);
    (client as unknown as Cluster).connect().catch(() => {});
    await soon(() => client.status === 'ready');
    const masters = (client as unknown as Cluster).nodes('master').map(({ options: { port } }) => port);
    spy.mockReturnValue(0.99);
    await subscriber.subscribe('all');
    subscribed[0]?.destroy();
    await soon(() => subscriber.status !== 'ready');
    await soon(() => subscriber.status === 'ready');
    expect(subscriber.options).toMatchObject({ host: '127.0.0.1', port: masters[1] });
    expect(servers.flatMap(({ got }) => got).filter(line => line.startsWith('SUBSCRIBE all'))).toHaveLength(
      1,
    );
    expect(errors.join()).not.toMatch(/undefined/);
  });

  test('serverOf throws for a slot without a server', async () => {
    const { nodes } = await clusterOf(1, { slots: slotOf('a') });
    const { client } = await ready({ kind: 'cluster', nodes });
    expect(serverOf(client, 'b').options.port).toBe(Number(nodes[0]?.split(':')[1]));
    expect(addressFor(client, 'a')).toBe('no server');
    expect(() => serverOf(client, 'a')).toThrow('no server is known for the slot');
  });

  test('the addresses that servers name are replaced as the settings say', async () => {
    const { nodes, servers } = await clusterOf(2, { ports: [7001, 7002] });
    const nat = servers.map(({ at }, index) => `127.0.0.1:${7001 + index}=${at}`);
    const { client } = await ready({ kind: 'cluster', nodes, nat });
    for (const key of ['a', 'b', 'c']) await client.get(key);
    expect(servers.flatMap(({ got }) => got).filter(line => line.startsWith('GET'))).toHaveLength(3);
    // pipelines do not follow redirections to such addresses
    expect(client.options.enableAutoPipelining).toBe(false);
    expect(
      (await ready({ kind: 'cluster', nodes: (await clusterOf(1)).nodes })).client.options,
    ).toMatchObject({
      enableAutoPipelining: true,
    });
  });

  test('names of hosts stay: a certificate is for the name', async () => {
    const { nodes } = await clusterOf(2, { host: 'localhost' });
    const { client } = await ready({ kind: 'cluster', nodes });
    expect(addressOf(client).split(',').sort()).toEqual(nodes.toSorted());
  });

  test('errors of its servers are cleaned too', () => {
    const { client } = open({ kind: 'cluster', nodes: ['127.0.0.1:1'] });
    for (const event of ['error', 'node error']) {
      const error = new Error("ERR unknown command 'X', with args beginning with: 'secret'");
      client.emit(event, error, '127.0.0.1:1');
      expect(error.message).toBe("ERR unknown command 'X'");
    }
  });

  test('a server that refuses ASKING: the command fails, and nothing that nobody handles', async () => {
    let asked = 0;
    const { nodes, servers, owner } = await clusterOf(2, {
      script: name => {
        if (name === 'ASKING') {
          asked++;
          return new Error('ERR unknown command ASKING');
        }
        if (!/^(?:GET|EVAL)/.test(name)) return undefined;
        const other = servers.find(server => server !== owner('a'));
        return asked > 0 ? new Error('ERR no such slot') : new Error(`ASK ${slotOf('a')} ${other?.at}`);
      },
    });
    const { client } = await ready({ kind: 'cluster', nodes });
    // ioredis sends ASKING in two ways: one is for pipelines
    for (const command of [() => client.get('a'), () => client.tagwaitPeek('a', 1, 1)]) {
      asked = 0;
      await expect(command()).rejects.toThrow('ERR no such slot');
      expect(asked).toBe(1);
    }
  });

  test('scripts of a number of keys are sent to the servers of the keys, also at the same time', async () => {
    const { nodes, owner } = await clusterOf(3);
    const { client } = await ready({ kind: 'cluster', nodes });
    const keys = ['a', 'b', 'c'];
    const sends: ((key: string) => Promise<unknown>)[] = [
      key => client.tagwaitSetMany(1, key),
      key => client.tagwaitSubscribe(1, key),
      key => client.tagwaitUnsubscribe(1, key),
    ];
    for (const send of sends) {
      await Promise.all(keys.map(send));
      for (const key of keys) expect(owner(key)?.got.pop()).toMatch(new RegExp(` 1 ${key}$`));
    }
  });

  test.each<[name: string, send: (client: Cluster, key: string) => Promise<unknown>]>([
    ['peek', (client, key) => client.tagwaitPeek(key, 1, 1)],
    ['prove', (client, key) => client.tagwaitProve(key, '1', 'c', 'm')],
  ])('a script of one key follows its slot, also beside one whose slot stays: %s', async (_, send) => {
    // slots of one server
    const [stays, moves] = ['a', 'd'];
    const { nodes, servers, owner } = await clusterOf(2, {
      script: (_, args, socket) => {
        if (!args.includes(moves) || !servers[1]?.sockets.has(socket)) return undefined;
        return new Error(`MOVED ${slotOf(moves)} ${servers[0]?.at}`);
      },
    });
    const { client } = await ready({ kind: 'cluster', nodes });
    await Promise.all(['b', stays].map(key => client.get(key)));
    expect([owner(stays), owner(moves)]).toEqual([servers[1], servers[1]]);
    expect(await Promise.all([stays, moves].map(key => send(client, key)))).toEqual(['OK', 'OK']);
  });
});

test.each<[of: string, storeAt: (at: string) => Store]>([
  ['one server', at => ({ kind: 'server', url: `rediss://${at}` })],
  ['a Cluster', at => ({ kind: 'cluster', nodes: [`rediss://${at}`] })],
])('with TLS the clients of %s begin it, and name the server', async (_, storeAt) => {
  const hellos: string[] = [];
  const listener = createServer(socket =>
    socket.on('error', () => {}).once('data', data => hellos.push(data.toString('latin1'))),
  ).listen(0, '127.0.0.1');
  onTestFinished(() => void listener.close());
  await once(listener, 'listening');
  const { client, subscriber } = open(storeAt(`localhost:${(listener.address() as AddressInfo).port}`));
  for (const each of [client, subscriber]) each.connect().catch(() => {});
  await soon(() => hellos.length === 2);
  for (const hello of hellos) {
    expect(hello.charCodeAt(0)).toBe(0x16);
    expect(hello).toContain('localhost');
  }
});

test('the address of a client is its server, its socket, or the name of the master that is not found yet', () => {
  expect(addressOf(open(server('127.0.0.1:7')).client)).toBe('127.0.0.1:7');
  expect(addressOf(open({ kind: 'server', url: 'unix:/run/redis.sock' }).client)).toBe('/run/redis.sock');
  const named = open({ kind: 'sentinel', sentinels: ['127.0.0.1:1'], master: 'tag' });
  expect(addressOf(named.client)).toBe('tag');
  expect(addressFor(named.client, 'a')).toBe('tag');
  const nodes = ['127.0.0.1:1', '127.0.0.1:2'];
  expect(addressOf(open({ kind: 'cluster', nodes }).client), 'before it knows its masters').toBe(
    nodes.join(),
  );
  expect(serverOf(named.client, 'a')).toBe(named.client);
});

test.each([
  ['MOVED 3999 127.0.0.1:6381', true],
  ['ASK 3999 127.0.0.1:6381', true],
  ['All keys in the pipeline should belong to the same slots allocation group', true],
  ['ERR MOVED is no command', false],
  ['OOM command not allowed', false],
  ['TRYAGAIN Multiple keys request during rehashing of slot', false],
])('sent to a server without the slot: %s: %s', (message, is) =>
  expect(isRedirection(new Error(message))).toBe(is),
);

test('the cause of a Cluster is why its server failed, and not what ioredis says of it in the seconds after', () => {
  fake('performance');
  const client = Object.assign(new EventEmitter(), {
    connect: async () => {},
    options: { host: 'the-cluster', port: 1 },
  });
  const causes: string[] = [];
  const events = { wanted: () => true, failed: (cause: string) => causes.push(cause), closed: () => {} };
  keepConnected(client as unknown as Redis, events);
  const failed = (message: string) => {
    const error = new Error(message);
    client.emit('node error', error, '127.0.0.1:7');
    client.emit('error', Object.assign(new Error('no slots'), { lastNodeError: error }));
    return causes.at(-1);
  };
  expect(failed('connect ECONNREFUSED')).toBe('127.0.0.1:7: connect ECONNREFUSED');
  vi.advanceTimersByTime(9999);
  for (const consequence of ['Connection is closed.', 'timeout'])
    expect(failed(consequence)).toBe('127.0.0.1:7: connect ECONNREFUSED');
  expect(failed('timeout of another kind')).toBe('127.0.0.1:7: timeout of another kind');
  vi.advanceTimersByTime(10_000);
  expect(failed('Connection is closed.')).toBe('127.0.0.1:7: Connection is closed.');
  client.emit('error', new Error('of none of them'));
  expect(causes.at(-1)).toBe('the-cluster:1: of none of them');
});

test('what ended a connection is the reason of what fails after it', () => {
  const options = { host: 'one', port: 7 };
  const client = Object.assign(new EventEmitter(), { options, connect: async () => {} }) as unknown as Redis;
  const causes: string[] = [];
  const say = (cause: string) => causes.push(cause);
  keepConnected(client, { wanted: () => true, failed: say, closed: say });
  client.emit('close');
  expect(reasonOf(client, 'one:7', 'there is no connection')).toBe('the connection was closed');
  client.emit('error', new Error('read ECONNRESET'));
  client.emit('close');
  expect(reasonOf(client, 'one:7', 'there is no connection')).toBe('read ECONNRESET');
  expect(causes).toEqual([
    'one:7: the connection was closed',
    'one:7: read ECONNRESET',
    'one:7: read ECONNRESET',
  ]);
});
