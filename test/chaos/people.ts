/** Pages that ask as the client does, and backends that set until they are told that it is stored. */
import type { Reply } from '../harness.js';

/** A signal that fires after a while or with another. AbortSignal.any of a timeout may be collected before it fires. */
async function within<T>(
  ms: number,
  over: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const control = new AbortController();
  const abort = () => control.abort();
  const timer = setTimeout(abort, ms);
  over.addEventListener('abort', abort);
  try {
    return await work(control.signal);
  } finally {
    clearTimeout(timer);
    over.removeEventListener('abort', abort);
  }
}

const pause = (ms: number) => new Promise(resolve => setTimeout(resolve, ms));

/** What one page heard: numbers, and when; `lost` counts what it was told of. */
export interface Page {
  key: string;
  heard: { number: number; at: number; lost: number }[];
  answers: number;
  ended: boolean;
}

/** Asks until the final value. One poll in flight, a watchdog, backoff with jitter. */
export async function livePage(page: Page, url: string, hold: number, over: AbortSignal): Promise<void> {
  let since = '';
  let failures = 0;
  while (!over.aborted && !page.ended) {
    try {
      const reply = await within((hold + 3) * 1000, over, async signal => {
        const response = await fetch(`${url}/status/get?key=${page.key}&since=${since}`, { signal });
        return (await response.json()) as Reply;
      });
      failures = 0;
      page.answers++;
      if (reply.code === 0) {
        const values = [...(reply.earlier ?? []), reply.data] as number[];
        for (const [index, number] of values.entries())
          page.heard.push({ number, at: performance.now(), lost: index === 0 ? (reply.lost ?? 0) : 0 });
        page.ended = reply.final === true;
      }
      if (reply.code === -2) page.ended = true;
      if (reply.cursor !== undefined) since = reply.cursor;
      if (reply.retry !== undefined) await pause(Math.min(reply.retry, 1000));
    } catch {
      await pause(Math.min(250 * 2 ** failures++, 2000) * (0.5 + Math.random() / 2));
    }
  }
}

export interface Stored {
  number: number;
  /** when the first try began, when the last did, and when that was acknowledged */
  tried: number;
  sent: number;
  acknowledged: number;
  tries: number;
}

/** The backend of one key: numbers in order, each tried with one id until a node says 200. */
export class Backend {
  readonly stored: Stored[] = [];
  #next = 1;

  constructor(
    readonly key: string,
    readonly nodes: () => string[],
  ) {}

  async set(over: AbortSignal, final = false): Promise<void> {
    const number = this.#next++;
    const body = JSON.stringify({
      key: this.key,
      value: number,
      id: `${this.key}-${number}`,
      final,
      ttl: 600,
    });
    const tried = performance.now();
    for (let tries = 1; !over.aborted; tries++) {
      const nodes = this.nodes();
      const sent = performance.now();
      try {
        const status = await within(5000, over, async signal => {
          const response = await fetch(`${nodes[Math.floor(Math.random() * nodes.length)]}/status/set`, {
            method: 'POST',
            headers: { 'Content-Type': 'application/json' },
            body,
            signal,
          });
          await response.arrayBuffer();
          return response.status;
        });
        if (status === 200) {
          this.stored.push({ number, tried, sent, acknowledged: performance.now(), tries });
          return;
        }
        if (status !== 503) throw new Error(`a set of ${this.key} was answered ${status}`);
      } catch (error) {
        if (String(error).includes('was answered')) throw error;
      }
      await pause(100 + Math.random() * 100);
    }
  }
}
