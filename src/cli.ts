#!/usr/bin/env node
/**
 * The command `tagwait`: checks the version of Node.js, sets V8 flags, then loads main.ts, or without flags commands.ts if
 * its first argument is a word. It must run on old versions, so it imports nothing before the check and uses old syntax.
 *
 * The flags make garbage collection pauses shorter (bench/README.md has figures). A held request outlives V8's young
 * generation and is copied twice on its way to the old one, during a pause: with 2 MiB instead of 16 MiB the pause is
 * an eighth. No GC threads: with one process per core they only take CPU time from another process.
 */
const FLAGS = ['--max-semi-space-size=2', '--single-threaded-gc'];
const OLDEST_NODE = 20;

interface CanReplaceItself {
  /** since Node.js 22.15, not on Windows */
  execve?(file: string, args: string[]): never;
}

/** V8 reads the flags at its start: replaces this process by one with the flags. Returns if Node.js cannot do that. */
function replaceWithFlags(): void {
  const self = process as NodeJS.Process & CanReplaceItself;
  const [, ...args] = process.argv;
  try {
    self.execve?.(process.execPath, [process.argv0, ...FLAGS, ...process.execArgv, ...args]);
  } catch {
    // not permitted
  }
}

/**
 * Ends the process at a signal, until main.ts has handlers of its own. Without one, process 1 of a container does not get
 * the signal.
 */
function exitAtSignals(): void {
  const signals = ['SIGTERM', 'SIGINT', 'SIGHUP'];
  for (const signal of signals)
    process.on(signal, () => {
      if (process.listenerCount(signal) === 1) process.exit(0);
    });
}

async function run(): Promise<void> {
  const [, , word = '-'] = process.argv;
  // without handlers: Ctrl-C ends a command
  if (word !== '' && !word.startsWith('-')) return (await import('./commands.js')).main();
  const flagged = FLAGS.every(flag => process.execArgv.includes(flag));
  // before the handlers: a signal that has come and is not handled yet would be lost with the process
  if (!flagged) replaceWithFlags();
  exitAtSignals();
  if (!flagged) (await import('./gc.js')).setFlagsLate();
  await import('./main.js');
}

if (Number.parseInt(process.versions.node, 10) >= OLDEST_NODE) void run();
else {
  process.exitCode = 1;
  process.stderr.write(`tagwait needs Node ${OLDEST_NODE} or later; this is ${process.version}\n`);
}
