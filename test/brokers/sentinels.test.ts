/** Sentinels of every kind, scripted: which server they are believed to name, and what lets a node in. */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { Redis } from 'ioredis';
import { expect, onTestFinished, test, vi } from 'vitest';
import type { Address } from '../../src/brokers/redis/address.js';
import { Sentinels } from '../../src/brokers/redis/sentinels.js';
import { run, until } from '../harness.js';
import { type Answer, type Speaker, speaker } from '../resp.js';

interface Sentinel extends Speaker {
  /** the commands it got, one a line */
  got: string[];
  /** the port that it says the master has; 0: it knows none */
  master: number;
}

/** @param wants user and password, or a password alone; absent: none, and AUTH is an error */
async function sentinel(master: number, wants?: string[], others: Answer = []): Promise<Sentinel> {
  const got: string[] = [];
  const known = new WeakSet<object>();
  const made = await speaker((command, socket) => {
    got.push(command.join(' '));
    const [name, ...args] = command;
    if (name === 'AUTH') {
      if (!wants) return new Error('ERR AUTH <password> called without any password configured');
      if (args.join(' ') !== wants.join(' ')) return new Error('WRONGPASS invalid username-password pair');
      known.add(socket);
      return 'OK';
    }
    if (wants && !known.has(socket)) return new Error('NOAUTH Authentication required.');
    if (name === 'SENTINEL' && args[0] === 'SENTINELS') return others;
    if (name === 'SENTINEL' && args[0] === 'GET-MASTER-ADDR-BY-NAME')
      return args[1] === 'tag' && self.master ? ['127.0.0.1', String(self.master)] : null;
    if (name === 'SENTINEL') return new Error(`ERR Unknown sentinel subcommand '${args[0]}'`);
    return name === 'SUBSCRIBE' ? ['subscribe', args[0] as string, 1] : 'PONG';
  });
  const self: Sentinel = { ...made, got, master };
  return self;
}

const at = (...all: { port: number }[]): Address[] => all.map(({ port }) => ({ host: '127.0.0.1', port }));
const given = {
  name: 'tag',
  username: '',
  password: '',
  tls: false,
  nat: {},
  backoff: () => 20,
};

/** Nothing listens there. */
const nobody = { port: 1 };

test.each<[string, string[] | undefined, { username?: string; password?: string }]>([
  ['no password', undefined, {}],
  ['no password, although there is one for Redis', undefined, { username: 'user', password: 'pw' }],
  ['a password', ['pw'], { password: 'pw' }],
  ['a password, while Redis has users', ['pw'], { username: 'user', password: 'pw' }],
  ['a user', ['user', 'pw'], { username: 'user', password: 'pw' }],
])('Sentinels with %s', async (_, wants, access) => {
  const one = await sentinel(7000, wants);
  expect(await new Sentinels({ ...given, ...access, at: at(one) }).master()).toEqual(at({ port: 7000 })[0]);
  if (!wants) expect(one.got.join()).not.toMatch(/AUTH/i);
});

test('Sentinels with TLS are spoken to in TLS, by their name', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const hello = once(server, 'connection').then(async ([socket]) => {
    const [bytes] = await once(socket, 'data');
    socket.destroy();
    return String(bytes);
  });
  const sentinels = new Sentinels({ ...given, tls: true, at: [{ host: 'localhost', port }] });
  await expect(sentinels.master()).rejects.toThrow(`no Sentinel names the master: localhost:${port}: `);
  // what a client sends first in TLS is readable
  const sent = await hello;
  expect(sent.charCodeAt(0)).toBe(0x16);
  expect(sent).toContain('localhost');
});

test('a wrong password, an unknown master and a Sentinel that is away are causes with their address', async () => {
  const [one, two] = [await sentinel(7000, ['other']), await sentinel(7000)];
  const sentinels = (name: string) =>
    new Sentinels({ ...given, name, password: 'pw', at: at(one, two, nobody) });
  await expect(sentinels('mymaster').master()).rejects.toThrow(
    expect.objectContaining({
      message: expect.stringMatching(
        new RegExp(
          [
            `127.0.0.1:${one.port}: WRONGPASS`,
            `127.0.0.1:${two.port}: knows no master of the name mymaster`,
            '127.0.0.1:1: connect ECONNREFUSED',
          ]
            .map(cause => `(?=.*${cause})`)
            .join(''),
        ),
      ),
    }),
  );
  expect((await sentinels('tag').master()).port).toBe(7000);
});

test('the causes have one order, whichever Sentinel answers first', async () => {
  const asking = new Map<string, Socket>();
  const names = ['a', 'b', 'c'];
  const made = await Promise.all(names.map(name => speaker((_, socket) => void asking.set(name, socket))));
  const sentinels = new Sentinels({ ...given, at: at(...made) });
  const seen: string[] = [];
  for (const order of [names, names.toReversed()]) {
    const asked = sentinels.master().catch(error => seen.push(error.message));
    await until(() => asking.size === names.length);
    for (const name of order) {
      const socket = asking.get(name) as Socket;
      socket.write('$-1\r\n');
      // the client leaves when it has the answer
      await once(socket, 'close');
    }
    await asked;
    asking.clear();
  }
  const causes = made.map(({ port }) => `127.0.0.1:${port}: knows no master of the name tag`);
  expect(seen).toEqual(Array(2).fill(`no Sentinel names the master: ${causes.join('; ')}`));
});

test('the server that most Sentinels name: one of them may be cut off, another silent', async () => {
  const [stale, ...right] = [await sentinel(7000), await sentinel(7001), await sentinel(7001)];
  const silent = await speaker(() => undefined);
  const sentinels = new Sentinels({ ...given, at: at(stale, silent, ...right) });
  const times: number[] = [];
  for (let time = 0; time < 3; time++) {
    const start = performance.now();
    expect((await sentinels.master()).port).toBe(7001);
    times.push(performance.now() - start);
  }
  // the silent one is given up after a second
  expect(Math.min(...times), 'ms').toBeLessThan(900);
});

test('a client follows the master of its name, also over a NAT map and past Sentinels that end', async () => {
  const servers = await Promise.all([1, 2].map(() => speaker(([name]) => (name === 'PING' ? 'PONG' : 'OK'))));
  const [before, after] = servers as [Speaker, Speaker];
  const two = await sentinel(9001);
  const fields = ['ip', '127.0.0.1', 'port', String(two.port)];
  const one = await sentinel(9001, undefined, [fields]);
  const nat = {
    '127.0.0.1:9001': { host: '127.0.0.1', port: before.port },
    '127.0.0.1:9002': { host: '127.0.0.1', port: after.port },
  };
  const sentinels = new Sentinels({ ...given, nat, at: at(one) });
  const client = new Redis({
    Connector: sentinels.connector,
    enableReadyCheck: false,
    disableClientInfo: true,
    protocol: 2,
    retryStrategy: () => 10,
  });
  onTestFinished(() => client.disconnect());
  const where = (server: Speaker) =>
    until(() => client.status === 'ready' && client.options.port === server.port);
  await where(before);
  const subscribed = () => two.got.filter(line => line === 'SUBSCRIBE +switch-master').length;
  await until(() => subscribed() === 1);
  const closed: string[] = [];
  client.on('close', () => closed.push(String(client.options.port)));
  two.say(['message', '+switch-master', 'another 127.0.0.1 1 127.0.0.1 2']);
  two.say(['message', '+switch-master', 'tag 127.0.0.1 9002 127.0.0.1 9001']);
  two.end();
  await until(() => subscribed() === 2);
  expect(closed, 'another master, and the one that it has, are nothing to it').toEqual([]);
  for (const each of [one, two]) each.master = 9002;
  two.say(['message', '+switch-master', 'tag 127.0.0.1 9001 127.0.0.1 9002']);
  await where(after);
  expect(closed).toEqual([String(before.port)]);
});

test('a failover does not end the search of a client that has found no master yet', async () => {
  const one = await sentinel(0);
  const sentinels = new Sentinels({ ...given, at: at(one) });
  const connector = new sentinels.connector({});
  const connected = connector.connect(() => {});
  await until(() => one.got.includes('SUBSCRIBE +switch-master'));
  one.say(['message', '+switch-master', `tag 127.0.0.1 1 127.0.0.1 ${one.port}`]);
  one.master = one.port;
  const stream = await connected;
  onTestFinished(() => {
    connector.disconnect();
    stream.destroy();
  });
  expect(connector.at).toBe(`127.0.0.1:${one.port}`);
});

test('a wrong password of all Sentinels ends the start, and no password is shown', async () => {
  const one = await sentinel(7000, ['other']);
  const child = run([], {
    TAGWAIT_REDIS_SENTINELS: `redis://user:shhh@127.0.0.1:${one.port}`,
    TAGWAIT_REDIS_MASTER: 'tag',
    TAGWAIT_REDIS_SENTINEL_PASSWORD: 'shhh2',
    TAGWAIT_PUBLIC_PORT: '0',
    TAGWAIT_INTERNAL_PORT: '0',
  });
  expect(await child.ended).toBe(2);
  expect(child.output.stderr).toMatch(/^tagwait: Redis refuses this node: tag: .*WRONGPASS/m);
  expect(child.output.stdout + child.output.stderr).not.toContain('shhh');
});

test('a connector that finds no master asks again, also Sentinels that are named, and ends when its client does', async () => {
  // ioredis writes there what nobody listens to
  const said = vi.spyOn(console, 'error');
  onTestFinished(() => said.mockRestore());
  const field = (port: number) => ['name', 'x', 'ip', '127.0.0.1', 'port', String(port)];
  // they name each other and twenty more, none of which answers
  const one = await sentinel(
    7000,
    undefined,
    Array.from({ length: 20 }, (_, number) => field(number + 1)),
  );
  const nat = { '127.0.0.1:1': { host: '127.0.0.1', port: one.port } };
  const sentinels = new Sentinels({ ...given, name: 'none', nat, at: at(one) });
  const options = { host: 'old', port: 7 };
  const connector = new sentinels.connector(options);
  const causes: string[] = [];
  const connected = connector.connect((event, { message }) => causes.push(`${event} ${message}`));
  expect(options.host, 'the address is not known until it is found').toBe('');
  expect(connector.at).toBe(undefined);
  const known = () => causes.at(-1)?.split('; ').length;
  await until(() => known() === 16, { seen: () => causes.at(-1) });
  connector.disconnect();
  await expect(connected).rejects.toThrow('Connection is closed.');
  expect(causes[0]).toBe(
    `error no Sentinel names the master: 127.0.0.1:${one.port}: knows no master of the name none`,
  );
  expect(known(), 'sixteen are known at most').toBe(16);
  expect(said).not.toHaveBeenCalled();
});

test('a client that ends while a Sentinel names the master is not connected to it', async () => {
  const one = await speaker(([name]) => {
    if (name !== 'SENTINEL') return 'PONG';
    connector.disconnect();
    return ['127.0.0.1', '1'];
  });
  const sentinels = new Sentinels({ ...given, at: at(one) });
  const connector = new sentinels.connector({});
  await expect(connector.connect(() => {})).rejects.toThrow('Connection is closed.');
});

test('a Sentinel that is named after the last client has ended is asked, and not watched', async () => {
  const two = await sentinel(7000);
  const one = await speaker(([name, of]) => {
    if (name !== 'SENTINEL') return 'PONG';
    if (of !== 'SENTINELS') return null;
    connector.disconnect();
    return [['ip', '127.0.0.1', 'port', String(two.port)]];
  });
  const sentinels = new Sentinels({ ...given, at: at(one) });
  const connector = new sentinels.connector({});
  await expect(connector.connect(() => {})).rejects.toThrow('Connection is closed.');
  await until(() => sentinels.master().catch(() => undefined));
  expect(new Set(two.got)).toEqual(new Set(['SENTINEL GET-MASTER-ADDR-BY-NAME tag']));
});

test('the delay before a connector asks again is that of so many failures', async () => {
  const one = await sentinel(7000);
  const attempts: number[] = [];
  const backoff = (attempt: number) => attempts.push(attempt);
  const sentinels = new Sentinels({ ...given, name: 'none', backoff, at: at(one) });
  const connector = new sentinels.connector({});
  const connected = connector.connect(() => {});
  await until(() => attempts.length >= 4);
  connector.disconnect();
  await expect(connected).rejects.toThrow('Connection is closed.');
  expect(attempts.slice(0, 4)).toEqual([1, 2, 3, 4]);
});

test('the Sentinels are watched as long as a client follows the master, with one connection each', async () => {
  const sockets = new Set<object>();
  const subscribed: string[] = [];
  const one = await speaker((command, socket) => {
    const [name, ...args] = command;
    if (name === 'SUBSCRIBE') {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
      subscribed.push(args.join());
      return ['subscribe', args[0] as string, 1];
    }
    if (name === 'SENTINEL') return args[0] === 'SENTINELS' ? [] : ['127.0.0.1', String(one.port)];
    return 'PONG';
  });
  const sentinels = new Sentinels({ ...given, at: at(one) });
  const connectors = [new sentinels.connector({}), new sentinels.connector({})];
  const streams = await Promise.all(connectors.map(connector => connector.connect(() => {})));
  onTestFinished(() => {
    for (const stream of streams) stream.destroy();
  });
  expect(connectors.map(connector => connector.at)).toEqual([
    `127.0.0.1:${one.port}`,
    `127.0.0.1:${one.port}`,
  ]);
  await until(() => sockets.size === 1);
  connectors[0]?.disconnect();
  // in this time a connection that was ended would be closed
  await sentinels.master();
  expect(sockets.size).toBe(1);
  connectors[1]?.disconnect();
  await until(() => sockets.size === 0);
  expect(subscribed).toEqual(['+switch-master']);
});
