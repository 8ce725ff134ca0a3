/** What polls, event streams and WebSockets have in common. */
import type { LongPoll } from '../hold/longpoll.js';
import type { Metrics } from '../metrics.js';
import type { Admissions } from './admission.js';

/** Interval of pings, ms: shorter than the idle timeouts of proxies. */
export const PING_INTERVAL = 15_000;
/** Bytes buffered for a client that does not read. When more are buffered, the next answer closes the connection. */
export const MAX_UNREAD = 64 * 1024;

/**
 * How many ping intervals more than one a client may take to read: one for each 64 KiB that were sent, or part of them.
 * So a client on a line of 4.4 kB/s is not taken for dead, and one that is dead is noticed.
 * @param sent bytes
 */
export const intervalsToRead = (sent: number): number => Math.ceil(sent / MAX_UNREAD);

/** The dependencies of a transport. */
export interface TransportDeps {
  longpoll: LongPoll;
  admissions: Admissions;
  metrics: Pick<Metrics, 'asked' | 'answered'>;
}
