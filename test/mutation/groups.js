/**
 * What `npm run mutate` changes, which tests have to notice it, and how many of the changes they must notice: `least`,
 * in percent. `sample` is the part of a file's mutants that one run tries, the same ones each time: 20 minutes are
 * not enough for all. Tests that need a browser or take seconds are not in these lists.
 */
import { readdirSync } from 'node:fs';

/** Of `src`, what is not mutated, and why. A folder stands for its files. */
export const OUTSIDE = {
  'protocol/globals.ts': 'a table of names; names.test.ts compares it with the browsers',
  'routes/openapi.ts': 'a table; openapi.test.ts compares it with the answers',
  'brokers/broker.ts': 'types, and constants that both brokers share',
  'brokers/contract': 'checks',
  'wire/options.ts': 'names and defaults',
  demo: 'an example',
  live: 'a page for operators',
  'config.ts': 'a table of settings; docs.test.ts compares it with the pages',
  'settings.ts': 'a table of settings; docs.test.ts compares it with the pages',
  'environment.ts': 'a table of settings',
  'loopback.ts': 'one expression',
  'metrics.ts': 'a table; docs.test.ts compares it with the pages',
  'totals.ts': 'a sum of metrics',
  'log.ts': 'lines for operators',
  'output.ts': 'lines for operators',
  'gc.ts': 'flags of V8',
  'index.ts': 'exports',
  'cli.ts': 'runs as a process of its own, which cannot be mutated while it runs',
  'main.ts': 'runs as a process of its own',
  'worker.ts': 'runs as a process of its own',
  'workers.ts': 'runs as a process of its own',
  'handover.ts': 'runs as a process of its own',
  'service.ts': 'wiring',
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
    tests: tests('protocol', 'numbers', 'names', 'script'),
    sample: 0.3,
  },
  tickets: { least: 85, files: [TICKET], tests: tests('ticket'), sample: 1 },
  hold: {
    least: 85,
    files: filesOf('hold'),
    tests: tests('longpoll', 'brokers/memory', 'storms'),
    sample: 0.3,
  },
  limits: { least: 85, files: filesOf('limits.ts'), tests: tests('limits'), sample: 0.5 },
  brokers: {
    least: 85,
    files: filesOf('brokers'),
    tests: tests(
      ...['memory', 'address', 'sentinels', 'stream', 'subscriptions', 'survey', 'redis'].map(
        name => `brokers/${name}`,
      ),
      'twin/deaf',
    ),
    sample: 0.15,
  },
  login: { least: 75, files: filesOf('login'), tests: tests('login'), sample: 0.3 },
  routes: {
    least: 75,
    files: filesOf('routes'),
    tests: tests('get', 'set', 'requests', 'login'),
    sample: 0.15,
  },
  wire: { least: 75, files: filesOf('wire'), tests: tests('plain', 'wire', 'slowpath'), sample: 0.15 },
};
