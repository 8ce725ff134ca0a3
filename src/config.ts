/** The settings: ONE table of name, check, default and help. Flags, environment, help text and README come from it. */
import { Command, CommanderError, Option } from 'commander';
import { z } from 'zod';
import { isNamePattern } from './protocol/names.js';

const number = (least: number, most: number) => z.coerce.number().min(least).max(most);
const whole = (least: number, most: number) => z.coerce.number().int().min(least).max(most);
const listOf = (isItem: (part: string) => boolean) =>
  z
    .string()
    .transform(text => text.split(',').map(part => part.trim()))
    .refine(parts => parts.every(isItem));
const list = (item: RegExp) => listOf(part => item.test(part));
const flag = z.enum(['1', 'true', '0', 'false']).transform(text => text === '1' || text === 'true');

const host = z.string().regex(/^[^\s/]+$/);
const port = whole(0, 65535);
/** The credentials and TLS of the first count for all: one user and one certificate authority serve a deployment. */
const HOST_AND_PORT = /^(rediss?:\/\/([^\s,/@]*@)?)?(\[[\da-fA-F:.]+\]|[^\s:,/@]+):\d{1,5}$/;
const ADDRESSES = 'host:port,… or redis[s]://[user:password@]host:port,… (those of the first count for all)';
const ORIGIN = /^https?:\/\/[^\s/,]+$/;

interface Setting<T extends z.ZodType> {
  schema: T;
  /** as text, the way it would be given; undefined: not set */
  fallback?: string;
  /** what is allowed, said to whoever gave something else */
  allowed: string;
  help: string;
  /** never shown */
  secret?: true;
}
const setting = <T extends z.ZodType, G extends Setting<T>>(given: G & { schema: T }) => given;

export const SETTINGS = {
  publicHost: setting({
    schema: host,
    fallback: '0.0.0.0',
    allowed: 'a host name or address',
    help: 'where pages ask',
  }),
  publicPort: setting({
    schema: port,
    fallback: '11000',
    allowed: '0 to 65535',
    help: 'its port; 0 picks a free one',
  }),
  internalHost: setting({
    schema: host,
    fallback: '127.0.0.1',
    allowed: 'a host name or address',
    help: 'where backends set; only loopback without set tokens',
  }),
  internalPort: setting({
    schema: port,
    fallback: '11001',
    allowed: '0 to 65535',
    help: 'its port; 0 picks a free one',
  }),
  redisUrl: setting({
    schema: z.string().regex(/^rediss?:\/\/\S+$/),
    allowed: 'redis://[user:password@]host[:port][/db] or rediss://…',
    help: 'one Redis server; absent: the embedded store',
    secret: true,
  }),
  redisSentinels: setting({
    schema: list(HOST_AND_PORT),
    allowed: ADDRESSES,
    help: 'the Sentinels of a Redis; needs its master name',
    secret: true,
  }),
  redisMaster: setting({
    schema: z.string().regex(/^\S+$/),
    allowed: 'a name',
    help: 'the name the Sentinels know it by',
  }),
  redisCluster: setting({
    schema: list(HOST_AND_PORT),
    allowed: ADDRESSES,
    help: 'some nodes of a Redis Cluster',
    secret: true,
  }),
  redisPrefix: setting({
    schema: z.string().regex(/^[\w.:-]{1,64}$/),
    fallback: 'tagwait',
    allowed: '1 to 64 of A-Z a-z 0-9 . _ : -',
    help: 'the start of all its keys and channels',
  }),
  redisWait: setting({
    schema: whole(0, 16),
    fallback: '0',
    allowed: '0 to 16',
    help: 'replicas that must have a set before it is acknowledged',
  }),
  ttl: setting({
    schema: number(0.001, 31_536_000),
    fallback: '300',
    allowed: '0.001 to 31536000 seconds',
    help: 'seconds a key is kept after a set that does not say',
  }),
  hold: setting({
    schema: number(0.05, 300),
    fallback: '25',
    allowed: '0.05 to 300 seconds',
    help: 'seconds a request is held at most',
  }),
  history: setting({
    schema: whole(1, 1000),
    fallback: '16',
    allowed: '1 to 1000',
    help: 'values kept per key for pages that were away',
  }),
  maxValueBytes: setting({
    schema: whole(1, 1_048_576),
    fallback: '16384',
    allowed: '1 to 1048576',
    help: 'bytes of one value, as JSON in UTF-8',
  }),
  maxKeys: setting({
    schema: whole(0, 100_000_000),
    fallback: '100000',
    allowed: '0 (no limit) to 100000000',
    help: 'keys kept by the embedded store; a set of a further one is refused',
  }),
  maxHeld: setting({
    schema: whole(0, 10_000_000),
    allowed: '0 (no limit) to 10000000',
    help: 'requests held by this node; absent: from the open-file limit, less a reserve',
  }),
  maxHeldPerKey: setting({
    schema: whole(0, 10_000_000),
    fallback: '16',
    allowed: '0 (no limit) to 10000000',
    help: 'requests held for one key',
  }),
  maxHeldPerIp: setting({
    schema: whole(0, 10_000_000),
    fallback: '1000',
    allowed: '0 (no limit) to 10000000',
    help: 'requests held for one address (an IPv6 /64 counts as one)',
  }),
  maxPollsPerIp: setting({
    schema: whole(0, 10_000_000),
    fallback: '200',
    allowed: '0 (no limit) to 10000000',
    help: 'polls a second from one address',
  }),
  trustProxy: setting({
    schema: whole(0, 16),
    fallback: '0',
    allowed: '0 to 16',
    help: 'proxies in front whose X-Forwarded-For is believed',
  }),
  origins: setting({
    schema: z.union([z.literal('*').transform(() => [] as string[]), list(ORIGIN)]),
    fallback: '*',
    allowed: '* or https://one.example,https://two.example',
    help: 'origins whose pages may ask',
  }),
  callbacks: setting({
    schema: z.union([z.literal('*').transform(() => ['*']), listOf(isNamePattern)]),
    allowed:
      '* for every name, or names such as app.heard,app.on* (* within one part, once, stands for A-Z a-z 0-9 _)',
    help: 'further names for callback and var, where dotted ones and globals of browsers are refused',
  }),
  setTokens: setting({
    schema: list(/^[\x21-\x2b\x2d-\x7e]{1,256}$/),
    allowed: 'tokens of 1 to 256 printable characters, comma-separated',
    help: 'bearer tokens of backends',
    secret: true,
  }),
  secret: setting({
    schema: list(/^[\x21-\x2b\x2d-\x7e]{1,256}$/),
    allowed: 'secrets of 1 to 256 printable characters, comma-separated',
    help: 'signs tickets: the first signs, all verify; absent: no tickets needed',
    secret: true,
  }),
  workers: setting({
    schema: z.union([z.literal('auto'), whole(1, 256)]),
    fallback: '1',
    allowed: '1 to 256 or auto',
    help: 'processes that share the ports; more than one needs Redis',
  }),
  drain: setting({
    schema: number(0, 600),
    fallback: '10',
    allowed: '0 to 600 seconds',
    help: 'seconds over which pages are sent elsewhere when this node stops',
  }),
  demo: setting({
    schema: flag,
    fallback: 'false',
    allowed: 'true or false',
    help: 'shows a scan login at /demo',
  }),
  logLevel: setting({
    schema: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']),
    fallback: 'info',
    allowed: 'trace, debug, info, warn, error, fatal or silent',
    help: 'how much is logged, to stderr',
  }),
};

type Table = typeof SETTINGS;
export type Name = keyof Table;
type Value<N extends Name> = z.output<Table[N]['schema']>;
type WithFallback = { [N in Name]: Table[N] extends { fallback: string } ? N : never }[Name];
/** All settings, checked. Times in seconds. */
export type Config = { [N in Name]: Value<N> | (N extends WithFallback ? never : undefined) };

export const NAMES = Object.keys(SETTINGS) as Name[];
const words = (name: Name) => name.replace(/[A-Z]/g, letter => ` ${letter.toLowerCase()}`).split(' ');
export const flagOf = (name: Name) => `--${words(name).join('-')}`;
export const envOf = (name: Name) => `TAGWAIT_${words(name).join('_').toUpperCase()}`;

/** The settings as a log may show them: who can be reached and how, but nothing that opens a door. */
export function shown(config: Config): Record<string, unknown> {
  const text = (name: Name, value: unknown) => {
    if (!('secret' in SETTINGS[name])) return value;
    if (Array.isArray(value)) return `${value.length} given`;
    // the user and password, and those that a query string may hold
    return String(value)
      .replace(/\/\/.*@/, '//***@')
      .replace(/\?.*/, '?***');
  };
  return Object.fromEntries(Object.entries(config).map(([name, value]) => [name, text(name as Name, value)]));
}

/** Every fault of a configuration, one line each. */
export class Misconfigured extends Error {
  constructor(readonly faults: string[]) {
    super(faults.join('\n'));
  }
}

type Given = Partial<Record<Name, { text: unknown; from: string }>>;

/**
 * The settings from flags and environment; flags win.
 * @throws {Misconfigured} with all faults at once
 * @throws {CommanderError} after `--help` and `--version` were answered, with exitCode 0
 */
export function readConfig(argv: readonly string[], env: NodeJS.ProcessEnv, version: string): Config {
  const command = new Command('tagwait')
    .description('Answers script tags late: holds GET /status/get until a backend sets a value for the key.')
    .version(version)
    .allowUnknownOption()
    .allowExcessArguments()
    .exitOverride();
  for (const name of NAMES) {
    const { fallback, help, allowed } = SETTINGS[name] as Setting<z.ZodType>;
    const said = `${help} (${[allowed, fallback && `default ${fallback}`, envOf(name)].filter(Boolean).join('; ')})`;
    command.addOption(new Option(`${flagOf(name)} [value]`, said));
  }
  command.parse(argv, { from: 'user' });

  // a flag alone: what follows a mistyped one may be the secret
  const faults = command.args
    .map(word => /^--?[\w-]+/.exec(word)?.[0] ?? 'an argument')
    .map(word => `${word}: not an option; tagwait --help lists them`);
  const given: Given = {};
  for (const name of NAMES) {
    const flagged: unknown = command.getOptionValue(name);
    const set = env[envOf(name)];
    if (flagged !== undefined)
      given[name] = { text: flagged === true && name === 'demo' ? 'true' : flagged, from: flagOf(name) };
    else if (set !== undefined && set !== '') given[name] = { text: set, from: envOf(name) };
  }
  return check(given, faults);
}

/**
 * The settings from an object, as an embedding program gives them; what is left out has its default.
 * @throws {Misconfigured} with all faults at once
 */
export function configOf(options: Partial<Config>): Config {
  const given: Given = {};
  const faults: string[] = [];
  for (const [name, value] of Object.entries(options)) {
    if (!Object.hasOwn(SETTINGS, name)) faults.push(`${name}: not an option; there are ${NAMES.join(', ')}`);
    else if (Array.isArray(value) && value.length === 0) {
      // no origins listed: all may ask; no callbacks: none beyond the usual; of other lists that would be a mistake
      if (name !== 'callbacks') given[name as Name] = { text: name === 'origins' ? '*' : '', from: name };
    } else if (value !== undefined)
      given[name as Name] = { text: Array.isArray(value) ? value.join(',') : String(value), from: name };
  }
  return check(given, faults);
}

function check(given: Given, faults: string[]): Config {
  const config: Record<string, unknown> = {};
  for (const name of NAMES) {
    const { schema, fallback, allowed, secret } = SETTINGS[name] as Setting<z.ZodType>;
    const { text, from } = given[name] ?? { text: fallback, from: name };
    if (text === undefined) continue;
    const result = schema.safeParse(typeof text === 'string' && text.trim() !== '' ? text : Number.NaN);
    if (result.success) config[name] = result.data;
    else if (text === true || text === '') faults.push(`${from}: needs a value; give ${allowed}`);
    else
      faults.push(`${from}: ${secret ? 'this value' : JSON.stringify(text)} is not allowed; give ${allowed}`);
  }
  const checked = config as Config;
  faults.push(...clashes(checked));
  if (faults.length > 0) throw new Misconfigured(faults);
  return checked;
}

/** Settings that are right one by one but not together. */
function clashes(config: Config): string[] {
  const faults: string[] = [];
  const stores = (['redisUrl', 'redisSentinels', 'redisCluster'] as const).filter(name => config[name]);
  if (stores.length > 1) faults.push(`${stores.map(envOf).join(' and ')}: give one of them`);
  if (!config.redisSentinels !== !config.redisMaster)
    faults.push(`${envOf('redisSentinels')} and ${envOf('redisMaster')}: one needs the other`);
  if (config.workers !== undefined && config.workers !== 1 && stores.length === 0)
    faults.push(`${envOf('workers')}: more than one process needs Redis; give ${envOf('redisUrl')}, or 1`);
  if (config.workers !== undefined && config.workers !== 1 && config.demo)
    faults.push(`${envOf('demo')}: the demo keeps its logins in one process; give ${envOf('workers')} 1`);
  if (config.internalHost !== undefined && !isLoopback(config.internalHost) && !config.setTokens)
    faults.push(
      `${envOf('internalHost')}: ${JSON.stringify(config.internalHost)} is not loopback; give 127.0.0.1, ::1 or localhost, or set ${envOf('setTokens')}`,
    );
  return faults;
}

const isLoopback = (name: string) => /^(127(\.\d{1,3}){3}|::1|\[::1\]|localhost)$/.test(name);

export { CommanderError };
