/**
 * Tickets: a key anyone may see (it is in the QR code), and a proof that only the page has.
 *
 *     proof = expires "." base64url(HMAC-SHA-256(secret, key "\n" expires))
 *
 * `expires` is unix seconds in decimal; base64url as in RFC 4648 §5, without padding; all text is UTF-8. Keeping the
 * two apart follows RFC 8628, whose user code is public and whose device code is not.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

export interface Ticket {
  key: string;
  proof: string;
  /** unix seconds */
  expires: number;
}

const PROOF = /^([1-9]\d{0,11})\.([A-Za-z0-9_-]{43})$/;
/** Compared in place of what does not look like a proof, so that it takes as long. */
const NONE = ['', '0', '-'.repeat(43)];

const sign = (secret: string, key: string, expires: string) =>
  createHmac('sha256', secret).update(`${key}\n${expires}`).digest('base64url');

/** The proof that lets a page watch this key until then. */
export function proofOf(secret: string, key: string, expires: number): string {
  return `${expires}.${sign(secret, key, String(expires))}`;
}

/** A random 128-bit key with its proof. @param ttl seconds */
export const newTicket = (secret: string, ttl: number): Ticket =>
  ticketUntil(secret, Math.floor(Date.now() / 1000) + ttl);

/** @param expires unix seconds */
export function ticketUntil(secret: string, expires: number): Ticket {
  const key = randomBytes(16).toString('base64url');
  return { key, proof: proofOf(secret, key, expires), expires };
}

/**
 * When a proof runs out, in unix seconds, or undefined when it is not one of this key: every secret is tried and all
 * comparisons take the same time, whatever is wrong.
 */
export function verify(secrets: readonly string[], key: string, proof: string): number | undefined {
  const parts = PROOF.exec(proof);
  const [, expires = '', given = ''] = parts ?? NONE;
  let good = false;
  for (const secret of secrets)
    if (timingSafeEqual(Buffer.from(sign(secret, key, expires)), Buffer.from(given))) good = true;
  return good && parts ? Number(expires) : undefined;
}
