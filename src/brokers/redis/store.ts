/** Which Redis to use (server, Sentinels or Cluster), and which of its errors no retry can fix. */
import { type Address, parseNat, parseServer, parseServers, type Server, type Servers } from './address.js';

export type Store =
  | { kind: 'server'; url: string }
  | {
      kind: 'sentinel';
      /** `host:port`, the first with credentials, see address.ts */
      sentinels: readonly string[];
      /** the master's name in the Sentinels' configuration */
      master: string;
      /** default: the password of Redis */
      sentinelPassword?: string | undefined;
      nat?: readonly string[] | undefined;
    }
  | { kind: 'cluster'; nodes: readonly string[]; nat?: readonly string[] | undefined };

/** @throws {TypeError} invalid addresses, which config.ts refuses earlier */
function valid<T>(parsed: T | undefined): T {
  if (parsed === undefined) throw new TypeError('invalid Redis addresses');
  return parsed;
}
export const serverIn = ({ url }: Extract<Store, { kind: 'server' }>): Server => valid(parseServer(url));
export const serversIn = (store: Exclude<Store, { kind: 'server' }>): Servers =>
  valid(parseServers(store.kind === 'cluster' ? store.nodes : store.sentinels));
export const natOf = (store: Store): Record<string, Address> =>
  store.kind === 'server' ? {} : valid(parseNat(store.nat ?? []));

export const databaseOf = (store: Store): number =>
  (store.kind === 'server' ? serverIn(store) : serversIn(store)).database;

/** Errors that last until the settings or the users of Redis change, each with advice. */
const NEVER: [refusal: RegExp, advice: string][] = [
  [/WRONGPASS|NOAUTH|invalid password|DB index is out of range/, ''],
  [/NOPERM|can't run this command/, 'docs/redis.md lists what the user needs'],
  [/cluster support disabled/, 'this is not a Cluster: give TAGWAIT_REDIS_URL'],
  // only as the first word after the address: a Cluster client handles its own redirections
  [/^\S+: (?:CROSSSLOT|MOVED)\b/, 'this is a Cluster: give TAGWAIT_REDIS_CLUSTER'],
  [/unknown command\W+SENTINEL/i, 'this is not a Sentinel'],
  [/unknown command\W+EVALSHA/i, 'this is not a Redis server; is it a Sentinel?'],
];

/**
 * The error message with which the process ends, if Redis can never work with these settings.
 * @param cause one line; causes of several servers are separated by "; ", and all must be permanent
 * @returns undefined: a retry may succeed
 */
export function neverWorks(cause: string): string | undefined {
  const advice = cause.split('; ').map(part => NEVER.find(([refusal]) => refusal.test(part))?.[1]);
  if (advice.includes(undefined)) return undefined;
  return [`Redis refuses this node: ${cause}`, ...new Set(advice)].filter(Boolean).join('; ');
}
