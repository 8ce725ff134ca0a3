#!/usr/bin/env node
/**
 * The command. It checks the version of Node and sets V8's flags, then loads main.ts. It must run on old versions of Node:
 * nothing is imported before the check, and the syntax is old.
 *
 * The flags are about garbage (bench/README.md has figures). What is held outlives V8's young generation, and is copied
 * twice on its way to the old one while nothing else runs: an eighth of its usual 16 MiB is an eighth of that pause.
 * And it is collected where it is made: with a process for each core, threads beside it only take its core away.
 */
const FLAGS = ['--max-semi-space-size=2', '--single-threaded-gc'];
const OLDEST_NODE = 20;

interface CanReplaceItself {
  /** from Node 22.15 on, not on Windows */
  execve?(file: string, args: string[]): never;
}

/** V8 reads the flags when it starts. Replaces this process by one that has them; returns when Node cannot do that. */
function replaceWithFlags(): void {
  const self = process as NodeJS.Process & CanReplaceItself;
  const [, ...args] = process.argv;
  try {
    self.execve?.(process.execPath, [process.argv0, ...FLAGS, ...process.execArgv, ...args]);
  } catch {
    // not permitted here
  }
}

async function run(): Promise<void> {
  if (!FLAGS.every(flag => process.execArgv.includes(flag))) {
    replaceWithFlags();
    (await import('./gc.js')).setFlagsLate();
  }
  await import('./main.js');
}

if (Number.parseInt(process.versions.node, 10) >= OLDEST_NODE) void run();
else {
  process.exitCode = 1;
  process.stderr.write(`tagwait needs Node ${OLDEST_NODE} or later; this is ${process.version}\n`);
}
