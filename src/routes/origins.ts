/** The origins whose pages may ask (TAGWAIT_ORIGINS). */

/** What stands for the `*` of `https://*.example.com`: one label or several. */
const LABELS = /^[\w-][\w.-]*$/;
/** Scheme, a host name of at most 253 characters, and a port. */
const LONGEST_ORIGIN = 270;

export class Origins {
  /** every page may ask */
  readonly all: boolean;
  readonly #exact: ReadonlySet<string>;
  /** `['https://', '.example.com']` for `https://*.example.com` */
  readonly #subdomains: readonly [string, string][];

  /** @param origins in the form in which browsers send them, or with `*` as the first label; none: every page may ask */
  constructor(origins: readonly string[]) {
    this.all = origins.length === 0;
    this.#exact = new Set(origins.filter(origin => !origin.includes('*')));
    this.#subdomains = origins
      .filter(origin => origin.includes('*'))
      .map(origin => origin.split('*') as [string, string]);
  }

  /** @param origin of a request's Origin or Referer header: safe to repeat in a header when this is true */
  allows(origin: string): boolean {
    if (this.all || this.#exact.has(origin)) return true;
    return (
      origin.length <= LONGEST_ORIGIN &&
      this.#subdomains.some(
        ([scheme, domain]) =>
          origin.startsWith(scheme) &&
          origin.endsWith(domain) &&
          LABELS.test(origin.slice(scheme.length, -domain.length)),
      )
    );
  }
}
