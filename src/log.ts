/** The log: one JSON line per event, on stderr. On a terminal, readable lines. */
import { createHash, randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { type DestinationStream, type Logger, pino } from 'pino';
import { output } from './output.js';

export type { Logger };

/** A unique name for this node, with the name of its machine: in each line, and in `GET /nodes`. */
export const newNodeId = () =>
  `${
    hostname()
      .replace(/[^\w.-]/g, '')
      .slice(0, 32) || 'node'
  }-${randomBytes(4).toString('hex')}`;

/** @param level trace, debug, info, warn, error, fatal or silent @param into default: stderr */
export function createLog(level: string, node: string, into?: DestinationStream): Logger {
  const base = { level, base: { node }, timestamp: pino.stdTimeFunctions.isoTime, serializers: { err } };
  if (into) return pino(base, into);
  const stderr = output(2);
  const log = pino(base, stderr.isTerminal ? readable(text => stderr.write(text)) : stderr);
  stderr.onRecovered = lines => log.warn({ lines }, 'log lines were lost');
  return log;
}

/** The name of this node, which is in every line of its log. */
export const nodeOf = (log: Logger) => log.bindings().node as string;

/** Formats log lines for a terminal. pino-pretty would add 13 packages. */
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

/** Default interval of `throttleLog`, ms. */
const THROTTLE_INTERVAL = 60_000;

/**
 * Throttles a log line: logs each subject once per interval.
 * @param log is given the subject, how often it happened since the last line, including this time, and what more there
 * is to say of it
 * @param interval ms
 */
export function throttleLog<More extends unknown[] = []>(
  log: (subject: string, times: number, ...more: More) => void,
  interval = THROTTLE_INTERVAL,
) {
  const subjects = new Map<string, { times: number; next: number }>();
  return (subject: string, ...more: More): void => {
    const now = performance.now();
    const known = subjects.get(subject) ?? { times: 0, next: 0 };
    subjects.set(subject, known);
    known.times++;
    if (now < known.next) return;
    log(subject, known.times, ...more);
    known.times = 0;
    known.next = now + interval;
  };
}

/** A short hash of a key, for the log: lines of one key can be found, and the key cannot be recovered. */
export const shortHash = (key: string) => createHash('sha256').update(key).digest('base64url').slice(0, 8);

/** Serializes an error. Leaves out its other fields: the error of a Redis command contains keys and values. */
function err({ name, message, code, stack }: NodeJS.ErrnoException) {
  return { type: name, message, code, stack };
}
