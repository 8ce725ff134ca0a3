/** What the clients of one kind have heard. */

export interface Heard {
  value: unknown;
  /** values that were said to be lost before this one */
  lost: number;
  /** the answer says that it is the last value */
  final: boolean;
  /** when the client took it, unix ms */
  at: number;
}

export class Log {
  readonly #heard = new Map<string, Heard[]>();
  /** what a client should not have met */
  readonly faults: string[] = [];

  add(key: string, ...heard: Omit<Heard, 'at'>[]): void {
    const at = Date.now();
    this.put(
      key,
      heard.map(one => ({ ...one, at })),
    );
  }

  put(key: string, heard: Heard[]): void {
    const all = this.#heard.get(key) ?? [];
    all.push(...heard);
    this.#heard.set(key, all);
  }

  of(key: string): readonly Heard[] {
    return this.#heard.get(key) ?? [];
  }

  /** Whether the last value of a key has come. */
  isOver = (key: string): boolean => this.of(key).at(-1)?.final === true;
}

/** The values of an answer to a poll, or of a message of a socket. */
export function valuesOf({ data, earlier = [], lost = 0, final = false }: Answer): Omit<Heard, 'at'>[] {
  const values = [...earlier, data];
  return values.map((value, index) => ({
    value,
    lost: index === 0 ? lost : 0,
    final: final && index === values.length - 1,
  }));
}

export interface Answer {
  code: number;
  data?: unknown;
  earlier?: unknown[];
  lost?: number;
  final?: boolean;
  receipt?: boolean;
  cursor?: string;
  /** ms */
  retry?: number;
}
