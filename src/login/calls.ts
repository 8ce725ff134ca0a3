/** The scan login's calls for programs. */
import type { Ticket } from '../protocol/ticket.js';

/**
 * The scan login inside a program, with the rules of `POST /login/…`. Every call is safe to repeat, on any node.
 * All of them reject with a `TypeError` for an option that is not allowed, `LoginError` when the step is not possible
 * (`reason` says why), and `Unavailable` when the step is not known to be stored: repeat it then.
 */
export interface LoginCalls {
  /**
   * Begins a login. The QR code holds `key`; the page that shows it watches `key` with `proof`.
   * @param options.visitor 1 to 256 characters that the backend keeps in this visitor's cookie; only its hash is stored
   * @param options.ttl seconds within which it can be scanned and decided, 120 by default
   * @param options.show any JSON: what the phone shows of this login, such as site, browser and place; null by default
   * @returns `expires` in unix seconds
   */
  // a property: a method of this name in an interface is a constructor
  new: (options: { visitor: string; ttl?: number | undefined; show?: unknown }) => Promise<Ticket>;
  /**
   * A phone scanned the code: the page hears `{"state":"scanned"}`. Another phone is refused from then on (`taken`).
   * @param options.phone 1 to 256 characters: the backend's id of the phone's user
   * @returns times in unix seconds; the same phone gets the same answer until the login is decided
   */
  scan(options: { key: string; phone: string }): Promise<{ show: unknown; created: number; expires: number }>;
  /**
   * The phone said yes: the page hears `{"state":"approved","code":"…"}`, and the code can be redeemed for 60 seconds.
   * A repeat, also one with another user, keeps the first code and user, and renews the 60 seconds until the code is redeemed.
   * @param options.user any JSON: what `redeem` gives back; pages never hear it
   * @param options.receipt seconds to wait, at most 10, until the page has proved that it has heard of it
   * @returns with `receipt` also `received`
   */
  approve(options: {
    key: string;
    phone: string;
    user: unknown;
    receipt?: number | undefined;
  }): Promise<{ received?: boolean | undefined }>;
  /** The phone said no: the page hears `{"state":"denied"}`. */
  deny(options: { key: string; phone: string }): Promise<object>;
  /**
   * Redeems the page's code: exactly one call succeeds. A call with a wrong code or visitor does not use the code up.
   * @param options.id 1 to 64 printable ASCII characters: a repeat with the same id and visitor gets the first answer
   */
  redeem(options: {
    key: string;
    code: string;
    visitor: string;
    id?: string | undefined;
  }): Promise<{ user: unknown; phone: string }>;
}
