/**
 * The settings: one table of name, check, default and help. Flags, variables, `--help` and docs/configuration.md are made from it.
 */
import { z } from 'zod';
import * as redis from './brokers/redis/address.js';
import { isNamePattern } from './protocol/names.js';
import {
  addresses,
  flag,
  host,
  integer,
  limit,
  list,
  listOf,
  origins,
  port,
  seconds,
  tokens,
  whole,
} from './schemas.js';

export interface Setting<T extends z.ZodType> {
  schema: T;
  /** default, as the text of a flag; undefined: not set */
  fallback?: string;
  /** the allowed values, for help and errors */
  allowed: string;
  help: string;
  /** the value never appears in logs or errors */
  secret?: true;
  /** an empty environment variable is an error; for other settings it counts as not set */
  neverEmpty?: true;
  /** not available in the library, which has no ports and processes of its own */
  commandOnly?: true;
}
const setting = <T extends z.ZodType, G extends Setting<T>>(given: G & { schema: T }) => given;

export const SETTINGS = {
  publicHost: setting({
    schema: host,
    fallback: '0.0.0.0',
    allowed: 'a host name or address',
    help: 'address of the public port, for pages',
    commandOnly: true,
  }),
  publicPort: setting({
    ...port,
    fallback: '11000',
    help: 'public port; 0 picks a free one',
    commandOnly: true,
  }),
  internalHost: setting({
    schema: host,
    fallback: '127.0.0.1',
    allowed: 'a host name or address',
    help: 'address of the internal port, for backends; other than loopback needs set tokens',
    commandOnly: true,
  }),
  internalPort: setting({
    ...port,
    fallback: '11001',
    help: 'internal port; 0 picks a free one',
    commandOnly: true,
  }),
  redisUrl: setting({
    schema: z.string().refine(text => redis.parseServer(text) !== undefined),
    allowed: redis.SERVER_ALLOWED,
    help: 'one Redis server; default: the embedded store',
    secret: true,
  }),
  redisSentinels: setting({
    schema: addresses,
    allowed: `${redis.SERVERS_ALLOWED}; a /database after one of them`,
    help: 'Redis Sentinels; needs the master name',
    secret: true,
  }),
  redisMaster: setting({
    schema: z.string().regex(/^\S+$/),
    allowed: 'a name',
    help: 'name of the master in the configuration of the Sentinels',
  }),
  redisSentinelPassword: setting({
    schema: z.string().min(1),
    allowed: 'a password, not encoded',
    help: 'password of the Sentinels; default: the password of Redis',
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
    help: 'external address for each internal address that a Cluster or the Sentinels return',
  }),
  redisPrefix: setting({
    schema: z.string().regex(/^[\w.:-]{1,64}$/),
    fallback: 'tagwait',
    allowed: '1 to 64 of A-Z a-z 0-9 . _ : -',
    help: 'prefix of all keys and channels in Redis',
  }),
  redisWait: setting({
    ...whole(0, 16),
    fallback: '0',
    help: 'replicas that must confirm a set before it is acknowledged',
  }),
  ttl: setting({
    ...seconds(0.001, 31_536_000),
    fallback: '300',
    help: 'default time to live of a key after a set',
  }),
  hold: setting({
    ...seconds(0.05, 300),
    fallback: '25',
    help: 'longest time that a request is held',
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
    help: 'keys in the embedded store; a set of a new key beyond the limit is refused',
  }),
  maxHeld: setting({
    ...limit(10_000_000),
    help: 'requests held by this node; default: what the open-file limit and the heap allow',
  }),
  maxHeldPerKey: setting({
    ...limit(10_000_000),
    fallback: '16',
    help: 'requests held per key',
  }),
  maxHeldPerIp: setting({
    ...limit(10_000_000),
    fallback: '1000',
    help: 'requests held per IP address (an IPv6 /64 counts as one)',
  }),
  maxPollsPerIp: setting({
    ...limit(10_000_000),
    fallback: '200',
    help: 'polls per second per IP address',
  }),
  trustProxy: setting({
    ...whole(0, 16),
    fallback: '0',
    help: 'number of trusted proxies in front, for X-Forwarded-For',
  }),
  origins: setting({
    schema: z.union([z.literal('*').transform(() => [] as string[]), origins]),
    fallback: '*',
    allowed: '* or https://one.example,https://two.example',
    help: 'origins of pages that may poll; https://*.example.com allows all subdomains',
  }),
  callbacks: setting({
    schema: z.union([z.literal('*').transform(() => ['*']), listOf(isNamePattern)]),
    allowed:
      '* for every name, or names such as app.heard,app.on* (* within one part, once, stands for A-Z a-z 0-9 _)',
    help: 'additional names for callback and var; other dotted names and browser globals are refused',
  }),
  setTokens: setting({
    schema: tokens,
    allowed: 'tokens of 1 to 256 printable ASCII characters without spaces, comma-separated',
    help: 'bearer tokens for backends',
    secret: true,
    neverEmpty: true,
  }),
  secret: setting({
    schema: tokens,
    allowed: 'secrets of 1 to 256 printable ASCII characters without spaces, comma-separated',
    help: 'signs tickets: the first secret signs, all verify; default: no tickets needed',
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
    help: 'time over which a stopping node sends its pages to other nodes',
  }),
  demo: setting({
    schema: flag,
    fallback: 'false',
    allowed: 'true or false',
    help: 'serves a demo of a scan login at /demo',
    commandOnly: true,
  }),
  logLevel: setting({
    schema: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']),
    fallback: 'info',
    allowed: 'trace, debug, info, warn, error, fatal or silent',
    help: 'level of the log, which goes to stderr',
  }),
};

type Table = typeof SETTINGS;
export type Name = keyof Table;
type Value<N extends Name> = z.output<Table[N]['schema']>;
type WithFallback = { [N in Name]: Table[N] extends { fallback: string } ? N : never }[Name];
/** All settings, checked. Times are in seconds. */
export type Config = { [N in Name]: Value<N> | (N extends WithFallback ? never : undefined) };

type CommandOnly = { [N in Name]: Table[N] extends { commandOnly: true } ? N : never }[Name];
/** The settings of the library, where tagwait is part of another program. */
export type LibraryOptions = { [N in Exclude<Name, CommandOnly>]?: Config[N] | undefined };

export const NAMES = Object.keys(SETTINGS) as Name[];
const words = (name: Name) => name.replace(/[A-Z]/g, letter => ` ${letter.toLowerCase()}`).split(' ');
export const flagOf = (name: Name) => `--${words(name).join('-')}`;
export const envOf = (name: Name) => `TAGWAIT_${words(name).join('_').toUpperCase()}`;
