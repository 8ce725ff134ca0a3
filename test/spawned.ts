/** The built command, as a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { TAGWAIT } from '../bench/command.js';
import { onFetchablePorts } from './fetchable.js';
import { type Owner, onTestFinished } from './owner.js';
import { PATIENCE, until } from './wait.js';

/**
 * For V8 of Node.js 20, which has no compiler between the fastest and the best: it optimizes a function when it has run for
 * longer. A start runs most of its code once; this takes a third of its processor time.
 */
const SHORT_LIVED = process.versions.v8.startsWith('11.') ? ['--interrupt-budget=10000000'] : [];

export const CLI = fileURLToPath(new URL('../dist/cli.js', import.meta.url));

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
  const child = spawn(process.execPath, [...SHORT_LIVED, ...TAGWAIT, ...args], {
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

/** Like `run`, on free ports by default; waits until both listen. @param within ms */
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
  const child = run([], { ...ports, TAGWAIT_DRAIN: '3', ...env }, own);
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
