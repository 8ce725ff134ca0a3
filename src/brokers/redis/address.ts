/** Parses the addresses in the Redis settings. Opens no connection; `config.ts` also checks the settings with it. */
import { withoutBrackets } from '../../loopback.js';

export interface Address {
  /** a name or an IP address, without brackets */
  host: string;
  port: number;
}

/** Credentials and other connection settings besides the address. */
export interface Access {
  username: string;
  /** empty: none */
  password: string;
  tls: boolean;
  database: number;
}

export interface Server extends Access {
  at: Address | { path: string };
}

export interface Servers extends Access {
  at: Address[];
}

const HOST = String.raw`(?:\[[\da-fA-F:.]+\]|[^\s:,/@?#=[\]]+)`;
/** User and password end at the last @, so that `redis://:p@ss/word@host` works too. */
const URL = new RegExp(
  String.raw`^(rediss?)://(?:(\S*)@)?(${HOST})(?::(\d{1,5}))?(?:/(\d{1,5})?)?(?:\?db=(\d{1,5}))?$`,
);
const SOCKET = /^unix:(?:\/\/)?(?:([^\s/]\S*)@)?(\/(?!\/)[^\s?]+)(?:\?db=(\d{1,5}))?$/;
/** One item of a list; a comma in a password is written %2C. */
const LISTED = new RegExp(String.raw`^(?:(rediss?)://(?:([^\s,]*)@)?)?(${HOST}:\d{1,5})(?:/(\d{1,5})?)?$`);
const PAIR = new RegExp(String.raw`^(${HOST}:\d{1,5})=(${HOST}:\d{1,5})$`);

export const SERVER_ALLOWED =
  'redis[s]://[user:password@]host[:port][/database] or unix://[user:password@]/path[?db=database], user and password percent-encoded';
export const SERVERS_ALLOWED =
  'host:port,… or redis[s]://[user:password@]host:port,… (those of the first count for all), user and password percent-encoded';
export const NAT_ALLOWED = 'internal:port=external:port,…';

function addressOf(host: string, port: string | number): Address | undefined {
  const number = Number(port);
  return number >= 1 && number <= 65_535 ? { host: withoutBrackets(host), port: number } : undefined;
}
/** @param text `host:port` */
function addressIn(text: string): Address | undefined {
  const colon = text.lastIndexOf(':');
  return addressOf(text.slice(0, colon), text.slice(colon + 1));
}

/** @returns undefined for an invalid percent-encoding */
function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

/** @param text `user:password` @returns undefined for an invalid percent-encoding */
function credentials(text = ''): { username: string; password: string } | undefined {
  const colon = text.indexOf(':');
  const username = decoded(colon < 0 ? text : text.slice(0, colon));
  const password = decoded(colon < 0 ? '' : text.slice(colon + 1));
  return username === undefined || password === undefined ? undefined : { username, password };
}

/** @returns undefined if the text does not match `SERVER_ALLOWED` */
export function parseServer(text: string): Server | undefined {
  const socket = SOCKET.exec(text);
  if (socket) {
    const [, user, path = '', database = 0] = socket;
    const [access, decodedPath] = [credentials(user), decoded(path)];
    if (!access || !decodedPath) return undefined;
    return { ...access, tls: false, database: Number(database), at: { path: decodedPath } };
  }
  const url = URL.exec(text);
  if (!url) return undefined;
  const [, scheme, user, host = '', port = 6379, database, query = 0] = url;
  const [access, at] = [credentials(user), addressOf(host, port)];
  if (!access || !at) return undefined;
  return { ...access, tls: scheme === 'rediss', database: Number(database ?? query), at };
}

/** The address with user and password masked, for log lines: `redis://***@host:6379/0`. */
export function withoutAccess(text: string): string {
  const { at, tls, database, username, password } = parseServer(text) ?? {};
  if (!at) return '***';
  const user = username || password ? '***@' : '';
  if ('path' in at) return `unix://${user}${at.path}?db=${database}`;
  return `${tls ? 'rediss' : 'redis'}://${user}${at.host}:${at.port}/${database}`;
}

/** @returns undefined if a text does not match `SERVERS_ALLOWED`, or two texts contradict each other */
export function parseServers(texts: readonly string[]): Servers | undefined {
  const at: Address[] = [];
  let access: Access | undefined;
  for (const text of texts) {
    const [, scheme, user, host = '', database = 0] = LISTED.exec(text) ?? [];
    const [given, address] = [credentials(user), addressIn(host)];
    if (!given || !address) return undefined;
    const own = { ...given, tls: scheme === 'rediss', database: Number(database) };
    access ??= own;
    if (scheme && own.tls !== access.tls) return undefined;
    if (user && (own.username !== access.username || own.password !== access.password)) return undefined;
    if (own.database && access.database && own.database !== access.database) return undefined;
    // other libraries write the database at the end of the list
    access.database ||= own.database;
    at.push(address);
  }
  return access && { ...access, at };
}

/** @returns the external address for each internal `host:port`; undefined if a pair does not match `NAT_ALLOWED` */
export function parseNat(pairs: readonly string[]): Record<string, Address> | undefined {
  const map: Record<string, Address> = {};
  for (const pair of pairs) {
    const [, inside = '', outside = ''] = PAIR.exec(pair) ?? [];
    const [internal, external] = [addressIn(inside), addressIn(outside)];
    if (!internal || !external) return undefined;
    map[`${internal.host}:${internal.port}`] = external;
  }
  return map;
}
