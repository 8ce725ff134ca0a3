/** One request of a subscription: it ends with the subscription, or when nothing has come for too long. */

export class Request {
  readonly #controller = new AbortController();
  readonly #signal: AbortSignal;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    if (signal.aborted) this.#abort();
    else signal.addEventListener('abort', this.#abort);
  }

  /** No cookies are sent, because the service reads none. @throws if the request fails or ends */
  send(url: string, accept: string): Promise<Response> {
    // `cache`: browsers would make a second request of the same URL wait for the first; the types of Node lack it
    const init: RequestInit & { cache: 'no-store' } = {
      signal: this.#controller.signal,
      headers: { Accept: accept },
      credentials: 'omit',
      cache: 'no-store',
    };
    return fetch(url, init);
  }

  /** From now on something must come within this time, ms; 0: no limit. */
  expect(within: number): void {
    clearTimeout(this.#timer);
    this.#timer = within > 0 ? setTimeout(this.#abort, within) : undefined;
  }

  /** Lets go of the connection. */
  end(): void {
    this.expect(0);
    this.#signal.removeEventListener('abort', this.#abort);
    this.#abort();
  }

  #abort = (): void => this.#controller.abort();
}

/** Whether a text is the URL of a service. `localhost:11000` is a URL too, of the scheme `localhost`. */
export const isServiceUrl = (text: string): boolean => /^https?:\/\/./i.test(text) && URL.canParse(text);

/** Waits. @throws the signal's reason */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', stop);
      resolve();
    }, ms);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
}
