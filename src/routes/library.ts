/** The errors of the routes for programs that call without HTTP. */
import { Refusal } from './body.js';

/** Turns what a route would refuse as a bad request into a `TypeError`. @throws anything else as it is */
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
