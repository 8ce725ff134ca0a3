/** Writes lines to stdout and stderr. Never blocks and never throws: a line that cannot be written is lost, and counted. */
import { constants, openSync, writeSync } from 'node:fs';

/** Bytes of lines that wait, at most, for a reader that is slow. */
const MAX_WAITING = 1024 * 1024;
/** ms until waiting lines are tried again. */
const RETRY = 50;

/** What became of a line: what is left of it when the reader is too slow for now. */
type Result = 'written' | 'lost' | Buffer;

export class Output {
  /** lines lost since the process started */
  lost = 0;
  /** Is called with the number of lines that were lost, once lines can be written again. */
  onRecovered: (lines: number) => void = () => {};
  readonly isTerminal: boolean;
  readonly #fd: number;
  /** the first may be what is left of a line */
  readonly #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #retry: NodeJS.Timeout | undefined;
  /** lines lost since `onRecovered` was called */
  #unreported = 0;
  /** the last line was written in part */
  #torn = false;

  constructor(fd: 1 | 2) {
    // this getter makes a pipe or a socket non-blocking; what Node itself writes there may fail too
    const stream = fd === 1 ? process.stdout : process.stderr;
    stream.on('error', () => {});
    this.isTerminal = stream.isTTY === true;
    this.#fd = this.isTerminal ? nonBlocking(fd) : fd;
    process.once('exit', () => this.#flush());
  }

  /** @param text a line with its end, or several */
  write(text: string): void {
    const line = Buffer.from(this.#torn ? `\n${text}` : text);
    if (this.#waiting.length === 0) this.#finish(this.#put(line));
    else if (this.#waitingBytes + line.length <= MAX_WAITING) this.#wait(line);
    else this.#lose();
  }

  #put(line: Buffer): Result {
    let written = 0;
    try {
      while (written < line.length) written += writeSync(this.#fd, line, written);
      this.#torn = false;
      return 'written';
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return line.subarray(written);
      if (written > 0) this.#torn = true;
      return 'lost';
    }
  }

  #finish(result: Result): void {
    if (result === 'lost') this.#lose();
    else if (result === 'written') this.#report();
    else this.#wait(result);
  }

  #lose(): void {
    this.lost++;
    this.#unreported++;
  }

  #report(): void {
    const lines = this.#unreported;
    this.#unreported = 0;
    if (lines > 0) this.onRecovered(lines);
  }

  #wait(line: Buffer): void {
    this.#waiting.push(line);
    this.#waitingBytes += line.length;
    this.#retry ??= setTimeout(() => this.#flush(), RETRY).unref();
  }

  #flush(): void {
    this.#retry = undefined;
    const lines = this.#waiting.splice(0);
    this.#waitingBytes = 0;
    for (const [index, line] of lines.entries()) {
      const result = this.#put(line);
      if (result === 'lost') this.#lose();
      if (!Buffer.isBuffer(result)) continue;
      for (const left of [result, ...lines.slice(index + 1)]) this.#wait(left);
      return;
    }
    if (lines.length > 0 && !this.#torn) this.#report();
  }
}

/** A terminal that was stopped with Ctrl-S blocks who writes. It is opened once more, because the shell shares the first one. */
function nonBlocking(fd: number): number {
  const { O_WRONLY, O_APPEND, O_NOCTTY, O_NONBLOCK } = constants;
  try {
    return openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_APPEND | O_NOCTTY | O_NONBLOCK);
  } catch {
    return fd;
  }
}

const outputs = new Map<1 | 2, Output>();

/** @param fd 1 for stdout, 2 for stderr @returns the same one each time */
export function output(fd: 1 | 2): Output {
  const known = outputs.get(fd) ?? new Output(fd);
  outputs.set(fd, known);
  return known;
}

/** Lines that this process could not write, to either of them. */
export const linesLost = () => [...outputs.values()].reduce((sum, { lost }) => sum + lost, 0);
