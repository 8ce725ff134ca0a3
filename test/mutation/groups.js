/**
 * What `npm run mutate` changes, which tests have to notice it, and how many of the changes they must notice: `least`,
 * in percent. `sample` is the part of a file's mutants that one run tries, the same ones each time: 20 minutes are
 * not enough for all. Tests that need a browser or take seconds are not in these lists.
 */
import { readdirSync } from 'node:fs';

/**
 * Folders and files of `src` that are not mutated, and why. Of the files at its root only those in a group are: the
 * others start processes, read settings, wire the parts, or are tables that the docs' tests compare with the pages.
 */
export const OUTSIDE = {
  'protocol/globals.ts': 'a table of names; names.test.ts compares it with the browsers',
  'routes/openapi': 'tables; openapi.test.ts compares them with the answers',
  'brokers/broker.ts': 'types, and constants that all brokers share',
  'brokers/contract': 'checks',
  'brokers/kit/kit.ts': 're-exports',
  'wire/options.ts': 'names and defaults',
  'hold/options.ts': 'types',
  'login/calls.ts': 'types',
  'subscribe/types.ts': 'types',
  demo: 'an example',
  live: 'a page for operators',
};

const outside = file => Object.keys(OUTSIDE).some(place => file === place || file.startsWith(`${place}/`));
/** The files of rooms of `src` that are mutated. */
function filesOf(...rooms) {
  const all = readdirSync('src', { recursive: true, encoding: 'utf8' }).filter(file => file.endsWith('.ts'));
  const mine = all.filter(file => rooms.some(room => file === room || file.startsWith(`${room}/`)));
  return mine
    .filter(file => !outside(file))
    .sort()
    .map(file => `src/${file}`);
}
const tests = (...names) => names.map(name => `test/${name}.test.ts`);
const TICKET = 'src/protocol/ticket.ts';

export const GROUPS = {
  protocol: {
    least: 85,
    files: filesOf('protocol').filter(file => file !== TICKET),
    tests: tests('protocol', 'cursor', 'numbers', 'names', 'script', 'several', 'drop', 'socket'),
    sample: 0.3,
  },
  tickets: { least: 85, files: [TICKET], tests: tests('ticket'), sample: 1 },
  hold: {
    least: 85,
    files: filesOf('hold'),
    tests: tests('hub', 'hold', 'longpoll', 'several', 'receipts', 'brokers/memory', 'storms', 'twin'),
    sample: 0.3,
  },
  limits: {
    least: 85,
    files: filesOf('limits.ts', 'network.ts'),
    tests: tests('network', 'limits'),
    sample: 0.5,
  },
  workers: {
    least: 85,
    files: filesOf('balance.ts', 'sockets.ts', 'scrapes.ts'),
    tests: tests('balance', 'sockets', 'scrapes'),
    sample: 1,
  },
  brokers: {
    least: 85,
    files: filesOf('brokers'),
    tests: tests(
      ...[
        'guarded',
        'memory',
        'messages',
        'reply',
        'echo',
        'failures',
        'heartbeats',
        'error-text',
        'address',
        'connections',
        'sentinels',
        'stream',
        'subscriptions',
        'window',
        'keys',
        'survey',
        'kit',
      ].map(name => `brokers/${name}`),
      'twin/contract',
      'twin/link',
      'twin/subscriber',
      'twin/deaf',
      'twin',
    ),
    sample: 0.15,
  },
  login: { least: 75, files: filesOf('login'), tests: tests('login', 'receipts'), sample: 0.3 },
  routes: {
    least: 75,
    files: filesOf('routes'),
    tests: tests('guard', 'sparing', 'routes/polls', 'routes/backends', 'routes/streams'),
    sample: 0.3,
  },
  client: {
    least: 75,
    files: ['client/tagwait.js'],
    tests: tests('client', 'browsers/watch', 'browsers/script'),
    sample: 0.3,
  },
  subscribe: { least: 75, files: filesOf('subscribe'), tests: tests('source', 'subscribe'), sample: 0.3 },
  wire: {
    least: 75,
    files: filesOf('wire'),
    tests: tests(
      ...['parts', 'fast-path', 'connection', 'connections', 'port'].map(name => `wire/${name}`),
      ...['two-readers', 'slowpath'],
    ),
    sample: 0.3,
  },
};
