/** A time limit for an operation of a store. */

/** The operation took longer than its limit. It may still end. */
export class TimeoutError extends Error {
  constructor(limit: number) {
    super(`no answer within ${limit} ms`);
  }
}

/**
 * Waits for an operation.
 * @param limit ms @param signal gives the operation up @returns what the operation returns
 * @throws {TimeoutError} it took longer @throws the reason of the signal, once it is aborted
 */
export function within<T>(limit: number, operation: Promise<T>, signal?: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const timer = setTimeout(() => settle(reject, new TimeoutError(limit)), limit);
    const abort = () => settle(reject, signal?.reason);
    const settle = <Result>(how: (result: Result) => void, result: Result) => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
      how(result);
    };
    signal?.addEventListener('abort', abort);
    operation.then(
      result => settle(resolve, result),
      error => settle(reject, error),
    );
  });
}
