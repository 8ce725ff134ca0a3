/** Reads the settings from flags and environment variables, or from an object, and checks them. */
import { CommanderError } from 'commander';
import type { z } from 'zod';
import { parseServers, withoutAccess } from './brokers/redis/address.js';
import { readEnvironment } from './environment.js';
import { commandOf } from './help.js';
import { isLoopback, withoutBrackets } from './loopback.js';
import { nearest } from './nearest.js';
import {
  type Config,
  envOf,
  flagOf,
  type LibraryOptions,
  NAMES,
  type Name,
  SETTINGS,
  type Setting,
} from './settings.js';

/** The settings for the log, with all secrets masked. */
export function redacted(config: Config): Record<string, unknown> {
  const text = (name: Name, value: unknown) => {
    if (!('secret' in SETTINGS[name])) return value;
    if (name === 'redisUrl') return withoutAccess(String(value));
    return Array.isArray(value) ? `${value.length} given` : 'given';
  };
  return Object.fromEntries(Object.entries(config).map(([name, value]) => [name, text(name as Name, value)]));
}

/** The settings are invalid. `faults` has one line for each fault. */
export class Misconfigured extends Error {
  override readonly name = 'Misconfigured';
  readonly code = 'TAGWAIT_MISCONFIGURED';
  constructor(readonly faults: string[]) {
    super(faults.join('\n'));
  }
}

type Given = Partial<Record<Name, { text: unknown; from: string }>>;

/**
 * The settings from flags and environment variables; flags win.
 * @throws {Misconfigured} with all faults at once
 * @throws {CommanderError} with exitCode 0, after `--help` or `--version` was printed
 */
export function readConfig(argv: readonly string[], env: NodeJS.ProcessEnv, version: string): Config {
  const command = commandOf(version).parse(argv, { from: 'user' });

  const faults = unknownOptions(command.args);
  const { settings, ...environment } = readEnvironment(env);
  faults.push(...environment.faults);
  const given: Given = {};
  for (const name of NAMES) {
    const flagged: unknown = command.getOptionValue(name);
    const set = settings[envOf(name)];
    if (flagged !== undefined)
      given[name] = { text: flagged === true && name === 'demo' ? 'true' : flagged, from: flagOf(name) };
    else if (set !== undefined && (set !== '' || isNeverEmpty(name)))
      given[name] = { text: set, from: envOf(name) };
  }
  return check(given, envOf, faults);
}

/** A fault for each option that there is not. Names only the flag: the text after a mistyped one may be a secret. */
function unknownOptions(words: readonly string[]): string[] {
  const isValue = (index: number) => isFlag(words[index - 1]) && !isFlag(words[index]);
  return words
    .filter((_, index) => !isValue(index))
    .map(word => unknownOption(/^--?[\w-]+/.exec(word)?.[0] ?? 'an argument'));
}

/** Whether the next word may be its value. */
const isFlag = (word: string | undefined) => /^-[^=]*$/.test(word ?? '');

const FLAGS = [...NAMES.map(flagOf), '--help', '--version'];

function unknownOption(word: string): string {
  const meant = nearest(word, FLAGS);
  return `${word}: not an option; ${meant ? `did you mean ${meant}?` : 'tagwait --help lists them'}`;
}

/** The settings from an object; those left out have their defaults. @throws {Misconfigured} with all faults at once */
export function configOf(options: Partial<Config>): Config {
  return checkObject(options, NAMES);
}

/**
 * The same for the library, which refuses the settings of the command. @throws {Misconfigured} with all faults at once
 */
export function libraryConfigOf(options: LibraryOptions): Config {
  return checkObject(
    options,
    NAMES.filter(name => !('commandOnly' in SETTINGS[name])),
  );
}

/** @param allowed names of the settings that apply */
function checkObject(options: Partial<Config>, allowed: readonly Name[]): Config {
  const given: Given = {};
  const unknown: string[] = [];
  const pointless: string[] = [];
  for (const [name, value] of Object.entries(options)) {
    if (!Object.hasOwn(SETTINGS, name)) unknown.push(unknownName(name, allowed));
    else if (value === undefined || (name === 'callbacks' && isEmptyList(value))) continue;
    else if (!allowed.includes(name as Name))
      pointless.push(
        `${name}: does not apply in the library, which has no ports and processes of its own; leave it out (${envOf(name as Name)} is for the command)`,
      );
    else given[name as Name] = { text: textOf(name, value), from: name };
  }
  return check(given, name => name, unknown, pointless);
}

function unknownName(name: string, allowed: readonly Name[]): string {
  const meant = nearest(name, allowed);
  return `${name}: not an option; ${meant ? `did you mean ${meant}?` : `there are ${allowed.join(', ')}`}`;
}

const isEmptyList = (value: unknown) => Array.isArray(value) && value.length === 0;

/** An option as the text of a flag. An empty list of origins means all origins; any other empty list is an error. */
function textOf(name: string, value: unknown): unknown {
  if (isEmptyList(value)) return name === 'origins' ? '*' : '';
  return Array.isArray(value) ? value.map(asText).join(',') : value === null ? null : asText(value);
}

/** Calls no `toString` of an object's own: there may be none, or one that throws. */
const asText = (value: unknown) => (typeof value === 'object' ? '[object]' : String(value));
const isNeverEmpty = (name: Name) => 'neverEmpty' in SETTINGS[name];

/** @param nameOf the name of a setting that is not given */
function check(given: Given, nameOf: (name: Name) => string, faults: string[], more: string[] = []): Config {
  const config: Record<string, unknown> = {};
  for (const name of NAMES) {
    const { schema, fallback, allowed, secret } = SETTINGS[name] as Setting<z.ZodType>;
    const { text: whole, from } = given[name] ?? { text: fallback, from: name };
    if (whole === undefined) continue;
    // files of secrets end with a line end
    const text = typeof whole === 'string' ? whole.replace(/\r?\n$/, '') : whole;
    const result = schema.safeParse(typeof text === 'string' && text.trim() !== '' ? text : Number.NaN);
    if (result.success) config[name] = result.data;
    else if (whole === true || whole === '') faults.push(`${from}: needs a value; give ${allowed}`);
    else
      faults.push(
        `${from}: ${secret ? 'this value' : JSON.stringify(whole)} is not allowed; give ${allowed}`,
      );
  }
  const checked = config as Config;
  faults.push(...more, ...crossChecks(checked, name => given[name]?.from ?? nameOf(name)));
  if (faults.length > 0) throw new Misconfigured(faults);
  return checked;
}

/** Faults of settings that are valid alone but not together. @param nameOf a setting as it was given */
function crossChecks(config: Config, nameOf: (name: Name) => string): string[] {
  const faults: string[] = [];
  const { publicPort, internalPort } = config;
  if (publicPort !== 0 && publicPort === internalPort && overlap(config.publicHost, config.internalHost))
    faults.push(
      `${nameOf('publicPort')} and ${nameOf('internalPort')}: both are ${publicPort}; give two, or 0 for a free one`,
    );
  const stores = (['redisUrl', 'redisSentinels', 'redisCluster'] as const).filter(name => config[name]);
  if (stores.length > 1) faults.push(`${stores.map(nameOf).join(' and ')}: give one of them`);
  if (!config.redisSentinels !== !config.redisMaster)
    faults.push(`${nameOf('redisSentinels')} and ${nameOf('redisMaster')}: one needs the other`);
  if (config.redisSentinelPassword && !config.redisSentinels)
    faults.push(`${nameOf('redisSentinelPassword')}: needs ${nameOf('redisSentinels')}`);
  if (config.redisNat && !config.redisSentinels && !config.redisCluster)
    faults.push(`${nameOf('redisNat')}: needs ${nameOf('redisSentinels')} or ${nameOf('redisCluster')}`);
  if (config.redisWait > 0 && stores.length === 0)
    faults.push(`${nameOf('redisWait')}: needs a Redis; give ${nameOf('redisUrl')}, or 0`);
  const { database = 0 } = parseServers(config.redisCluster ?? []) ?? {};
  if (database !== 0)
    faults.push(`${nameOf('redisCluster')}: a Cluster has no database ${database}; leave /${database} out`);
  if (config.workers !== undefined && config.workers !== 1 && stores.length === 0)
    faults.push(`${nameOf('workers')}: more than one process needs Redis; give ${nameOf('redisUrl')}, or 1`);
  if (config.workers !== undefined && config.workers !== 1 && config.demo)
    faults.push(`${nameOf('demo')}: the demo keeps its logins in one process; give ${nameOf('workers')} 1`);
  if (config.internalHost !== undefined && !isLoopback(config.internalHost) && !config.setTokens)
    faults.push(
      `${nameOf('internalHost')}: ${JSON.stringify(config.internalHost)} is not loopback; give 127.0.0.1, ::1 or localhost, or set ${nameOf('setTokens')}`,
    );
  return faults;
}

const ALL_ADDRESSES = ['0.0.0.0', '::'];
/** Whether the same port cannot be used on both hosts. A host that failed its own check is undefined. */
function overlap(...given: (string | undefined)[]): boolean {
  // ::ffff:127.0.0.1 is 127.0.0.1
  const hosts = given.map(host =>
    withoutBrackets(host ?? '')
      .toLowerCase()
      .replace(/^::ffff:(?=\d+\.)/, ''),
  );
  if (new Set(hosts).size === 1 || hosts.some(host => ALL_ADDRESSES.includes(host))) return true;
  // which of the two it is depends on the machine
  return hosts.includes('localhost') && hosts.some(host => host === '127.0.0.1' || host === '::1');
}

export { CommanderError };

/**
 * RFC 2104 §3: a key shorter than the hash weakens it. A page could guess a short secret offline, from its own proof.
 */
const SECRET_LENGTH = 32;

/** What the operator should know about settings that are allowed; without their values. */
export function weaknesses(config: Config): string[] {
  const { secret = [], setTokens = [], redisSentinelPassword = '' } = config;
  const short = (texts: string[]) => texts.some(text => text.length < SECRET_LENGTH);
  const wanted = `give ${SECRET_LENGTH} random characters or more`;
  const quoted: [Name, string[]][] = [
    // also quotes around the list
    ['secret', [...secret, secret.join()]],
    ['setTokens', [...setTokens, setTokens.join()]],
    ['redisSentinelPassword', [redisSentinelPassword]],
  ];
  return [
    ...(short(secret) ? [`TAGWAIT_SECRET: ${wanted}: a page can try shorter ones`] : []),
    ...(short(setTokens) ? [`TAGWAIT_SET_TOKENS: ${wanted}`] : []),
    ...quoted
      .filter(([, texts]) => texts.some(text => QUOTED.test(text)))
      .map(([name]) => `${envOf(name)}: the quotes around it are part of it; env files keep them`),
  ];
}
const QUOTED = /^(["']).*\1$/s;
