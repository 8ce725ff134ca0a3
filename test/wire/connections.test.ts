/** All connections of a server: which of them gives way to a new one, and which are closed when. */
import { createServer } from 'node:http';
import { expect, test, vi } from 'vitest';
import { Connections } from '../../src/wire/connections.js';
import type { ConnectionOptions } from '../../src/wire/options.js';
import { CALM, get, Line, NONE, PATH, post, soon, turns, type Wired, wired } from './wired.js';

/** Brings a connection into a state. */
const STATES: Record<string, (all: Wired) => Promise<Line>> = {
  idle: async ({ connect }) => {
    const line = connect(get('/a?now'));
    await soon(() => line.text.endsWith('now'));
    return line;
  },
  'idle after another route': async ({ connect }) => {
    const line = connect(get('/b'));
    await soon(() => line.text.endsWith('/b'));
    await turns();
    return line;
  },
  fresh: async ({ connect }) => connect(),
  'half a head': async ({ connect }) => {
    const line = connect('GET /a');
    await turns();
    return line;
  },
  'half a body': async ({ connect, others }) => {
    const count = others.length;
    const line = connect(post('/never', 'body').slice(0, -1));
    await soon(() => others.length > count);
    return line;
  },
  'an answer that is not read': async ({ connect, asked }) => {
    const count = asked.length;
    const line = connect(get());
    await soon(() => asked.length > count);
    line.stall();
    asked[count]?.exchange.send(200, NONE, 'x'.repeat(100_000));
    return line;
  },
  "waiting for Node's HTTP": async ({ connect, others }) => {
    const count = others.length;
    const line = connect(post('/never', 'body'));
    await soon(() => others.length > count);
    return line;
  },
  held: async ({ connect, asked }) => {
    const count = asked.length;
    const line = connect(get());
    await soon(() => asked.length > count);
    return line;
  },
};

/** Makes room until there is none to make. @returns the states of those that gave way, in their order */
function all(opened: [string, Line][], { connections }: Wired): string[] {
  const gone: string[] = [];
  for (let times = 0; times <= opened.length; times++) {
    const before = opened.filter(([, line]) => !line.destroyed);
    if (!connections.makeRoom()) break;
    gone.push(...before.filter(([, line]) => line.destroyed).map(([name]) => name));
  }
  return gone;
}

const NAMES = Object.keys(STATES);
const RANKS = [
  ['idle', 'idle after another route'],
  ['fresh', 'half a head', 'half a body', 'an answer that is not read'],
  ["waiting for Node's HTTP"],
];
const SWAPPED = NAMES.flatMap((_, at) => (at % 2 ? [NAMES[at], NAMES[at - 1]] : [])) as string[];

test.each([
  ['as they are', NAMES],
  ['in reverse', NAMES.toReversed()],
  ['in pairs', SWAPPED],
])(
  'idle ones give way first, then those whose client must act, then those with a request; held ones never: %s',
  async (_, names) => {
    const server = wired();
    const opened: [string, Line][] = [];
    for (const name of names) opened.push([name, (await STATES[name]?.(server)) as Line]);
    const expected = RANKS.flatMap(rank => names.filter(name => rank.includes(name)));
    expect(all(opened, server)).toEqual(expected);
    expect(opened.filter(([, line]) => !line.destroyed)).toEqual([['held', expect.anything()]]);
  },
);

test('of several, the one that was inactive longest gives way, and not the one that was opened first', async () => {
  const server = wired();
  const lines: [string, Line][] = [];
  for (const name of ['one', 'two', 'three', 'four'])
    lines.push([name, await (STATES.idle as never as (all: Wired) => Promise<Line>)(server)]);
  const again = async (at: number, target: string) => {
    const line = lines[at]?.[1] as Line;
    const from = line.text.length;
    line.send(get(target));
    await soon(() => line.text.slice(from).endsWith(target.slice(-3)));
    await turns();
  };
  await again(1, '/a?now');
  await again(0, '/other/now');
  expect(all(lines, server)).toEqual(['three', 'four', 'two', 'one']);
});

test('one with a request that was begun later gives way later', async () => {
  const server = wired();
  const first = server.connect();
  const second = server.connect(get('/never'));
  await soon(() => server.others.length === 1);
  first.send(get('/never'));
  await soon(() => server.others.length === 2);
  expect(
    all(
      [
        ['first', first],
        ['second', second],
      ],
      server,
    ),
  ).toEqual(['second', 'first']);
});

test('a request that is to be read in a later turn keeps its connection', async () => {
  const { connect, connections, asked } = wired();
  const line = connect(get('/a?1') + get('/a?2'));
  await soon(() => asked.length === 1);
  asked[0]?.exchange.send(200, NONE, '');
  expect([connections.makeRoom(), line.destroyed]).toEqual([false, false]);
  await soon(() => asked.length === 2);
  expect(connections.makeRoom()).toBe(false);
});

test('without a connection there is no room to make', () => {
  expect(wired().connections.makeRoom()).toBe(false);
});

test('closeIdle closes those without a request, and no others', async () => {
  const server = wired();
  const opened: [string, Line][] = [];
  for (const name of NAMES) opened.push([name, (await STATES[name]?.(server)) as Line]);
  server.connections.closeIdle();
  expect(opened.filter(([, line]) => line.destroyed).map(([name]) => name)).toEqual(RANKS[0]);
  server.connections.closeAll();
  expect(opened.filter(([, line]) => !line.destroyed)).toEqual([]);
  await turns();
  expect(server.connections.all.size).toBe(0);
});

test('one that gives way takes its request with it', async () => {
  const { connect, connections, others, server } = wired();
  const closed = vi.fn();
  server.on('request', (_, response) => response.on('close', closed));
  connect(get('/never'));
  await soon(() => others.length === 1);
  expect(connections.makeRoom()).toBe(true);
  await soon(() => closed.mock.calls.length === 1);
});

const options = {
  ...CALM,
  route: { method: 'GET', path: PATH, handle: () => {} },
  failed: () => {},
  onSlowPath: () => {},
} satisfies ConnectionOptions;

test('a server without HTTP has no connections to take over', () => {
  const server = createServer().removeAllListeners('connection');
  expect(() => new Connections(server, options)).toThrow(new Error('the server has no HTTP of its own'));
});

test('a connection that another listener has closed is not taken over', () => {
  const server = createServer();
  const connections = new Connections(server, options);
  const line = new Line();
  line.destroy();
  server.emit('connection', line);
  expect([connections.all.size, line.listenerCount('data'), connections.closing]).toEqual([0, 0, false]);
});
