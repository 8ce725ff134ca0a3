/** What tests share: a service in this process, and requests to it. */
import type { Server } from 'node:http';
import { vi } from 'vitest';
import { configOf } from '../src/config.js';
import { type Service, startService } from '../src/service.js';
import type { Config } from '../src/settings.js';
import type { Reply as Answer } from '../src/subscribe/reply.js';
import { onFetchablePorts } from './fetchable.js';
import { type Owner, onTestFinished } from './owner.js';
import { listenOnFree } from './ports.js';
import { until } from './wait.js';

export { onFetchablePorts } from './fetchable.js';
export { CLI, run, type Spawned, spawned } from './spawned.js';
export { PATIENCE, until } from './wait.js';

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

/** Listens on a free port of this machine that can be asked. @returns the URL, without a path */
export const listen = async (server: Server) => `http://127.0.0.1:${await listenOnFree(server)}`;

export interface Reply extends Omit<Answer, 'kind'> {
  code: number;
  message: string;
  left?: number;
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

/** How many requests are held for a key, over all nodes; undefined: Redis is away, or slow on a busy machine. */
async function waiting(internalUrl: string, key: string): Promise<number | undefined> {
  const response = await fetch(`${internalUrl}/status/peek?key=${key}`);
  const { waiters } = (await response.json()) as { waiters?: Record<string, number> };
  return waiters && Object.values(waiters).reduce((sum, one) => sum + one, 0);
}

/** Waits until this many requests are held for a key, over all nodes. */
export const held = (internalUrl: string, key: string, count: number): Promise<unknown> =>
  until(async () => (await waiting(internalUrl, key)) === count);

/** Sets values of 1 MB until no request is held for a key. @returns how many */
export async function setUntilCut(internalUrl: string, key: string): Promise<number> {
  let sets = 0;
  await until(async () => {
    await set(internalUrl, { key, value: 'x'.repeat(1_000_000) });
    sets++;
    return (await waiting(internalUrl, key)) === 0;
  });
  return sets;
}

/** Stops the clock of rate limits for this test: on a slow machine the next request would be of another second. */
export function stopClock(): void {
  vi.useFakeTimers({ toFake: ['performance'] });
  onTestFinished(() => void vi.useRealTimers());
}
