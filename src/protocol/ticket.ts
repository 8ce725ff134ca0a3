/**
 * Tickets: a public key, which may be shown in a QR code, with a secret proof for the page that may poll it.
 *
 *     proof = expires "." base64url(HMAC-SHA-256(secret, key "\n" expires))
 *
 * `expires` is unix seconds in decimal; base64url is that of RFC 4648 §5 without padding; all text is UTF-8. The split
 * follows RFC 8628, where the user code is public and the device code is secret.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

export interface Ticket {
  key: string;
  proof: string;
  /** unix seconds */
  expires: number;
}

const PROOF = /^([1-9]\d{0,11})\.([A-Za-z0-9_-]{43})$/;
/** Compared instead of a malformed proof, so that it takes the same time. */
const NONE = ['0', '-'.repeat(43)];

const sign = (secret: string, key: string, expires: string) =>
  createHmac('sha256', secret).update(`${key}\n${expires}`).digest('base64url');

/** The proof for polling a key until `expires`, unix seconds. */
export function proofOf(secret: string, key: string, expires: number): string {
  return `${expires}.${sign(secret, key, String(expires))}`;
}

/** A ticket with a random 128-bit key. @param ttl seconds; its end is rounded down to a whole one */
export const newTicket = (secret: string, ttl: number): Ticket =>
  ticketUntil(secret, Math.floor(Date.now() / 1000) + ttl);

/** A ticket with a random 128-bit key. @param expires unix seconds */
export function ticketUntil(secret: string, expires: number): Ticket {
  const key = randomKey();
  return { key, proof: proofOf(secret, key, expires), expires };
}

/** 128 random bits in base64url. Never begins with a dash: to a command line that is an option. */
function randomKey(): string {
  const key = randomBytes(16).toString('base64url');
  return key.startsWith('-') ? randomKey() : key;
}

/**
 * Verifies a proof of a key. Tries every secret, in constant time.
 * @returns when the proof expires, unix seconds; undefined if it is not valid
 */
export function verify(secrets: readonly string[], key: string, proof: string): number | undefined {
  const parts = PROOF.exec(proof);
  const [expires, given] = (parts?.slice(1) ?? NONE) as [string, string];
  let good = false;
  for (const secret of secrets)
    if (timingSafeEqual(Buffer.from(sign(secret, key, expires)), Buffer.from(given))) good = true;
  return good && parts ? Number(expires) : undefined;
}
