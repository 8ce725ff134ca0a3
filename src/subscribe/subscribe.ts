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
export async function* subscribe<Value = unknown>(
  key: string,
  options: SubscribeOptions,
): AsyncGenerator<Update<Value>, Ending, undefined> {
  const source = new Source(key, options);
  for (;;) {
    const ending = yield* source.ask() as AsyncGenerator<Update<Value>, Ending | undefined, undefined>;
    if (ending) return ending;
    await pause(source.delay(), options.signal);
  }
}
