/**
 * Numbers that keep their meaning. JSON readers hold a number in a double, and an integer beyond 2^53 that a double
 * cannot hold would reach the page as another one: 9007199254740993 as 9007199254740992.
 */

/** An integer of at most 15 digits is exact in a double. */
const MAY_LOSE = /\d{16}|\d[eE]/;
const SHORT = /^-?\d{1,15}$/;
const PARTS = /^-?(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/;

/** 10^23 is in no double: 5^23 alone has more than 53 bits. */
const MOST_TENS = 22;

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

/** Whether a JSON text holds an integer that a double cannot hold exactly. @param json valid JSON */
export function losesDigits(json: string): boolean {
  if (!MAY_LOSE.test(json)) return false;
  for (const { text } of numbersOf(json)) if (!SHORT.test(text) && !keepsDigits(text)) return true;
  return false;
}

/** The same JSON text, with integers of up to 21 digits in full: JavaScript prints 2^60 as 1152921504606847000. */
export function withExactIntegers(json: string): string {
  let exact = '';
  let end = 0;
  for (const { text, at } of numbersOf(json)) {
    if (!/^-?\d{16,}$/.test(text)) continue;
    exact += json.slice(end, at) + BigInt(Number(text));
    end = at + text.length;
  }
  return exact + json.slice(end);
}

/** `1e23` keeps its digits although no double is 10^23: it is how JavaScript prints the one that is nearest. */
function keepsDigits(text: string): boolean {
  const number = Math.abs(Number(text));
  // a number too large for a double is refused elsewhere
  if (!Number.isFinite(number)) return true;
  const asPrinted = /[.eE]/.test(text) ? String(number) : undefined;
  if (asPrinted === text || asPrinted?.replace('e+', 'e') === text) return true;
  const { digits, exponent } = decimal(text);
  if (exponent < 0) return true;
  if (exponent <= MOST_TENS && BigInt(digits) * 10n ** BigInt(exponent) === BigInt(number)) return true;
  if (asPrinted === undefined) return false;
  const printed = decimal(asPrinted);
  return printed.digits === digits && printed.exponent === exponent;
}

/** A number as digits without zeros at either end, times ten to the power of the exponent: 1200 is 12 and 2. */
function decimal(text: string): { digits: string; exponent: number } {
  const [, whole = '', fraction = '', power = '0'] = PARTS.exec(text) ?? [];
  const all = whole + fraction;
  let start = 0;
  let end = all.length;
  while (end > start && all[end - 1] === '0') end--;
  while (start < end && all[start] === '0') start++;
  if (start === end) return { digits: '0', exponent: 0 };
  return { digits: all.slice(start, end), exponent: Number(power) - fraction.length + all.length - end };
}

/** The numbers of a JSON text, outside its strings. @param json valid JSON */
function* numbersOf(json: string): Generator<{ text: string; at: number }> {
  const token = /"|-?\d[\d.eE+-]*/g;
  for (let found = token.exec(json); found; found = token.exec(json)) {
    if (found[0] === '"') token.lastIndex = endOfString(json, found.index + 1);
    else yield { text: found[0], at: found.index };
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
