/**
 * Detects and keeps large integers. JSON parsers read a number as a double, and an integer beyond 2^53 that a double
 * cannot represent would reach the page as another one: 9007199254740993 as 9007199254740992.
 */

/** Matches every text that contains an integer of more than 15 digits. */
const MAY_LOSE = /\d{16}|\d[eE]/;
/** Decimals of up to 15 digits are distinct as doubles, and JavaScript prints them as they were written. */
const EXACT_DIGITS = 15;
/** JavaScript prints at most 17 significant digits. */
const PRINTED_DIGITS = 17;
const LIMIT = 2 ** 53;
/** Up to 5^22: no double is exactly 10^23, because 5^23 has more than 53 bits. */
const POWERS_OF_5 = Array.from({ length: 23 }, (_, power) => 5 ** power);

/** A number from a form body, with its text, which is also how JavaScript prints the number. */
export class WrittenNumber {
  constructor(readonly text: string) {}

  /** For `JSON.stringify`. */
  toJSON(): number {
    return Number(this.text);
  }
}

/** @returns undefined unless the text is exactly what JavaScript prints for a number */
export function writtenNumber(text: string): WrittenNumber | undefined {
  const number = Number(text);
  return Number.isFinite(number) && String(number) === text ? new WrittenNumber(text) : undefined;
}

/**
 * The position of the first integer in a JSON text that a double cannot represent; undefined: there is none.
 * @param json valid JSON
 */
export function losesDigits(json: string): number | undefined {
  if (!MAY_LOSE.test(json)) return undefined;
  const numbers = new Numbers(json);
  while (numbers.next()) if (numbers.integer && !keepsDigits(numbers)) return numbers.start;
  return undefined;
}

/** The JSON text with all digits of integers up to 21 digits: JavaScript prints 2^60 as 1152921504606847000. */
export function withExactIntegers(json: string): string {
  const numbers = new Numbers(json);
  let exact = '';
  let end = 0;
  while (numbers.next()) {
    if (!numbers.plain || numbers.size <= PRINTED_DIGITS - 1 || isExact(numbers)) continue;
    exact += json.slice(end, numbers.start) + BigInt(Number(numbers.text));
    end = numbers.end;
  }
  return exact + json.slice(end);
}

/**
 * Whether a double keeps the digits of an integer. `1e23` does although no double is 10^23: JavaScript prints the
 * nearest double like that. Cheap for short numbers.
 */
function keepsDigits(integer: Numbers): boolean {
  if (integer.size <= EXACT_DIGITS) return true;
  if (integer.plain) return isExact(integer) || !Number.isFinite(Number(integer.text));
  if (integer.digits <= EXACT_DIGITS || isExact(integer)) return true;
  // one that is too large for a double is refused elsewhere
  if (!Number.isFinite(Number(integer.text))) return true;
  return integer.digits <= PRINTED_DIGITS && isPrinted(integer);
}

/** Whether a double is exactly this integer. */
function isExact(integer: Numbers): boolean {
  const { digits, exponent } = integer;
  if (exponent >= POWERS_OF_5.length) return false;
  if (digits <= EXACT_DIGITS) return isExactProduct(integer.significant(), exponent);
  const text = integer.plain ? integer.text : integer.digitsText() + '0'.repeat(exponent);
  const number = Number(text);
  return Math.abs(number) < LIMIT || (Number.isFinite(number) && BigInt(text) === BigInt(number));
}

/** Whether a double is exactly number × 10^power. @param number an integer below 2^53 */
function isExactProduct(number: number, power: number): boolean {
  let odd = number;
  while (odd % 2 === 0) odd /= 2;
  return odd * (POWERS_OF_5[power] as number) < LIMIT;
}

/** Whether JavaScript prints it with these digits. */
function isPrinted(integer: Numbers): boolean {
  const printed = new Numbers(String(Math.abs(Number(integer.text))));
  return printed.next() && printed.digitsText() === integer.digitsText();
}

const ZERO = 48;
const NINE = 57;
const MINUS = 45;
const POINT = 46;
const QUOTE = 34;
const LETTER_E = 101;
/** Bit that makes an ASCII letter lower case. */
const SMALL = 32;
/** Larger exponents than this are cut: no body has enough digits to compensate. */
const MAX_POWER = 1e9;
const isDigit = (code: number) => code >= ZERO && code <= NINE;

/** Iterates over the numbers of a JSON text, outside its strings, without allocations for short numbers. */
class Numbers {
  /** start and end of the current number */
  start = 0;
  end = 0;
  /** it has no decimal point and no exponent */
  plain = true;
  /** number of digits without leading and trailing zeros; 0 for zero */
  digits = 0;
  /** power of ten of the last of these digits: 1200 has digits 12 and exponent 2 */
  exponent = 0;
  readonly #json: string;
  #first = 0;
  #last = 0;

  /** @param json valid JSON */
  constructor(json: string) {
    this.#json = json;
  }

  get text(): string {
    return this.#json.slice(this.start, this.end);
  }

  get integer(): boolean {
    return this.exponent >= 0;
  }

  /** for an integer: number of digits before the point */
  get size(): number {
    return this.digits + this.exponent;
  }

  digitsText(): string {
    return this.#json.slice(this.#first, this.#last + 1).replace('.', '');
  }

  /** The digits as a number. */
  significant(): number {
    return Number(this.digitsText());
  }

  next(): boolean {
    const json = this.#json;
    for (let at = this.end; at < json.length; at++) {
      const code = json.charCodeAt(at);
      if (code === QUOTE) at = endOfString(json, at + 1) - 1;
      else if (code === MINUS || isDigit(code)) {
        this.start = at;
        this.#read(code === MINUS ? at + 1 : at);
        return true;
      }
    }
    return false;
  }

  /** @param from position of its first digit */
  #read(from: number): void {
    const json = this.#json;
    let at = from;
    let first = -1;
    let last = -1;
    let point = -1;
    let code = json.charCodeAt(at);
    for (; isDigit(code) || code === POINT; code = json.charCodeAt(++at)) {
      if (code === POINT) point = at;
      else if (code !== ZERO) {
        last = at;
        if (first < 0) first = at;
      }
    }
    this.plain = point < 0 && (code | SMALL) !== LETTER_E;
    this.end = at;
    const power = (code | SMALL) === LETTER_E ? this.#readPower(at + 1) : 0;
    const whole = point < 0 ? at : point;
    this.#first = first;
    this.#last = last;
    this.digits = first < 0 ? 0 : last - first + (first < point && point < last ? 0 : 1);
    this.exponent = first < 0 ? 0 : power + whole - last - (last < whole ? 1 : 0);
  }

  /** @param from position after the `e` */
  #readPower(from: number): number {
    const json = this.#json;
    const sign = json.charCodeAt(from);
    let at = isDigit(sign) ? from : from + 1;
    let power = 0;
    for (let code = json.charCodeAt(at); isDigit(code); code = json.charCodeAt(++at))
      power = Math.min(power * 10 + code - ZERO, MAX_POWER);
    this.end = at;
    return sign === MINUS ? -power : power;
  }
}

/** @param from the first character of a string @returns the position after its closing quote */
function endOfString(json: string, from: number): number {
  for (let at = json.indexOf('"', from); at >= 0; at = json.indexOf('"', at + 1)) {
    let slashes = 0;
    while (json[at - 1 - slashes] === '\\') slashes++;
    if (slashes % 2 === 0) return at + 1;
  }
  return json.length;
}
