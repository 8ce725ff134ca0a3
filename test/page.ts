/** A page without a browser: polls as the client does, and records the values. */
import { PATIENCE, poll, type Reply, until } from './harness.js';
import { onTestFinished } from './owner.js';

export interface Page {
  /** values in the order in which they came */
  heard: unknown[];
  lost: number;
  /** codes of all answers */
  codes: number[];
  /** the newest cursor */
  cursor: string;
  stop(): void;
  /** waits until it has heard this value */
  hears(value: unknown, within?: number): Promise<void>;
}

/** Asks until it is stopped, at each of these nodes in turn when one does not answer. */
export function page(urls: string | string[], key: string, hold?: number): Page {
  const nodes = [urls].flat();
  const leaving = new AbortController();
  const state: Page = {
    heard: [],
    lost: 0,
    codes: [],
    cursor: '',
    stop: () => leaving.abort(),
    hears: async (value, within = PATIENCE) => {
      const seen = () => ({ value, heard: state.heard, codes: state.codes });
      await until(() => state.heard.includes(value), { within, seen });
    },
  };
  const pause = (ms: number) => new Promise(resolve => setTimeout(resolve, ms));
  void (async () => {
    for (let asked = 0; !leaving.signal.aborted; asked++) {
      let reply: Reply;
      try {
        const query = { key, since: state.cursor, ...(hold === undefined ? {} : { hold: String(hold) }) };
        reply = await poll(nodes[asked % nodes.length] as string, query, leaving.signal);
      } catch {
        await pause(50);
        continue;
      }
      state.codes.push(reply.code);
      if (reply.code === 0) state.heard.push(...(reply.earlier ?? []), reply.data);
      state.lost += reply.lost ?? 0;
      if (reply.cursor !== undefined) state.cursor = reply.cursor;
      if (reply.final || [-2, -4, -5].includes(reply.code)) return;
      if (reply.retry !== undefined) await pause(Math.min(reply.retry, 200));
    }
  })();
  onTestFinished(() => leaving.abort());
  return state;
}
