/** A backend that sets until it hears that its value is stored. */
import { call, pause, within } from './call.js';
import type { Random } from './random.js';
import type { Node, World } from './world.js';

export interface Stored {
  number: number;
  /** when the first try began, when the last did, and when that was acknowledged */
  tried: number;
  sent: number;
  acknowledged: number;
  tries: number;
  watched?: boolean;
  /** a page is said to have taken it; only of sets that wait for a receipt */
  received?: boolean;
}

/** A set, as a backend makes it. @returns undefined: no answer */
export async function trySet(
  node: Node,
  body: Record<string, unknown>,
  over: AbortSignal,
): Promise<{ status: number; watched: boolean; received: boolean } | undefined> {
  try {
    const { status, reply } = await within(5000, over, signal =>
      call<{ watched?: boolean; received?: boolean }>(`${node.now.internalUrl}/status/set`, {
        agent: node.agent,
        signal,
        body: JSON.stringify(body),
      }),
    );
    return { status, watched: reply.watched === true, received: reply.received === true };
  } catch {
    return undefined;
  }
}

/** Every third set waits so long for a receipt, s. */
const RECEIPT = 0.3;

/** The backend of one key: numbers in order, each tried with one id until a node says 200. */
export class Backend {
  readonly stored: Stored[] = [];
  #next = 1;
  #wake: () => void = () => {};
  /** it was woken while a set was under way: the next one follows at once */
  #due = false;

  /** @param cadence ms between two sets, on average */
  constructor(
    readonly key: string,
    readonly cadence: number,
    readonly world: World,
    readonly random: Random,
    readonly acknowledged: (stored: Stored, node: Node, key: string) => void,
  ) {}

  /** Sets now, and does not wait for its time. */
  wake(): void {
    this.#due = true;
    this.#wake();
  }

  async rest(): Promise<void> {
    const woken = new Promise<void>(resolve => {
      this.#wake = resolve;
      if (this.#due) resolve();
    });
    await Promise.race([woken, pause(this.cadence * this.random.between(0.5, 1.5))]);
    this.#due = false;
  }

  async set(over: AbortSignal, final = false): Promise<void> {
    const number = this.#next++;
    const body = { key: this.key, value: number, id: `${this.key}-${number}`, final, ttl: 600 };
    if (number % 3 === 0) Object.assign(body, { receipt: RECEIPT });
    const tried = performance.now();
    for (let tries = 1; !over.aborted; tries++) {
      const node = this.random.pick(this.world.alive());
      const sent = performance.now();
      const result = node && (await trySet(node, body, over));
      if (result?.status === 200) {
        const { watched, received } = result;
        const stored = { number, tried, sent, acknowledged: performance.now(), tries, watched, received };
        this.stored.push(stored);
        return this.acknowledged(stored, node, this.key);
      }
      if (result && result.status !== 503)
        throw new Error(`a set of ${this.key} was answered ${result.status}`);
      await pause(this.random.between(100, 200));
    }
  }
}
