/** The addresses in the Redis settings: every form that is allowed, and faults. */
import { describe, expect, test } from 'vitest';
import {
  NAT_ALLOWED,
  parseNat,
  parseServer,
  parseServers,
  SERVER_ALLOWED,
  SERVERS_ALLOWED,
  withoutAccess,
} from '../../src/brokers/redis/address.js';
import { neverWorks } from '../../src/brokers/redis/store.js';
import { type Misconfigured, readConfig } from '../../src/config.js';

const none = { username: '', password: '', tls: false, database: 0 };
const local = { host: 'a', port: 6379 };

describe('one server', () => {
  test.each([
    ['redis://a', { ...none, at: local }],
    ['redis://a:6380/', { ...none, at: { host: 'a', port: 6380 } }],
    ['redis://a/7', { ...none, database: 7, at: local }],
    ['redis://a?db=7', { ...none, database: 7, at: local }],
    ['rediss://[::1]:6380/1', { ...none, tls: true, database: 1, at: { host: '::1', port: 6380 } }],
    ['redis://:pass@a', { ...none, password: 'pass', at: local }],
    ['redis://user:pass@a', { ...none, username: 'user', password: 'pass', at: local }],
    ['redis://user:p%40s%3As%2F%25%2C@a', { ...none, username: 'user', password: 'p@s:s/%,', at: local }],
    ['redis://:p@ss/w:rd+=@a:6379/2', { ...none, password: 'p@ss/w:rd+=', database: 2, at: local }],
    ['unix:/run/redis.sock', { ...none, at: { path: '/run/redis.sock' } }],
    ['unix:///run/redis.sock?db=2', { ...none, database: 2, at: { path: '/run/redis.sock' } }],
    ['unix:///run/redis@1/a%20b.sock', { ...none, at: { path: '/run/redis@1/a b.sock' } }],
    [
      'unix://user:p%2F@ss@/run/redis.sock?db=2',
      { username: 'user', password: 'p/@ss', tls: false, database: 2, at: { path: '/run/redis.sock' } },
    ],
  ])('%s', (text, parsed) => {
    expect(parseServer(text)).toEqual(parsed);
  });

  test.each([
    'a:6379',
    'http://a',
    'redis://',
    'redis://a:0',
    'redis://a:65536',
    'redis://a/b',
    'redis://a?password=x',
    'redis://a,b',
    'redis://:100%@a',
    'redis://100%:p@a',
    'redis:/a',
    'unix://run/redis.sock',
    'unix:',
    'unix:/run/redis.sock?db=x',
    'unix:///run/100%.sock',
  ])('%s is a fault', text => {
    expect(parseServer(text)).toBeUndefined();
  });
});

describe('several servers', () => {
  const at = [
    { host: 'a', port: 1 },
    { host: '::1', port: 2 },
  ];
  test.each([
    ['a:1,[::1]:2', none],
    ['redis://a:1,redis://[::1]:2', none],
    ['rediss://user:p%2C%40@a:1,[::1]:2', { ...none, username: 'user', password: 'p,@', tls: true }],
    ['rediss://u:p@a:1,rediss://u:p@[::1]:2', { ...none, username: 'u', password: 'p', tls: true }],
    ['redis://u:p@a:1,redis://[::1]:2', { ...none, username: 'u', password: 'p' }],
    ['redis://:p@a:1/2,[::1]:2', { ...none, password: 'p', database: 2 }],
    ['redis://:p@a:1,[::1]:2/2', { ...none, password: 'p', database: 2 }],
  ])('%s', (text, access) => {
    expect(parseServers(text.split(','))).toEqual({ ...access, at });
  });

  test.each([
    'a',
    'a:0',
    'a:1,b',
    'a:1,redis://:p@b:1',
    'redis://:p@a:1,redis://:q@b:1',
    'redis://a:1,rediss://b:1',
    'a:1/1,b:1/2',
    'redis://:%@a:1',
    'unix:/run/redis.sock',
  ])('%s is a fault: what the first says counts for all', text => {
    expect(parseServers(text.split(','))).toBeUndefined();
  });
});

test.each([
  ['redis://user:shhh@a/2', 'redis://***@a:6379/2'],
  ['redis://:sh@hh/shhh@a', 'redis://***@a:6379/0'],
  ['rediss://shhh@a:1', 'rediss://***@a:1/0'],
  ['unix:user:shhh@/run/redis.sock', 'unix://***@/run/redis.sock?db=0'],
  ['unix:///run/a@b.sock', 'unix:///run/a@b.sock?db=0'],
  ['shhh', '***'],
])('%s is logged without what lets a node in', (text, shown) => {
  expect(withoutAccess(text)).toBe(shown);
});

test('parses a NAT map and rejects invalid pairs', () => {
  expect(parseNat(['10.0.0.1:6379=redis.example.com:7001', '[fd00::1]:6379=[::1]:7002'])).toEqual({
    '10.0.0.1:6379': { host: 'redis.example.com', port: 7001 },
    'fd00::1:6379': { host: '::1', port: 7002 },
  });
  for (const fault of ['a:1', 'a:1=b', 'a=b:1', 'a:1=b:0', 'a:1=b:1=c:1', 'a:1=redis://b:1'])
    expect(parseNat([fault]), fault).toBeUndefined();
});

test('settings that do not go together are named, and their values are not shown', () => {
  const faults = (env: Record<string, string>) => {
    try {
      readConfig([], env, '0');
    } catch (error) {
      return (error as Misconfigured).faults;
    }
    return [];
  };
  expect([
    ...faults({ TAGWAIT_REDIS_URL: 'redis://a', TAGWAIT_REDIS_SENTINEL_PASSWORD: 'shhh' }),
    ...faults({ TAGWAIT_REDIS_URL: 'redis://a', TAGWAIT_REDIS_NAT: 'a:1=b:2' }),
    ...faults({ TAGWAIT_REDIS_CLUSTER: 'a:1', TAGWAIT_REDIS_NAT: 'a:1=b:2,a:3' }),
    ...faults({ TAGWAIT_REDIS_CLUSTER: 'redis://user:shhh@a:1/2,b:1' }),
    ...faults({ TAGWAIT_REDIS_CLUSTER: 'a:1,redis://user:shhh@b:1' }),
    ...faults({ TAGWAIT_REDIS_URL: 'unix:shhh' }),
  ]).toEqual([
    'TAGWAIT_REDIS_SENTINEL_PASSWORD: needs TAGWAIT_REDIS_SENTINELS',
    'TAGWAIT_REDIS_NAT: needs TAGWAIT_REDIS_SENTINELS or TAGWAIT_REDIS_CLUSTER',
    `TAGWAIT_REDIS_NAT: "a:1=b:2,a:3" is not allowed; give ${NAT_ALLOWED}`,
    'TAGWAIT_REDIS_CLUSTER: a Cluster has no database 2; leave /2 out',
    `TAGWAIT_REDIS_CLUSTER: this value is not allowed; give ${SERVERS_ALLOWED}`,
    `TAGWAIT_REDIS_URL: this value is not allowed; give ${SERVER_ALLOWED}`,
  ]);
});

test('a start ends when all servers refuse for a reason that lasts, and says what to do', () => {
  for (const [cause, line] of [
    ['a:1: WRONGPASS invalid', 'Redis refuses this node: a:1: WRONGPASS invalid'],
    ['a:1: WRONGPASS x; b:1: NOAUTH y', 'Redis refuses this node: a:1: WRONGPASS x; b:1: NOAUTH y'],
    ['a:1: WRONGPASS x; b:1: connect ECONNREFUSED', undefined],
    ['a:1: READONLY x', undefined],
    ['a:1: LOADING x', undefined],
    ['a:1: Too many Cluster redirections. Last error: ReplyError: MOVED 1 b:1', undefined],
    ['a:1: MOVED 1 b:1', expect.stringContaining('; this is a Cluster: give TAGWAIT_REDIS_CLUSTER')],
    [
      'a:1: ERR This instance has cluster support disabled',
      expect.stringContaining('; this is not a Cluster: give TAGWAIT_REDIS_URL'),
    ],
    ['a:1: NOPERM x', expect.stringContaining('; docs/redis.md lists what the user needs')],
  ] as const)
    expect(neverWorks(cause), cause).toEqual(line);
});
