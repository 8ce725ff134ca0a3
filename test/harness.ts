/** What tests share: a service in this process, a spawned one, and waiting for conditions. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Server } from 'node:http';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';
import { onTestFinished } from 'vitest';
import { TAGWAIT } from '../bench/command.js';
import { configOf } from '../src/config.js';
import { type Service, startService } from '../src/service.js';
import type { Config } from '../src/settings.js';
import { HIGHEST_REFUSED, listenOnFree } from './ports.js';
import type { Owner } from './redis.js';

export const CLI = fileURLToPath(new URL('../dist/cli.js', import.meta.url));

/** A service in this process on free ports, stopped when the test ends, or its file's tests. */
export async function service(options: Partial<Config> = {}, own: Owner = onTestFinished): Promise<Service> {
  const quick = {
    publicHost: '127.0.0.1',
    publicPort: 0,
    internalPort: 0,
    drain: 0,
    logLevel: 'silent',
  } as const;
  const config = configOf({ ...quick, ...options });
  const started = await onFetchablePorts(
    () => startService(config),
    refused => refused.stop(),
  );
  own(() => started.stop());
  return started;
}

/**
 * Starts something on free ports of the system's choice, again while it is given one that no test could ask.
 * @param end of what was given such a port; it is ended only when the next has started, so that it keeps its ports until then
 */
export async function onFetchablePorts<T extends { publicUrl: string; internalUrl: string }>(
  start: () => Promise<T>,
  end: (refused: T) => unknown,
): Promise<T> {
  const started = await start();
  const ports = [started.publicUrl, started.internalUrl].map(url => Number(new URL(url).port));
  if (ports.every(port => port > HIGHEST_REFUSED)) return started;
  try {
    return await onFetchablePorts(start, end);
  } finally {
    await end(started);
  }
}

/** Listens on a free port of this machine that can be asked. @returns the URL, without a path */
export const listen = async (server: Server) => `http://127.0.0.1:${await listenOnFree(server)}`;

export interface Spawned {
  publicUrl: string;
  internalUrl: string;
  process: ChildProcess;
  /** what it wrote so far */
  output: { stdout: string; stderr: string };
  /** resolves with the exit code, or the signal that ended it */
  ended: Promise<number | string>;
}

/** Runs the built command; killed when the test ends. */
export function run(
  args: string[] = [],
  env: Record<string, string> = {},
  own: Owner = onTestFinished,
): Omit<Spawned, 'publicUrl' | 'internalUrl'> {
  const child = spawn(process.execPath, [...TAGWAIT, ...args], {
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  child.stdout.on('data', text => {
    output.stdout += text;
  });
  child.stderr.on('data', text => {
    output.stderr += text;
  });
  const ended = once(child, 'close').then(([code, signal]) => code ?? signal);
  own(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  return { process: child, output, ended };
}

/** As `run`, on free ports unless told otherwise, and waits until both listen. @param within ms */
export function spawned(
  env: Record<string, string> = {},
  own: Owner = onTestFinished,
  within = PATIENCE,
): Promise<Spawned> {
  const fixed = env.TAGWAIT_PUBLIC_PORT && env.TAGWAIT_INTERNAL_PORT;
  const start = () => listening(env, own, within);
  return fixed ? start() : onFetchablePorts(start, ({ process }) => process.kill('SIGKILL'));
}

async function listening(env: Record<string, string>, own: Owner, within: number): Promise<Spawned> {
  const ports = { TAGWAIT_PUBLIC_PORT: '0', TAGWAIT_INTERNAL_PORT: '0' };
  const child = run([], { ...ports, TAGWAIT_DRAIN: '1', ...env }, own);
  let over = false;
  void child.ended.then(() => {
    over = true;
  });
  const [publicUrl, internalUrl] = await until(
    () => {
      if (over) throw new Error(`tagwait ended: ${child.output.stderr}`);
      const urls = child.output.stdout.match(/https?:\S+/g) ?? [];
      return urls.length >= 2 && urls;
    },
    { within },
  );
  return { ...child, publicUrl: publicUrl as string, internalUrl: internalUrl as string };
}

/** How long a test waits for what has no time limit of its own, ms: enough for a machine that is busy with other work. */
export const PATIENCE = 60_000;

interface Wait {
  /** ms; give it only where the time is what the test is about */
  within?: number;
  /** ms between two looks */
  every?: number;
  /** what the condition looked at, for the error */
  seen?: () => unknown;
}

/** Waits for a condition: the first truthy result. A rejected or thrown one ends the wait. */
export async function until<T>(
  condition: () => T | Promise<T>,
  { within = PATIENCE, every = 10, seen }: Wait = {},
): Promise<Exclude<T, false | undefined | null | '' | 0>> {
  const end = performance.now() + within;
  for (;;) {
    const result = await condition();
    if (result) return result as Exclude<T, false | undefined | null | '' | 0>;
    if (performance.now() > end) {
      const last = seen ? `\nseen last: ${inspect(seen(), { depth: 5 })}` : '';
      throw new Error(`not so within ${within} ms: ${condition}${last}`);
    }
    await new Promise(resolve => setTimeout(resolve, every));
  }
}

export interface Reply {
  code: number;
  message: string;
  data?: unknown;
  cursor?: string;
  earlier?: unknown[];
  lost?: number;
  final?: boolean;
  retry?: number;
  detail?: string;
}

/** A poll in JSON mode. */
export async function poll(
  publicUrl: string,
  query: Record<string, string>,
  signal?: AbortSignal,
): Promise<Reply> {
  const response = await fetch(
    `${publicUrl}/status/get?${new URLSearchParams(query)}`,
    signal ? { signal } : {},
  );
  return (await response.json()) as Reply;
}

/** A set, as a backend makes it. */
export async function set(
  internalUrl: string,
  body: Record<string, unknown>,
  headers: Record<string, string> = {},
): Promise<{ status: number; body: { code: number; cursor: string; watched: boolean; detail?: string } }> {
  const response = await fetch(`${internalUrl}/status/set`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: (await response.json()) as never };
}

/** Waits until this many requests are held for a key, over all nodes. */
export function held(internalUrl: string, key: string, count: number): Promise<unknown> {
  return until(async () => {
    const response = await fetch(`${internalUrl}/status/peek?key=${key}`);
    const { waiters } = (await response.json()) as { waiters: Record<string, number> };
    return Object.values(waiters).reduce((sum, one) => sum + one, 0) === count;
  });
}
