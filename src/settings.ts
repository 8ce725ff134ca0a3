/** The settings: ONE table of name, check, default and help. Flags, environment, help text and README come from it. */
import { z } from 'zod';
import * as redis from './brokers/redis/address.js';
import { isNamePattern } from './protocol/names.js';

/** A decimal number: `0x10` and `1_000` are none. */
const DECIMAL = /^\s*-?\d+(\.\d+)?(e[+-]?\d+)?\s*$/i;
const decimal = (min: number, max: number) =>
  z.string().regex(DECIMAL).transform(Number).pipe(z.number().min(min).max(max));
const integer = (min: number, max: number) => decimal(min, max).pipe(z.int());
/** The check and the words for it are made of the same bounds. */
const seconds = (min: number, max: number) => ({
  schema: decimal(min, max),
  allowed: `${min} to ${max} seconds`,
});
const whole = (min: number, max: number) => ({ schema: integer(min, max), allowed: `${min} to ${max}` });
const limit = (max: number) => ({ schema: integer(0, max), allowed: `0 (no limit) to ${max}` });
const listOf = (isItem: (part: string) => boolean) =>
  z
    .string()
    .transform(text => text.split(',').map(part => part.trim()))
    .refine(parts => parts.every(isItem));
const list = (item: RegExp) => listOf(part => item.test(part));
const flag = z.enum(['1', 'true', '0', 'false']).transform(text => text === '1' || text === 'true');

const host = z.string().regex(/^[^\s/]+$/);
const port = whole(0, 65535);
const addresses = list(/./).refine(parts => redis.parseServers(parts) !== undefined);
const ORIGIN = /^(https?:\/\/)(\*\.)?([^\s/?#@\\*,]+)$/i;
/**
 * An origin as a browser sends it: lower case, no default port, an international name in its ASCII form. A first label `*` stays.
 * @returns undefined when it is no origin
 */
function normalOrigin(text: string): string | undefined {
  const [, scheme = '', wildcard = '', host = ''] = ORIGIN.exec(text) ?? [];
  if (!URL.canParse(scheme + host)) return undefined;
  const url = new URL(scheme + host);
  return `${url.protocol}//${wildcard}${url.host}`;
}
const origins = z.string().transform((text, { issues }) => {
  const given = text.split(',').map(part => normalOrigin(part.trim()));
  if (given.includes(undefined)) issues.push({ code: 'custom', input: text });
  return given.filter(origin => origin !== undefined);
});

export interface Setting<T extends z.ZodType> {
  schema: T;
  /** as text, the way it would be given; undefined: not set */
  fallback?: string;
  /** what is allowed, as an error message says it */
  allowed: string;
  help: string;
  /** never shown in logs and errors */
  secret?: true;
  /** An empty environment variable is an error. For the others it counts as not set. */
  neverEmpty?: true;
  /** Applies to the command alone: the library has no ports and no processes of its own. */
  commandOnly?: true;
}
const setting = <T extends z.ZodType, G extends Setting<T>>(given: G & { schema: T }) => given;

export const SETTINGS = {
  publicHost: setting({
    schema: host,
    fallback: '0.0.0.0',
    allowed: 'a host name or address',
    help: 'where pages ask',
    commandOnly: true,
  }),
  publicPort: setting({
    ...port,
    fallback: '11000',
    help: 'its port; 0 picks a free one',
    commandOnly: true,
  }),
  internalHost: setting({
    schema: host,
    fallback: '127.0.0.1',
    allowed: 'a host name or address',
    help: 'where backends set; only loopback without set tokens',
    commandOnly: true,
  }),
  internalPort: setting({
    ...port,
    fallback: '11001',
    help: 'its port; 0 picks a free one',
    commandOnly: true,
  }),
  redisUrl: setting({
    schema: z.string().refine(text => redis.parseServer(text) !== undefined),
    allowed: redis.SERVER_ALLOWED,
    help: 'one Redis server; absent: the embedded store',
    secret: true,
  }),
  redisSentinels: setting({
    schema: addresses,
    allowed: `${redis.SERVERS_ALLOWED}; a /database after one of them`,
    help: 'the Sentinels of a Redis; needs its master name',
    secret: true,
  }),
  redisMaster: setting({
    schema: z.string().regex(/^\S+$/),
    allowed: 'a name',
    help: 'the name the Sentinels know it by',
  }),
  redisSentinelPassword: setting({
    schema: z.string().min(1),
    allowed: 'a password, as it is',
    help: 'password of the Sentinels; absent: the same as that of Redis',
    secret: true,
  }),
  redisCluster: setting({
    schema: addresses,
    allowed: redis.SERVERS_ALLOWED,
    help: 'some nodes of a Redis Cluster',
    secret: true,
  }),
  redisNat: setting({
    schema: list(/./).refine(pairs => redis.parseNat(pairs) !== undefined),
    allowed: redis.NAT_ALLOWED,
    help: 'where servers of a Cluster, or those that Sentinels name, are reached from here',
  }),
  redisPrefix: setting({
    schema: z.string().regex(/^[\w.:-]{1,64}$/),
    fallback: 'tagwait',
    allowed: '1 to 64 of A-Z a-z 0-9 . _ : -',
    help: 'the start of all its keys and channels',
  }),
  redisWait: setting({
    ...whole(0, 16),
    fallback: '0',
    help: 'replicas that must have a set before it is acknowledged',
  }),
  ttl: setting({
    ...seconds(0.001, 31_536_000),
    fallback: '300',
    help: 'seconds a key is kept after a set that does not say',
  }),
  hold: setting({
    ...seconds(0.05, 300),
    fallback: '25',
    help: 'seconds a request is held at most',
  }),
  history: setting({
    ...whole(1, 1000),
    fallback: '16',
    help: 'values kept per key for pages that were away',
  }),
  maxValueBytes: setting({
    ...whole(1, 1_048_576),
    fallback: '16384',
    help: 'bytes of one value, as JSON in UTF-8',
  }),
  maxKeys: setting({
    ...limit(100_000_000),
    fallback: '100000',
    help: 'keys kept by the embedded store; a set of a further one is refused',
  }),
  maxHeld: setting({
    ...limit(10_000_000),
    help: 'requests held by this node; absent: from the open-file limit, less a reserve',
  }),
  maxHeldPerKey: setting({
    ...limit(10_000_000),
    fallback: '16',
    help: 'requests held for one key',
  }),
  maxHeldPerIp: setting({
    ...limit(10_000_000),
    fallback: '1000',
    help: 'requests held for one address (an IPv6 /64 counts as one)',
  }),
  maxPollsPerIp: setting({
    ...limit(10_000_000),
    fallback: '200',
    help: 'polls a second from one address',
  }),
  trustProxy: setting({
    ...whole(0, 16),
    fallback: '0',
    help: 'proxies in front whose X-Forwarded-For is believed',
  }),
  origins: setting({
    schema: z.union([z.literal('*').transform(() => [] as string[]), origins]),
    fallback: '*',
    allowed: '* or https://one.example,https://two.example',
    help: 'origins whose pages may ask; https://*.example.com: those of all subdomains',
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
    neverEmpty: true,
  }),
  secret: setting({
    schema: list(/^[\x21-\x2b\x2d-\x7e]{1,256}$/),
    allowed: 'secrets of 1 to 256 printable characters, comma-separated',
    help: 'signs tickets: the first signs, all verify; absent: no tickets needed',
    secret: true,
    neverEmpty: true,
  }),
  workers: setting({
    schema: z.union([z.literal('auto'), integer(1, 256)]),
    fallback: '1',
    allowed: '1 to 256 or auto',
    help: 'processes that share the ports; more than one needs Redis',
    commandOnly: true,
  }),
  drain: setting({
    ...seconds(0, 600),
    fallback: '10',
    help: 'seconds over which pages are sent elsewhere when this node stops',
  }),
  demo: setting({
    schema: flag,
    fallback: 'false',
    allowed: 'true or false',
    help: 'shows a scan login at /demo',
    commandOnly: true,
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

type CommandOnly = { [N in Name]: Table[N] extends { commandOnly: true } ? N : never }[Name];
/** The settings that apply when tagwait is part of another program. */
export type LibraryOptions = Partial<Omit<Config, CommandOnly>>;

export const NAMES = Object.keys(SETTINGS) as Name[];
const words = (name: Name) => name.replace(/[A-Z]/g, letter => ` ${letter.toLowerCase()}`).split(' ');
export const flagOf = (name: Name) => `--${words(name).join('-')}`;
export const envOf = (name: Name) => `TAGWAIT_${words(name).join('_').toUpperCase()}`;
