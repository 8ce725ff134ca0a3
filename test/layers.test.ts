/** Imports point down only: the architecture, as a table that the code must equal. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const src = fileURLToPath(new URL('../src', import.meta.url));

/** What each file imports of ours. A folder stands for its files, which import each other. */
const IMPORTS: Record<string, string[]> = {
  index: ['assets', 'library', 'service', 'tagwait', 'broker', 'config', 'settings', 'login', 'protocol'],
  cli: ['main', 'gc', 'commands'],
  commands: ['assets', 'check', 'config', 'loopback', 'output', 'settings', 'subscribe'],
  check: ['assets', 'broker', 'config', 'environment', 'log', 'output', 'settings', 'store'],
  subscribe: ['protocol'],
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
    'loopback',
    'gc',
    'assets',
  ],
  workers: ['worker', 'totals', 'sockets', 'settings', 'samples', 'log', 'output'],
  worker: ['service', 'balance', 'scrapes', 'samples', 'log', 'wire'],
  scrapes: [],
  totals: ['samples'],
  sockets: ['balance', 'loopback', 'worker', 'wire'],
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
    'routes',
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
  ],
  store: ['broker', 'brokers', 'log', 'settings'],
  tagwait: ['broker', 'settings', 'login', 'protocol'],
  assets: [],
  palette: ['assets'],
  demo: ['assets', 'login', 'palette', 'routes', 'wire'],
  live: ['hold', 'brokers', 'routes', 'metrics', 'samples', 'limits', 'log'],
  routes: [
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
    'nearest',
  ],
  metrics: ['protocol', 'broker', 'limits', 'login', 'wire', 'registry', 'samples'],
  registry: [],
  samples: [],
  wire: ['limits', 'loopback', 'network'],
  limits: ['network'],
  network: [],
  gc: [],
  hold: ['broker', 'protocol'],
  login: ['broker', 'protocol'],
  brokers: ['assets', 'broker', 'address', 'log', 'protocol'],
  address: ['loopback'],
  protocol: ['broker'],
  broker: [],
  config: ['address', 'settings', 'environment', 'help', 'loopback', 'nearest'],
  help: ['settings'],
  environment: ['settings', 'nearest'],
  nearest: [],
  settings: ['address', 'schemas', 'protocol'],
  schemas: ['address'],
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
  zod: /^(settings|schemas|help|config|routes\/body)/,
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

/** What the files of each room import of ours, of other rooms. */
const used: Record<string, string[]> = {};
for (const file of files) {
  const targets = imports(file)
    .filter(from => from.startsWith('.'))
    .map(from => room(posix.normalize(posix.join(posix.dirname(file), from))));
  used[room(file)] = [...new Set([...(used[room(file)] ?? []), ...targets])].filter(
    name => name !== room(file),
  );
}

test('the table has every room, and each imports just what it says', () => {
  const table = Object.entries(IMPORTS).map(([name, names]) => [
    name,
    names.filter(other => other !== name).sort(),
  ]);
  const found = Object.entries(used).map(([name, names]) => [name, names.sort()]);
  expect(Object.fromEntries(found)).toEqual(Object.fromEntries(table));
});

test('no room imports itself by way of others', () => {
  const above = (name: string, path: string[] = []): string[] =>
    path.includes(name)
      ? [[...path, name].join(' → ')]
      : (IMPORTS[name] ?? []).flatMap(other => above(other, [...path, name]));
  expect(Object.keys(IMPORTS).flatMap(name => above(name))).toEqual([]);
});

test.each(files)('%s knows only the libraries of its room', file => {
  for (const from of imports(file))
    if (!from.startsWith('.') && !from.startsWith('node:'))
      expect(KNOWS[from]?.test(file), `${file} knows ${from}`).toBe(true);
});

test.each(files)('%s has at most 250 lines', file => {
  expect(readFileSync(join(src, file), 'utf8').trimEnd().split('\n').length).toBeLessThanOrEqual(250);
});
