/** One JSON line per event that matters, on stderr: stdout has the one line that names the ports. */
import { type Logger, pino } from 'pino';

export type { Logger };

/** @param level trace, debug, info, warn, error, fatal or silent */
export function createLog(level: string, node: string): Logger {
  return pino(
    { level, base: { node }, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ dest: 2, sync: true }),
  );
}
