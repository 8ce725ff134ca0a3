/**
 * Numbers that keep their meaning. JSON readers hold a number in a double, and an integer beyond 2^53 that a double
 * cannot hold would reach the page as another one: 9007199254740993 as 9007199254740992.
 */

/** Only a text with one of these can hold an integer of more than 15 digits. */
const MAY_LOSE = /\d{16}|\d[eE]/;
/** Decimals of at most so many digits are all different as doubles, and each is printed as it was written. */
const EXACT_DIGITS = 15;
/** JavaScript prints as many at most. */
const PRINTED_DIGITS = 17;
const LIMIT = 2 ** 53;
/** 10^23 is in no double: 5^23 alone has more than 53 bits. */
const POWERS_OF_5 = Array.from({ length: 23 }, (_, power) => 5 ** power);

/** A number of a form as it was written, which is how JavaScript prints it too. */
export class WrittenNumber {
  constructor(readonly text: string) {}

  /** For `JSON.stringify`. */
  toJSON(): number {
    return Number(this.text);
  }
}

/** @returns the number when this text is exactly what JavaScript prints for one */
export function writtenNumber(text: string): WrittenNumber | undefined {
  const number = Number(text);
  return Number.isFinite(number) && String(number) === text ? new WrittenNumber(text) : undefined;
}

/**
 * Where a JSON text holds an integer that a double cannot hold exactly; undefined: nowhere.
 * @param json valid JSON
 */
export function losesDigits(json: string): number | undefined {
  if (!MAY_LOSE.test(json)) return undefined;
  const numbers = new Numbers(json);
  while (numbers.next()) if (numbers.integer && !keepsDigits(numbers)) return numbers.start;
  return undefined;
}

/** The same JSON text, with integers of up to 21 digits in full: JavaScript prints 2^60 as 1152921504606847000. */
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
 * `1e23` keeps its digits although no double is 10^23: it is how JavaScript prints the one that is nearest.
 * Costs little for each byte: what takes long is done for long numbers alone.
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
  return printed.next() && printed.size === integer.size && printed.digitsText() === integer.digitsText();
}

const ZERO = 48;
const NINE = 57;
const MINUS = 45;
const POINT = 46;
const QUOTE = 34;
const LETTER_E = 101;
/** Makes a letter small. */
const SMALL = 32;
/** Beyond what any number of a body could make up for with its digits. */
const MAX_POWER = 1e9;
const isDigit = (code: number) => code >= ZERO && code <= NINE;

/** Goes through the numbers of a JSON text, outside its strings, and makes nothing for the short ones. */
class Numbers {
  /** where the present one begins and ends */
  start = 0;
  end = 0;
  /** without a point and an exponent */
  plain = true;
  /** digits without zeros at either end; 0 for zero */
  digits = 0;
  /** of ten, for the last of these: 1200 is 12 and 2 */
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

  /** digits before its point, when it is an integer */
  get size(): number {
    return this.digits + this.exponent;
  }

  digitsText(): string {
    return this.#json.slice(this.#first, this.#last + 1).replace('.', '');
  }

  /** The number that its digits are. */
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

  /** @param from its first digit */
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

  /** @param from what follows the `e` */
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
