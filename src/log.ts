/** One JSON line per event that matters, on stderr: stdout has the one line that names the ports. */
import { createHash } from 'node:crypto';
import { type DestinationStream, type Logger, pino } from 'pino';
import { output } from './output.js';

export type { Logger };

/** @param level trace, debug, info, warn, error, fatal or silent @param into absent: stderr */
export function createLog(level: string, node: string, into?: DestinationStream): Logger {
  const base = { level, base: { node }, timestamp: pino.stdTimeFunctions.isoTime, serializers: { err } };
  if (into) return pino(base, into);
  const stderr = output(2);
  const log = pino(base, stderr.isTerminal ? readable(text => stderr.write(text)) : stderr);
  stderr.onRecovered = lines => log.warn({ lines }, 'log lines were lost');
  return log;
}

/** Who sits at a terminal reads these; pino-pretty would do it with 13 packages that nobody needs in production. */
export function readable(write: (text: string) => void): DestinationStream {
  return {
    write(line: string) {
      const { time, level, msg, node: _, err: error, ...more } = JSON.parse(line) as Record<string, unknown>;
      const fields = Object.entries(more).map(
        ([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
      );
      const { stack = '' } = (error ?? {}) as { stack?: string };
      const head = `${String(time).slice(11, 19)} ${pino.levels.labels[level as number]?.padEnd(5)}`;
      write(`${[head, msg, ...fields].join(' ')}\n${stack && `${stack}\n`}`);
    },
  };
}

/** How often one thing is said at most, ms. */
const SELDOM = 60_000;

/**
 * Says what happens often once a minute at most, and then how often it was.
 * @param say is given the subject and how often it came since it was last said, this time included
 */
export function seldom(say: (subject: string, times: number) => void, every = SELDOM) {
  const unsaid = new Map<string, { times: number; next: number }>();
  return (subject: string): void => {
    const now = performance.now();
    const known = unsaid.get(subject) ?? { times: 0, next: 0 };
    unsaid.set(subject, known);
    known.times++;
    if (now < known.next) return;
    say(subject, known.times);
    known.times = 0;
    known.next = now + every;
  };
}

/** A key as the log knows it: enough to follow one through the lines, and of no use to who reads them. */
export const shortHash = (key: string) => createHash('sha256').update(key).digest('base64url').slice(0, 8);

/** What an error says of itself. Its other fields stay out: those of a Redis command hold its keys and values. */
function err({ name, message, code, stack }: NodeJS.ErrnoException) {
  return { type: name, message, code, stack };
}
