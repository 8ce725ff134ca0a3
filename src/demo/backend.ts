/** How a backend talks to tagwait: HTTP to the internal port, safe to repeat. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

/** Another set came first, or the key has ended. */
export class Conflict extends Error {}
/** tagwait cannot be reached, or cannot store now. */
export class Unavailable extends Error {}

export interface Status {
  key: string;
  value: unknown;
  /** seconds the key is kept */
  ttl: number;
  /** the cursor this backend saw last; "": nothing set yet */
  expect: string;
  final?: true;
}

/** Pauses before asking again, in milliseconds. */
const RETRIES = [100, 400, 1200];

export class Backend {
  readonly #url: string;
  readonly #headers: Record<string, string>;

  constructor(internalUrl: string, token: string | undefined) {
    this.#url = internalUrl;
    this.#headers = {
      'Content-Type': 'application/json',
      ...(token !== undefined && { Authorization: `Bearer ${token}` }),
    };
  }

  /** @returns the new cursor @throws {Conflict} @throws {Unavailable} it is not known to be stored */
  async set(status: Status): Promise<string> {
    // one id for all tries: if only the answer got lost, the repeat stores nothing and is answered as the first was
    const answer = await this.#post('/status/set', { ...status, id: randomUUID() });
    return answer.cursor as string;
  }

  /** A key with the proof that lets the page, and nobody who only saw the QR code, watch it. */
  async ticket(ttl: number): Promise<{ key: string; proof: string }> {
    const { key, proof } = await this.#post('/status/new', { ttl });
    return { key: key as string, proof: proof as string };
  }

  async #post(path: string, body: object): Promise<Record<string, unknown>> {
    for (const pause of [...RETRIES, undefined]) {
      const response = await fetch(this.#url + path, {
        method: 'POST',
        headers: this.#headers,
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(5000),
      }).catch(() => undefined);
      if (response?.ok) return (await response.json()) as Record<string, unknown>;
      if (response?.status === 409) throw new Conflict(path);
      if (response && response.status < 500) throw new Error(`${path}: ${await response.text()}`);
      if (pause !== undefined) await sleep(pause);
    }
    throw new Unavailable(path);
  }
}
