/** One JSON line per event that matters, on stderr: stdout has the one line that names the ports. */
import { createHash } from 'node:crypto';
import { type DestinationStream, type Logger, pino } from 'pino';

export type { Logger };

const stderr = () => pino.destination({ dest: 2, sync: true });

/** @param level trace, debug, info, warn, error, fatal or silent */
export function createLog(level: string, node: string, into: DestinationStream = stderr()): Logger {
  return pino(
    { level, base: { node }, timestamp: pino.stdTimeFunctions.isoTime, serializers: { err } },
    into,
  );
}

/** A key as the log knows it: enough to follow one through the lines, and of no use to who reads them. */
export const shortHash = (key: string) => createHash('sha256').update(key).digest('base64url').slice(0, 8);

/** What an error says of itself. Its other fields stay out: those of a Redis command hold its keys and values. */
function err({ name, message, code, stack }: NodeJS.ErrnoException) {
  return { type: name, message, code, stack };
}
