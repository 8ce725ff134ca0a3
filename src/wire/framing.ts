/** Finds the end of a request that Node's HTTP server reads, by counting its bytes. */

/** Length of a body, or chunked, or unclear: then all following bytes count as part of the request. */
export type Body = number | 'chunked' | 'unclear';

const CR = 13;
const LF = 10;
/** Limit of hexadecimal digits in a chunk's size: 4 GiB. */
const SIZE_DIGITS = 8;
/** After 256 chunks, their average must be 64 bytes: Node's HTTP server takes 2 µs per chunk. */
const FINE_CHUNKS = 256;
const MIN_CHUNK = 64;

/**
 * Counts only chunks that all servers read in the same way: a size in hex digits, no extensions, no trailers. With
 * anything else the end is unclear.
 */
export class Framing {
  /** bytes left: of the head, of a body with a length, or of a chunk */
  #left: number;
  /** size, sizeEnd: in a chunk's size, before its LF; last, lastEnd: before the CR and LF after the last chunk */
  #state: 'counting' | 'chunk' | 'size' | 'sizeEnd' | 'last' | 'lastEnd' | 'done' | 'unclear';
  readonly #chunked: boolean;
  #size = 0;
  #digits = 0;
  /** number of chunks so far, and their total size, bytes */
  #chunks = 0;
  #total = 0;
  /** bytes of the present chunk's CRLF read */
  #ending = 0;

  /** @param head length of the head, bytes */
  constructor(head: number, body: Body) {
    this.#chunked = body === 'chunked';
    this.#left = head + (typeof body === 'number' ? body : 0);
    this.#state = body === 'unclear' ? 'unclear' : 'counting';
  }

  /** The request is complete. */
  get done(): boolean {
    return this.#state === 'done';
  }

  get unclear(): boolean {
    return this.#state === 'unclear';
  }

  /** The body has too many small chunks. */
  get tooFine(): boolean {
    return this.#chunks > FINE_CHUNKS && this.#total < this.#chunks * MIN_CHUNK;
  }

  /** @returns the number of these bytes that belong to the request */
  take(bytes: Buffer): number {
    let at = 0;
    while (at < bytes.length && this.#state !== 'done') {
      if (this.#state === 'unclear') return bytes.length;
      at =
        this.#state === 'counting' || this.#state === 'chunk' ? this.#skip(bytes, at) : this.#step(bytes, at);
    }
    return at;
  }

  #skip(bytes: Buffer, at: number): number {
    const taken = Math.min(this.#left, bytes.length - at);
    this.#left -= taken;
    if (this.#left > 0) return at + taken;
    if (this.#state === 'chunk') return this.#endChunk(bytes, at + taken);
    this.#state = this.#chunked ? 'size' : 'done';
    return at + taken;
  }

  /** Reads the CRLF after a chunk's data. */
  #endChunk(bytes: Buffer, start: number): number {
    let at = start;
    while (at < bytes.length && this.#ending < 2) {
      if (bytes[at] !== (this.#ending === 0 ? CR : LF)) this.#state = 'unclear';
      at++;
      this.#ending++;
    }
    if (this.#ending === 2 && this.#state === 'chunk') {
      this.#ending = 0;
      this.#state = 'size';
    }
    return at;
  }

  /** Reads one byte of a chunk's size line, or after the last chunk. */
  #step(bytes: Buffer, at: number): number {
    const byte = bytes[at] as number;
    if (this.#state === 'size' && byte !== CR) this.#addDigit(byte);
    else if (this.#state === 'size' && this.#digits > 0) this.#state = 'sizeEnd';
    else if (this.#state === 'sizeEnd' && byte === LF) this.#beginChunk();
    else if (this.#state === 'last' && byte === CR) this.#state = 'lastEnd';
    else if (this.#state === 'lastEnd' && byte === LF) this.#state = 'done';
    else this.#state = 'unclear';
    return at + 1;
  }

  #addDigit(byte: number): void {
    const letter = (byte | 32) - 87;
    const digit = byte >= 48 && byte <= 57 ? byte - 48 : letter >= 10 && letter <= 15 ? letter : -1;
    this.#digits++;
    if (digit < 0 || this.#digits > SIZE_DIGITS) this.#state = 'unclear';
    else this.#size = this.#size * 16 + digit;
  }

  #beginChunk(): void {
    this.#left = this.#size;
    this.#chunks++;
    this.#total += this.#size;
    this.#state = this.#size > 0 ? 'chunk' : 'last';
    this.#size = 0;
    this.#digits = 0;
  }
}
