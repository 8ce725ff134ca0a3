/** How Redis is run, as the settings say it, and which of its refusals no retry can change. */
import { type Address, parseNat, parseServer, parseServers, type Server, type Servers } from './address.js';

export type Store =
  | { kind: 'server'; url: string }
  | {
      kind: 'sentinel';
      /** `host:port`, the first with what lets this node in, see address.ts */
      sentinels: readonly string[];
      /** the name by which the Sentinels know it */
      master: string;
      /** absent: the same as that of Redis */
      sentinelPassword?: string | undefined;
      nat?: readonly string[] | undefined;
    }
  | { kind: 'cluster'; nodes: readonly string[]; nat?: readonly string[] | undefined };

/** @throws {TypeError} settings that config.ts would have refused */
function valid<T>(parsed: T | undefined): T {
  if (parsed === undefined) throw new TypeError('these addresses of Redis are not allowed');
  return parsed;
}
export const serverIn = ({ url }: Extract<Store, { kind: 'server' }>): Server => valid(parseServer(url));
export const serversIn = (store: Exclude<Store, { kind: 'server' }>): Servers =>
  valid(parseServers(store.kind === 'cluster' ? store.nodes : store.sentinels));
export const natOf = (store: Store): Record<string, Address> =>
  store.kind === 'server' ? {} : valid(parseNat(store.nat ?? []));

export const databaseOf = (store: Store): number =>
  (store.kind === 'server' ? serverIn(store) : serversIn(store)).database;

/** A refusal that lasts until the settings, or the users of Redis, are changed; and what to do. */
const NEVER: [refusal: RegExp, advice: string][] = [
  [/WRONGPASS|NOAUTH|invalid password|DB index is out of range/, ''],
  [/NOPERM|can't run this command/, 'docs/redis.md lists what the user needs'],
  [/cluster support disabled/, 'this is not a Cluster: give TAGWAIT_REDIS_URL'],
  // not of a Cluster's own: those name an address and go on
  [/^\S+: (?:CROSSSLOT|MOVED)\b/, 'this is a Cluster: give TAGWAIT_REDIS_CLUSTER'],
  [/unknown command\W+SENTINEL/i, 'this is not a Sentinel'],
  [/unknown command\W+EVALSHA/i, 'this is not a Redis server; is it a Sentinel?'],
];

/** @param cause one line; of several servers, parted by "; ", all must refuse @returns the line that ends the process */
export function neverWorks(cause: string): string | undefined {
  const advice = cause.split('; ').map(part => NEVER.find(([refusal]) => refusal.test(part))?.[1]);
  if (advice.includes(undefined)) return undefined;
  return [`Redis refuses this node: ${cause}`, ...new Set(advice)].filter(Boolean).join('; ');
}
