/** Converts errors of the routes for the library, which calls them without HTTP. */
import { Refusal } from './body.js';

/** Turns a bad request into a `TypeError` with the code TAGWAIT_BAD_REQUEST. Other errors stay as they are. */
export async function asLibrary<T>(call: () => T | Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw libraryError(error);
  }
}

export const libraryError = (error: unknown) =>
  error instanceof Refusal ? badArgument(String(error.more.detail)) : error;

/** @param detail which argument, and what is allowed */
export const badArgument = (detail: string) =>
  Object.assign(new TypeError(detail), { code: 'TAGWAIT_BAD_REQUEST' });
