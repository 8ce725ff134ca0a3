/** The two kinds of ports on loopback: their limits of connections, their time limits, and how they close. */
import { once } from 'node:events';
import type { Server } from 'node:http';
import { type AddressInfo, createServer as createNetServer, type Socket } from 'node:net';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { Limits } from '../../src/limits.js';
import type { Exchange } from '../../src/wire/exchange.js';
import { type Cut, internalPort, type Port, publicPort, timeoutsOf } from '../../src/wire/port.js';
import type { Closable, SharedSocket } from '../../src/wire/shared.js';
import { type Raw, raw } from '../raw.js';
import { get, NONE, PATH, soon, TWICE, turns } from './wired.js';

const UNLIMITED = { maxHeldPerKey: 0, maxHeldPerIp: 0, maxPollsPerIp: 0, trustProxy: 0 };

/** A port whose route answers `/a?now`, and keeps other requests. It does not listen yet. */
function made(kind: 'public' | 'internal', connections: number, limited: Partial<typeof UNLIMITED> = {}) {
  const cuts: Cut[] = [];
  const asked: Exchange[] = [];
  const slow: string[] = [];
  const limits = new Limits({ ...UNLIMITED, ...limited });
  const options = {
    route: {
      method: 'GET',
      path: PATH,
      handle: (exchange: Exchange) => {
        asked.push(exchange);
        if (exchange.url === '/a?now') exchange.send(200, NONE, 'now');
      },
    },
    others: (_: unknown, response: { end(text: string): void }) => response.end('other'),
    failed: () => {},
    onSlowPath: (reason: string) => void slow.push(reason),
    connections,
    limits,
    hold: 25,
    onCut: (cut: Cut) => void cuts.push(cut),
  };
  const port: Port = kind === 'public' ? publicPort(options) : internalPort(options);
  const sockets: Socket[] = [];
  const open = new Set<Socket>();
  let server: Server | undefined;
  port.onConnection(function (this: Server, socket: Socket) {
    server = this;
    sockets.push(socket);
    open.add(socket);
    socket.on('close', () => open.delete(socket));
  } as (socket: Socket) => void);
  onTestFinished(() => {
    port.destroyAll();
    return port.close();
  });
  return { port, cuts, asked, slow, limits, sockets, open, server: () => server as Server };
}

/** A port that listens. */
async function opened(
  kind: 'public' | 'internal',
  connections: number,
  { host = '127.0.0.1', ...limited }: Partial<typeof UNLIMITED> & { host?: string } = {},
) {
  const all = made(kind, connections, limited);
  const { port, sockets } = all;
  const url = await port.listen(host, 0);
  /** Connects, and waits until the port knows. */
  const connect = async (bytes = '', address?: string) => {
    const before = sockets.length;
    const connection = raw(url, bytes, address);
    await soon(() => sockets.length > before);
    return connection;
  };
  /** Connects, and waits for an answer or the end. */
  const answer = async (bytes = get('/a?now'), address?: string) => {
    const connection = await connect(bytes, address);
    await soon(() => connection.text || connection.socket.destroyed);
    return connection;
  };
  return { ...all, url, connect, answer };
}
const isOpen = ({ socket }: Raw) => !socket.destroyed;

describe('the internal port, when it is full', () => {
  test('closes the most dispensable connection for a new one, with one more than its limit for sixteen', async () => {
    const { cuts, answer, connect, open } = await opened('internal', 17);
    const idle: Raw[] = [];
    for (let count = 0; count < 19; count++) idle.push(await answer());
    expect(cuts).toEqual([]);
    const late = await answer();
    expect(late.text).toMatch(/now$/);
    await idle[0]?.ended;
    expect(cuts).toEqual(['gave_way']);
    expect(idle.slice(1).every(isOpen)).toBe(true);
    // what has left makes room, once
    idle[1]?.socket.destroy();
    await soon(() => open.size === 18);
    await connect();
    expect(cuts).toEqual(['gave_way']);
    await connect();
    await soon(() => cuts.length === 2);
  });

  test('refuses a new one while all are needed', async () => {
    const { cuts, asked, answer, connect } = await opened('internal', 2);
    const held: Raw[] = [];
    for (let count = 0; count < 3; count++) held.push(await connect(get()));
    await soon(() => asked.length === 3);
    const late = await answer();
    expect(late.text).toBe('');
    expect(cuts).toEqual(['internal_full']);
    expect(held.every(isOpen)).toBe(true);
    asked[1]?.send(200, NONE, 'done');
    await soon(() => held[1]?.text.endsWith('done'));
    expect((await answer()).text).toMatch(/now$/);
    await held[1]?.ended;
    expect(cuts).toEqual(['internal_full', 'gave_way']);
  });
});

describe('the public port', () => {
  test('refuses connections beyond its limit, closes idle ones then, and has room when they have left', async () => {
    const { cuts, answer, connect, asked, sockets, open } = await opened('public', 3);
    const held = await connect(get());
    await soon(() => asked.length === 1);
    await connect();
    await connect();
    const late = await answer();
    expect([late.text, cuts]).toEqual(['', ['full']]);
    for (const socket of sockets.slice(1)) socket.destroy();
    await soon(() => open.size === 1);
    expect((await answer()).text).toMatch(/now$/);
    expect([isOpen(held), cuts]).toEqual([true, ['full']]);
  });

  test('counts no connection that it has refused for being full', async () => {
    const { cuts, connect, answer, limits, open } = await opened('public', 2);
    await connect();
    await connect();
    await answer();
    await soon(() => open.size === 2);
    expect([cuts, limits.peak()]).toEqual([['full'], { now: 2, peak: 2 }]);
  });

  test('closes idle connections when more than nine in ten are in use, at most twice a second', async () => {
    const now = vi.spyOn(performance, 'now').mockReturnValue(10_000);
    onTestFinished(() => now.mockRestore());
    const { answer, connect, cuts } = await opened('public', 10);
    const idle: Raw[] = [];
    for (let count = 0; count < 9; count++) idle.push(await answer());
    expect(idle.every(isOpen)).toBe(true);
    // the tenth
    await connect();
    for (const connection of idle.splice(0)) await connection.ended;
    for (let count = 0; count < 8; count++) idle.push(await answer());
    now.mockReturnValue(10_499);
    const tenth = await connect();
    expect(idle.every(isOpen)).toBe(true);
    tenth.socket.destroy();
    await tenth.ended;
    now.mockReturnValue(10_500);
    await connect();
    for (const connection of idle) await connection.ended;
    expect(cuts).toEqual([]);
  });

  test('refuses the connections of an address beyond its limit, and no others', async () => {
    const { cuts, answer, connect, limits } = await opened('public', 100, { maxHeldPerIp: 1 });
    const two = [await connect('', '127.0.0.2'), await connect('', '127.0.0.2')];
    const third = await answer(get('/a?now'), '127.0.0.2');
    expect([third.text, cuts, limits.connections]).toEqual(['', ['address'], 2]);
    expect((await answer(get('/a?now'), '127.0.0.3')).text).toMatch(/now$/);
    two[0]?.socket.destroy();
    await soon(() => limits.connections === 2);
    expect((await answer(get('/a?now'), '127.0.0.2')).text).toMatch(/now$/);
  });

  test('counts a pipeline that is too long', async () => {
    const { cuts, connect, asked } = await opened('public', 10);
    const connection = await connect(get());
    await soon(() => asked.length === 1);
    connection.socket.write('x'.repeat(17_000));
    await connection.ended;
    expect(cuts).toEqual(['pipelining']);
  });

  test('refuses requests beyond the limit of an address in plain text, and connections stay', async () => {
    const { answer } = await opened('public', 10, { maxPollsPerIp: 1 });
    expect((await answer(get('/b'))).text).toMatch(/other$/);
    const refused = await answer(get('/b'));
    const [head = '', body = ''] = refused.text.split('\r\n\r\n');
    expect(body).toMatch(/^busy: ask again after \d+ ms\n$/);
    const wait = Number(/\d+/.exec(body)?.[0]);
    for (const line of [
      'HTTP/1.1 429 Too Many Requests',
      `Retry-After: ${Math.ceil(wait / 1000)}`,
      'Content-Type: text/plain; charset=utf-8',
      `Content-Length: ${body.length}`,
      'X-Content-Type-Options: nosniff',
      'Cache-Control: no-store',
      'Connection: keep-alive',
    ])
      expect(head.split('\r\n')).toContain(line);
    for (const body of ['Content-Length: 1', 'Transfer-Encoding: chunked']) {
      const connection = await answer(get('/b', [body]));
      await connection.ended;
      expect(connection.text).toMatch(/\r\nConnection: close\r\n/);
    }
    const stream = await answer(get('/b', ['Accept: text/event-stream']));
    expect(stream.text).toMatch(/^HTTP\/1\.1 200 OK\r\n.*:busy\nretry: \d+\n\n/s);
  });

  test('counts the address that a proxy saw', async () => {
    const { answer } = await opened('public', 10, { maxPollsPerIp: 1, trustProxy: 1 });
    const from = (address: string) => answer(get('/b', [`X-Forwarded-For: ${address}`]));
    expect((await from('192.0.2.1')).text).toMatch(/other$/);
    expect((await from('192.0.2.2')).text).toMatch(/other$/);
    expect((await from('192.0.2.1')).text).toMatch(/^HTTP\/1\.1 429 /);
  });
});

describe('a port', () => {
  test.each(['public', 'internal'] as const)(
    'of the %s kind has the time limits of its waits, ms',
    async kind => {
      const { connect, server, sockets, slow } = await opened(kind, 10);
      await connect(get(PATH, TWICE));
      const silence = kind === 'public' ? 35 : 40;
      const { headersTimeout, requestTimeout, keepAliveTimeout, timeout, maxRequestsPerSocket } = server();
      expect({ headersTimeout, requestTimeout, keepAliveTimeout, timeout, maxRequestsPerSocket }).toEqual({
        headersTimeout: 10_000,
        requestTimeout: 15_000,
        keepAliveTimeout: 65_000,
        timeout: silence * 1000,
        maxRequestsPerSocket: 0,
      });
      await soon(() => slow.length === 1);
      expect(sockets[0]?.timeout).toBe(67_000);
      await connect();
      expect(sockets[1]?.timeout).toBe(10_000);
    },
  );

  test.each([
    [0, 67],
    [25, 67],
    [57, 67],
    [58, 68],
    [3600, 3610],
  ])('that waits up to %d s closes a silent connection after %d s', (waits, silenceTimeout) => {
    expect(timeoutsOf(waits)).toEqual({
      firstRequestTimeout: 10,
      headersTimeout: 10,
      requestTimeout: 15,
      silenceTimeout,
      keepAliveHint: 65,
      drainTimeout: 10,
    });
  });

  test('that closes ends idle connections, answers the others, and is closed with the last', async () => {
    const { port, answer, connect, asked } = await opened('public', 10);
    expect(await port.connected()).toBe(false);
    const idle = await answer();
    const held = await connect(get());
    await soon(() => asked.length === 2);
    expect(await port.connected()).toBe(true);
    let closed = false;
    const closing = port.close().then(() => {
      closed = true;
    });
    await idle.ended;
    expect([closed, isOpen(held)]).toEqual([false, true]);
    asked[1]?.send(200, NONE, 'last');
    await held.ended;
    expect(held.text).toMatch(/^Connection: close\r\n.*last$/ms);
    await closing;
    expect(await port.connected()).toBe(false);
  });

  test('that is destroyed ends all connections', async () => {
    const { port, answer, connect, asked } = await opened('internal', 10);
    const all = [await answer(), await connect(), await connect(get())];
    await soon(() => asked.length === 2);
    port.destroyAll();
    for (const connection of all) await connection.ended;
  });

  test.each([
    ['127.0.0.1', /^http:\/\/127\.0\.0\.1:\d+$/],
    ['[::1]', /^http:\/\/\[::1\]:\d+$/],
    ['::1', /^http:\/\/\[::1\]:\d+$/],
  ])('on %s says its URL', async (host, expected) => {
    const { url } = await opened('public', 10, { host });
    expect(url).toMatch(expected);
  });

  test('a port that is taken is an error', async () => {
    const { url } = await opened('public', 10);
    const port = internalPort({
      route: { method: 'GET', path: PATH, handle: () => {} },
      others: () => {},
      failed: () => {},
      onSlowPath: () => {},
      connections: 1,
      onCut: () => {},
    });
    await expect(port.listen('127.0.0.1', Number(new URL(url).port))).rejects.toMatchObject({
      code: 'EADDRINUSE',
    });
  });
});

describe('a port whose socket several processes share', () => {
  /** What another process does for it. */
  function sharing() {
    const calls = { accepted: 0, accept: (_: Closable) => {}, pause: () => {} };
    const shared: SharedSocket = {
      open: (accept, pause) => void Object.assign(calls, { accept, pause }),
      accepted: () => void calls.accepted++,
    };
    /** A listening socket, as it is passed. */
    const bound = async () => {
      const socket = createNetServer();
      await once(socket.listen(0, '127.0.0.1'), 'listening');
      onTestFinished(() => void socket.close());
      const { port } = socket.address() as AddressInfo;
      return { socket, url: `http://127.0.0.1:${port}`, closed: vi.spyOn(socket, 'close') };
    };
    return { calls, shared, bound };
  }
  const asks = async (url: string) => {
    const connection = raw(url, get('/a?now'));
    await soon(() => connection.text || connection.socket.destroyed);
    return connection;
  };

  test('listens when it is given it, pauses, and goes on with another', async () => {
    const { calls, shared, bound } = sharing();
    const { port, server } = made('public', 10);
    const one = await bound();
    let listens = '';
    const listening = port.listen('127.0.0.1', 0, shared).then(url => {
      listens = url;
    });
    await turns();
    expect(listens).toBe('');
    calls.accept(one.socket);
    await listening;
    expect(listens).toBe(one.url);
    const first = await asks(one.url);
    expect([first.text, calls.accepted]).toEqual([expect.stringMatching(/now$/), 1]);
    expect(server().listenerCount('error')).toBe(0);

    // while it listens it needs no other
    const other = await bound();
    calls.accept(other.socket);
    expect([one.closed.mock.calls.length, other.closed.mock.calls.length]).toEqual([0, 1]);

    calls.pause();
    expect([(await asks(one.url)).text, isOpen(first)]).toEqual(['', true]);
    const from = first.text.length;
    first.socket.write(get('/a?now'));
    await soon(() => first.text.slice(from).endsWith('now'));
    const two = await bound();
    calls.accept(two.socket);
    await soon(() => server().listening);
    expect((await asks(two.url)).text).toMatch(/now$/);
    expect(calls.accepted).toBe(2);
  });

  test('that is closed accepts no more, and closes what it is given', async () => {
    const { calls, shared, bound } = sharing();
    const { port, asked } = made('internal', 10);
    const one = await bound();
    const listening = port.listen('127.0.0.1', 0, shared);
    calls.accept(one.socket);
    await listening;
    raw(one.url, get());
    await soon(() => asked.length === 1);
    const closing = port.close();
    const two = await bound();
    calls.pause();
    calls.accept(two.socket);
    expect(two.closed).toHaveBeenCalledTimes(1);
    expect((await asks(one.url)).text).toBe('');
    asked[0]?.send(200, NONE, 'last');
    await closing;
  });

  test('that cannot listen is an error', async () => {
    const { calls, shared } = sharing();
    const { port } = made('public', 10);
    const listening = port.listen('127.0.0.1', 0, shared);
    // a descriptor that is none
    calls.accept({ fd: 1_000_000, close: () => {} } as Closable);
    await expect(listening).rejects.toMatchObject({ code: expect.stringMatching(/^E/) });
  });
});
