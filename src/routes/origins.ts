/** Matches origins against TAGWAIT_ORIGINS. */

/** Matches what the `*` of `https://*.example.com` stands for: one or more labels. */
const LABELS = /^[\w-][\w.-]*$/;
/** Scheme, a host name of at most 253 characters, and a port. */
const MAX_ORIGIN_LENGTH = 270;

export class Origins {
  /** all origins are allowed */
  readonly all: boolean;
  readonly #exact: ReadonlySet<string>;
  /** `['https://', '.example.com']` for `https://*.example.com` */
  readonly #subdomains: readonly [string, string][];

  /** @param origins as browsers send them, or with `*` as the first label; empty: all origins are allowed */
  constructor(origins: readonly string[]) {
    this.all = origins.length === 0;
    this.#exact = new Set(origins.filter(origin => !origin.includes('*')));
    this.#subdomains = origins
      .filter(origin => origin.includes('*'))
      .map(origin => origin.split('*') as [string, string]);
  }

  /**
   * @param origin from an Origin or Referer header; if this returns true, it is safe to repeat it in a response header
   */
  allows(origin: string): boolean {
    if (this.all || this.#exact.has(origin)) return true;
    return (
      origin.length <= MAX_ORIGIN_LENGTH &&
      this.#subdomains.some(
        ([scheme, domain]) =>
          origin.startsWith(scheme) &&
          origin.endsWith(domain) &&
          LABELS.test(origin.slice(scheme.length, -domain.length)),
      )
    );
  }
}
