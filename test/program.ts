/** Any program, run by a test: ended with it, and with what it wrote at hand. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { until } from './harness.js';
import { type Owner, onTestFinished } from './owner.js';

export interface Program {
  output(): string;
  /** Waits until it has written this, and gives what was matched. */
  said(pattern: RegExp, within?: number): Promise<string[]>;
  /** resolves with the exit code; null: a signal ended it */
  ended: Promise<number | null>;
}

/** Its group ends with it: `go run` and `npx` start programs of their own. */
export function program(
  command: string,
  args: string[],
  { cwd, env = {}, own = onTestFinished }: { cwd?: string; env?: Record<string, string>; own?: Owner } = {},
): Program {
  const child = spawn(command, args, {
    cwd,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  let written = '';
  let over = false;
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', text => {
      written += text;
    });
  const ended = once(child, 'close').then(([code]) => {
    over = true;
    return code as number | null;
  });
  own(async () => {
    if (child.pid && !over) process.kill(-child.pid, 'SIGKILL');
    await ended;
  });
  return {
    output: () => written,
    ended,
    said: (pattern, within = 20_000) =>
      until(
        () => {
          const found = pattern.exec(written);
          if (!found && over) throw new Error(`${command} ended: ${written}`);
          return found ?? false;
        },
        { within },
      ),
  };
}
