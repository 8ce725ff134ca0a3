/**
 * `tagwait/subscribe`: the values of a key as an async iterator, for programs and pages of today. It uses only what Node,
 * Deno, Bun and browsers have in common.
 */
import { pause } from './request.js';
import { Source } from './source.js';
import type { Ending, SubscribeOptions, Update } from './types.js';

export { TagwaitError, type TagwaitErrorCode } from './errors.js';
export type { Ending, SubscribeOptions, Update } from './types.js';

/**
 * The values of a key, in order, each once: those that are still kept, then every new one. Uses an event stream, and polls
 * where streams do not pass. Goes on by its cursor after every interruption, for as long as it takes.
 * @returns how it ended, as the return value of the iterator
 * @throws {TagwaitError} it cannot go on @throws the signal's reason
 */
export function subscribe<Value = unknown>(
  key: string,
  options: SubscribeOptions,
): AsyncGenerator<Update<Value>, Ending, undefined> {
  const ends = new AbortController();
  const updates = updatesOf<Value>(key, options, ends);
  // a generator's own `return` waits for the `next` that is pending, which may take for ever
  const leave = updates.return.bind(updates);
  updates.return = ending => {
    ends.abort(LEFT);
    return leave(ending);
  };
  return updates;
}

/** Why a subscription ends that its program has left. */
const LEFT = new Error('left');

/** @param ends ends the requests, with the signal of the options or with LEFT */
async function* updatesOf<Value>(
  key: string,
  options: SubscribeOptions,
  ends: AbortController,
): AsyncGenerator<Update<Value>, Ending, undefined> {
  const source = new Source(key, options, ends.signal);
  const given = options.signal;
  const abort = () => ends.abort(given?.reason);
  if (given?.aborted) abort();
  else given?.addEventListener('abort', abort);
  try {
    for (;;) {
      const ending = yield* source.ask() as AsyncGenerator<Update<Value>, Ending | undefined, undefined>;
      if (ending) return ending;
      await pause(source.delay(), ends.signal);
    }
  } catch (error) {
    // the `next` that was pending is done, as `return` says
    if (error === LEFT) return undefined as never;
    throw error;
  } finally {
    given?.removeEventListener('abort', abort);
  }
}
