/** Imports point down only: the architecture, as a table that the code must equal. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const src = fileURLToPath(new URL('../src', import.meta.url));

/** What each file may import of ours. A folder stands for its files. */
const MAY: Record<string, string[]> = {
  index: ['assets', 'library', 'service', 'tagwait', 'broker', 'config', 'settings', 'login', 'protocol'],
  cli: ['main', 'gc', 'commands'],
  commands: [
    ...['assets', 'broker', 'store', 'config', 'log', 'loopback', 'output', 'settings', 'subscribe'],
  ],
  subscribe: ['subscribe', 'protocol'],
  main: [
    'workers',
    'worker',
    'output',
    'service',
    'config',
    'settings',
    'environment',
    'broker',
    'demo',
    'log',
    'gc',
    'assets',
  ],
  workers: ['worker', 'totals', 'sockets', 'settings', 'samples', 'log', 'output'],
  worker: ['service', 'balance', 'scrapes', 'samples', 'log', 'wire'],
  scrapes: [],
  totals: ['samples'],
  sockets: ['balance', 'worker', 'wire'],
  balance: [],
  service: [
    'assets',
    'compose',
    'store',
    'tagwait',
    'config',
    'settings',
    'log',
    'gc',
    'samples',
    'demo',
    'wire',
  ],
  library: ['compose', 'store', 'tagwait', 'broker', 'brokers', 'config', 'settings', 'log'],
  compose: [
    'assets',
    'tagwait',
    'config',
    'settings',
    'broker',
    'store',
    'hold',
    'login',
    'routes',
    'metrics',
    'samples',
    'log',
    'output',
    'palette',
    'live',
    'limits',
    'protocol',
    'login',
  ],
  store: ['broker', 'brokers', 'log', 'settings'],
  tagwait: ['broker', 'settings', 'login', 'protocol'],
  assets: [],
  palette: ['assets'],
  demo: ['assets', 'demo', 'login', 'palette', 'routes', 'wire'],
  live: ['live', 'hold', 'brokers', 'routes', 'metrics', 'samples', 'limits', 'log'],
  routes: [
    'routes',
    'hold',
    'login',
    'wire',
    'protocol',
    'metrics',
    'samples',
    'limits',
    'broker',
    'log',
    'loopback',
  ],
  metrics: ['protocol', 'broker', 'limits', 'login', 'wire', 'registry', 'samples'],
  registry: [],
  samples: [],
  wire: ['wire', 'limits', 'loopback', 'network'],
  limits: ['network'],
  network: [],
  gc: [],
  hold: ['hold', 'broker', 'protocol'],
  login: ['login', 'broker', 'protocol'],
  brokers: ['assets', 'broker', 'brokers', 'address', 'log', 'protocol'],
  address: [],
  protocol: ['protocol', 'broker'],
  broker: [],
  config: ['address', 'settings', 'environment', 'help', 'loopback', 'nearest'],
  help: ['settings'],
  environment: ['settings', 'nearest'],
  nearest: [],
  settings: ['address', 'checks', 'protocol'],
  checks: ['address'],
  loopback: [],
  log: ['output'],
  output: [],
};
/** Which files know which library. */
const KNOWS: Record<string, RegExp> = {
  ioredis: /^brokers\/redis\//,
  'cluster-key-slot': /^brokers\/redis\//,
  koa: /^(routes\/|service|demo\/)/,
  '@koa/router': /^(routes\/|demo\/)/,
  zod: /^(settings|checks|help|config|routes\/body)/,
  commander: /^(config|help|main|commands)/,
  pino: /^log/,
  'ipaddr.js': /^network\./,
  ws: /^routes\/socket/,
  'prom-client': /^(metrics|registry|samples)\./,
};

const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter(file => file.endsWith('.ts'));
const imports = (file: string) =>
  [
    ...readFileSync(join(src, file), 'utf8').matchAll(
      /^(?:import|export)\b[^;]*?from '([^']+)'|\bimport\('([^']+)'\)/gms,
    ),
  ].map(([, first, later]) => (first ?? later) as string);
/** The broker's interface is a room of its own: the hold imports it, and no broker. config.ts also imports the addresses. */
const room = (path: string) =>
  /^brokers\/(?:broker|redis\/address)\b/.test(path)
    ? posix.basename(path).replace(/\.[jt]s$/, '')
    : (path.split('/')[0] as string).replace(/\.[jt]s$/, '');

test.each(files)('%s imports what is below it', file => {
  for (const from of imports(file)) {
    if (from.startsWith('.')) {
      const target = room(posix.normalize(posix.join(posix.dirname(file), from)));
      expect(MAY[room(file)], `${file} imports ${from}`).toContain(target);
    } else if (!from.startsWith('node:')) {
      expect(KNOWS[from]?.test(file), `${file} knows ${from}`).toBe(true);
    }
  }
});

test('every room is in the table', () => {
  expect([...new Set(files.map(room))].filter(name => !(name in MAY))).toEqual([]);
});
