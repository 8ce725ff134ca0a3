/** Writes lines to stdout and stderr. Never blocks and never throws: counts the lines that cannot be written. */
import { constants, openSync, writeSync } from 'node:fs';

/** Limit of buffered lines for a slow reader, bytes. */
const MAX_BUFFERED = 1024 * 1024;
/** Delay until buffered lines are written again, ms. */
const RETRY_DELAY = 50;

/** Result of a write; a Buffer is the rest of a line that the reader is too slow for. */
type Result = 'written' | 'lost' | Buffer;

export class Output {
  /** lines lost since the process started */
  lost = 0;
  /** Called once lines can be written again, with the number of lines lost. */
  onRecovered: (lines: number) => void = () => {};
  readonly isTerminal: boolean;
  readonly #fd: number;
  /** the first may be the rest of a line */
  readonly #buffered: Buffer[] = [];
  #bufferedBytes = 0;
  #retry: NodeJS.Timeout | undefined;
  /** lines lost since `onRecovered` was called */
  #unreported = 0;
  /** the last line was written only in part: the next one starts with a line break */
  #partial = false;

  constructor(fd: 1 | 2) {
    // the getter makes a pipe or socket non-blocking; the listener is for what Node.js itself writes
    const stream = fd === 1 ? process.stdout : process.stderr;
    stream.on('error', () => {});
    this.isTerminal = stream.isTTY === true;
    this.#fd = this.isTerminal ? nonBlocking(fd) : fd;
    process.once('exit', () => this.#flush());
  }

  /** @param text one or more lines, each with a line break */
  write(text: string): void {
    const line = Buffer.from(this.#partial ? `\n${text}` : text);
    if (this.#buffered.length === 0) this.#finish(this.#writeNow(line));
    else if (this.#bufferedBytes + line.length <= MAX_BUFFERED) this.#buffer(line);
    else this.#lose();
  }

  #writeNow(line: Buffer): Result {
    let written = 0;
    try {
      while (written < line.length) written += writeSync(this.#fd, line, written);
      this.#partial = false;
      return 'written';
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return line.subarray(written);
      if (written > 0) this.#partial = true;
      return 'lost';
    }
  }

  #finish(result: Result): void {
    if (result === 'lost') this.#lose();
    else if (result === 'written') this.#report();
    else this.#buffer(result);
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

  #buffer(line: Buffer): void {
    this.#buffered.push(line);
    this.#bufferedBytes += line.length;
    this.#retry ??= setTimeout(() => this.#flush(), RETRY_DELAY).unref();
  }

  #flush(): void {
    this.#retry = undefined;
    const lines = this.#buffered.splice(0);
    this.#bufferedBytes = 0;
    for (const [index, line] of lines.entries()) {
      const result = this.#writeNow(line);
      if (result === 'lost') this.#lose();
      if (!Buffer.isBuffer(result)) continue;
      for (const left of [result, ...lines.slice(index + 1)]) this.#buffer(left);
      return;
    }
    if (lines.length > 0 && !this.#partial) this.#report();
  }
}

/**
 * Opens a terminal once more, non-blocking: the shell shares the first descriptor, and after Ctrl-S writes would block.
 */
function nonBlocking(fd: number): number {
  const { O_WRONLY, O_APPEND, O_NOCTTY, O_NONBLOCK } = constants;
  try {
    return openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_APPEND | O_NOCTTY | O_NONBLOCK);
  } catch {
    return fd;
  }
}

const outputs = new Map<1 | 2, Output>();

/** @param fd 1 for stdout, 2 for stderr @returns the same object each time */
export function output(fd: 1 | 2): Output {
  const known = outputs.get(fd) ?? new Output(fd);
  outputs.set(fd, known);
  return known;
}

/** Lines that this process could not write to stdout or stderr. */
export const linesLost = () => [...outputs.values()].reduce((sum, { lost }) => sum + lost, 0);

/** What a command is given besides its arguments: settings, and where it writes lines. */
export interface CommandContext {
  env: NodeJS.ProcessEnv;
  out(line: string): void;
  err(line: string): void;
}
