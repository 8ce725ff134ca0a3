/**
 * Refusals for a time, to an `EventSource`. It closes for good after every status but 200 (HTML Living Standard §9.2.3),
 * so it gets an empty stream with the delay after which it asks again.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';

/** Whether the client takes nothing but an event stream, as every `EventSource` says of itself. */
const isEventSource = ({ headers }: IncomingMessage): boolean => headers.accept === 'text/event-stream';

/**
 * Answers an `EventSource` with 200, a comment, and `retry`. Other clients are to be answered with the status.
 * @param reason one line, for a person @param wait ms @returns false: it is another client, and has no answer yet
 */
export function retryEventSource(
  request: IncomingMessage,
  response: ServerResponse,
  reason: string,
  wait: number,
): boolean {
  if (!isEventSource(request)) return false;
  // the rate limit comes before the rule of origins; without this header a page of another site would close for good
  if (!response.hasHeader('Access-Control-Allow-Origin'))
    response.setHeader('Access-Control-Allow-Origin', '*');
  response.writeHead(200, {
    'Content-Type': 'text/event-stream; charset=utf-8',
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
  });
  response.end(`:${reason}\nretry: ${Math.max(1, Math.round(wait))}\n\n`);
  return true;
}
