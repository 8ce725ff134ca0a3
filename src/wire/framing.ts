/** Finds the end of a request that Node's HTTP server reads, by counting its bytes. */

/** Length of a body, or chunked, or unclear: then all following bytes count as part of the request. */
export type Body = number | 'chunked' | 'unclear';

const CR = 13;
const LF = 10;
const SEMICOLON = 59;
const COLON = 58;
/** Limit of hexadecimal digits in a chunk's size, for clients that pad it with zeros; and limit of the size, bytes. */
const SIZE_DIGITS = 16;
const CHUNK_BYTES = 0xffff_ffff;
/** After 256 chunks, their average must be 64 bytes: Node's HTTP server takes 2 µs per chunk. */
const FINE_CHUNKS = 256;
const MIN_CHUNK = 64;

/** The bytes of a header's name. */
const NAME = bytesOf(/[\w!#$%&'*+.^`|~-]/);
/** The bytes of a header's value, and of a chunk's extension. A single CR or LF ends a line for some servers. */
const VALUE = bytesOf(/[\t -~\x80-\xff]/);
const EXTENSION = bytesOf(/[ -~]/);

/** Which bytes match. */
function bytesOf(pattern: RegExp): boolean[] {
  return Array.from({ length: 256 }, (_, byte) => pattern.test(String.fromCharCode(byte)));
}

/**
 * counting: in the head, and in a body with a length; size, extension, sizeEnd: in the size line of a chunk; chunk: in its
 * data; dataEnd, dataCr: in the CRLF after the data; last: at the start of a line after the last chunk; name, value,
 * trailerEnd: in a trailer; lastEnd: before the last LF; invalid: the chunks are in a form that servers read in different
 * ways; unclear: the head is
 */
type State =
  | 'counting'
  | 'size'
  | 'extension'
  | 'sizeEnd'
  | 'chunk'
  | 'dataEnd'
  | 'dataCr'
  | 'last'
  | 'name'
  | 'value'
  | 'trailerEnd'
  | 'lastEnd'
  | 'done'
  | 'invalid'
  | 'unclear';

/** Counts chunks in the form of RFC 9112 §7.1, with CRLF only: all servers read that in the same way. */
export class Framing {
  /** bytes left: of the head, of a body with a length, or of a chunk */
  #left: number;
  #state: State;
  readonly #chunked: boolean;
  #size = 0;
  #digits = 0;
  /** number of chunks so far, and their total size, bytes */
  #chunks = 0;
  #total = 0;
  #unusual = false;

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

  /** The head does not say where the request ends. */
  get unclear(): boolean {
    return this.#state === 'unclear';
  }

  /** The body has an extension of a chunk, or a trailer. Few clients send them, and some servers misread them. */
  get unusual(): boolean {
    return this.#unusual;
  }

  /** The body is to be refused: its chunks are invalid, or too many are small. */
  get refused(): boolean {
    return this.#state === 'invalid' || this.tooFine;
  }

  /** The body has too many small chunks. */
  get tooFine(): boolean {
    return this.#chunks > FINE_CHUNKS && this.#total < this.#chunks * MIN_CHUNK;
  }

  /** @returns the number of these bytes that belong to the request */
  take(bytes: Buffer): number {
    let at = 0;
    while (at < bytes.length && this.#state !== 'done') {
      if (this.#state === 'unclear' || this.#state === 'invalid') return bytes.length;
      if (this.#state === 'counting' || this.#state === 'chunk') at = this.#skip(bytes, at);
      else this.#state = this.#after(bytes[at++] as number);
    }
    return at;
  }

  #skip(bytes: Buffer, at: number): number {
    const taken = Math.min(this.#left, bytes.length - at);
    this.#left -= taken;
    if (this.#left > 0) return at + taken;
    this.#state = this.#state === 'chunk' ? 'dataEnd' : this.#chunked ? 'size' : 'done';
    return at + taken;
  }

  /** @returns the state after a byte of a line */
  #after(byte: number): State {
    switch (this.#state) {
      case 'size':
        return this.#afterSize(byte);
      case 'extension':
        return byte === CR ? 'sizeEnd' : EXTENSION[byte] ? 'extension' : 'invalid';
      case 'sizeEnd':
        return byte === LF ? this.#beginChunk() : 'invalid';
      case 'last':
        return byte === CR ? 'lastEnd' : this.#afterName(byte);
      case 'name':
        return byte === COLON ? 'value' : this.#afterName(byte);
      case 'value':
        return byte === CR ? 'trailerEnd' : VALUE[byte] ? 'value' : 'invalid';
      case 'trailerEnd':
        return byte === LF ? 'last' : 'invalid';
      case 'lastEnd':
        return byte === LF ? 'done' : 'invalid';
      case 'dataEnd':
        return byte === CR ? 'dataCr' : 'invalid';
      default:
        return byte === LF ? 'size' : 'invalid';
    }
  }

  #afterName(byte: number): State {
    this.#unusual = true;
    return NAME[byte] ? 'name' : 'invalid';
  }

  #afterSize(byte: number): State {
    if (this.#digits > 0 && byte === CR) return 'sizeEnd';
    if (this.#digits > 0 && byte === SEMICOLON) {
      this.#unusual = true;
      return 'extension';
    }
    const letter = (byte | 32) - 87;
    const digit = byte >= 48 && byte <= 57 ? byte - 48 : letter >= 10 && letter <= 15 ? letter : -1;
    this.#digits++;
    this.#size = this.#size * 16 + digit;
    return digit < 0 || this.#digits > SIZE_DIGITS || this.#size > CHUNK_BYTES ? 'invalid' : 'size';
  }

  #beginChunk(): State {
    this.#left = this.#size;
    this.#chunks++;
    this.#total += this.#size;
    this.#size = 0;
    this.#digits = 0;
    return this.#left > 0 ? 'chunk' : 'last';
  }
}
