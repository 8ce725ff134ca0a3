/** The numbers of a JSON text, against a reading with big integers that no double takes part in. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { losesDigits, withExactIntegers, writtenNumber } from '../src/protocol/numbers.js';

/** An integer's value; undefined for what has a fraction. */
function integer(text: string): bigint | undefined {
  const [, sign, whole = '', fraction = '', power = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/i.exec(text) ?? [];
  const exponent = Number(power) - fraction.length;
  const digits = BigInt(`${sign}${whole}${fraction}`);
  if (digits === 0n) return 0n;
  if (exponent >= 0) return digits * 10n ** BigInt(exponent);
  const divisor = 10n ** BigInt(-exponent);
  return digits % divisor === 0n ? digits / divisor : undefined;
}
/** A number with a point or an exponent may also be the very one that JavaScript prints. */
function loses(text: string): boolean {
  const double = Number(text);
  if (!Number.isFinite(double)) return false;
  const value = integer(text);
  if (value === undefined || value === BigInt(double)) return false;
  return !/[.e]/i.test(text) || integer(String(double)) !== value;
}

const digits = fc.bigInt({ min: 0n, max: 10n ** 20n }).map(String);
const short = fc.bigInt({ min: 0n, max: 10n ** 16n }).map(String);
const number = fc.oneof(
  fc.bigInt({ min: -(10n ** 24n), max: 10n ** 24n }).map(String),
  fc.tuple(fc.nat(2 ** 20), fc.nat(70)).map(([n, bits]) => String(BigInt(n) << BigInt(bits))),
  fc.tuple(short, fc.nat(10)).map(([n, zeros]) => n + '0'.repeat(n === '0' ? 0 : zeros)),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(n => JSON.stringify(n)),
  fc
    .tuple(fc.constantFrom('', '-'), short, fc.oneof(digits, fc.constantFrom('0', '000', '10', '5')))
    .map(([sign, whole, fraction]) => `${sign}${whole}.${fraction}`),
  fc
    .tuple(
      short,
      fc.constantFrom('', '.0', '.5', '.250', '.000000000000001'),
      fc.constantFrom('e', 'E', 'e+', 'E-'),
      fc.nat(40),
    )
    .map(([whole, fraction, e, power]) => `${whole}${fraction}${e}${power}`),
);

test('losesDigits: where a number is that is an integer and that its double is not', () => {
  fc.assert(
    fc.property(number, text => {
      expect(losesDigits(text), text).toBe(loses(text) ? 0 : undefined);
      expect(losesDigits(`{"a":[${text},1]}`), text).toBe(loses(text) ? 6 : undefined);
    }),
    { numRuns: 2000 },
  );
});

test.each([
  ...['0', '-0', '0.0', '0e5', '0e9999999999', '0.000e20', '1e22', '1e23', '1.0e23', '123456789012345e8'],
  ...['9007199254740991', '9007199254740992', '9007199254740993', '-9007199254740993', '9007199254740994'],
  ...[
    '9007199254740993.0',
    '90071992547409930e-1',
    '9007199254740993e1',
    '900719925474099.3e1',
    '9.007199254740993e15',
  ],
  ...[
    '1e308',
    '1e309',
    '9e9999999999',
    '17976931348623157e292',
    '17976931348623157e293',
    '12345678901234567.5e300',
    '1e-400',
    '5e-324',
    '0.1',
    '123456789012345678.5',
  ],
  ...[
    '1000000000000000000000',
    '1000000000000000000001',
    '100000000000000000000000',
    '80000000000000000000000',
    '12345678901234567000',
    '4503599627370496e7',
  ],
  ...[
    '1.2345678901234567e16',
    '1.2345678901234567e17',
    '12345678901234567e3',
    '123456789012345678e3',
    '1152921504606847e3',
  ],
])('losesDigits of %s', text => expect(losesDigits(text)).toBe(loses(text) ? 0 : undefined));

const LOST = '9007199254740993';
test.each([
  [`"${LOST}"`, false],
  [`["\\"${LOST}"]`, false],
  [`["\\\\",${LOST}]`, true],
  [`["\\\\\\"${LOST}"]`, false],
  [`["\\\\\\\\",${LOST}]`, true],
  [`{"":${LOST}}`, true],
  [`[""," ${LOST} "]`, false],
  [`{"${LOST}":"","b":${LOST}}`, true],
  [`[1,2.5,-3e2,${LOST}]`, true],
  [`[${LOST},1]`, true],
  ['[1.5e3,"a",0.25]', false],
  [`[0,-0,0.0,0e5,${LOST}]`, true],
])('losesDigits of %s is %s: what a string holds is no number', (json, lost) => {
  expect(losesDigits(json) !== undefined).toBe(lost);
});

test('withExactIntegers: every integer as the double that it is, up to where an exponent is printed; all else as it stands', () => {
  const double = fc.oneof(
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.tuple(fc.integer(), fc.nat(45)).map(([n, bits]) => n * 2 ** bits),
  );
  const value = fc.array(
    fc.oneof(double, fc.string({ unit: 'binary-ascii', maxLength: 6 }), fc.constant('1152921504606847000')),
  );
  fc.assert(
    fc.property(value, items => {
      const parts = items.map(item =>
        typeof item === 'number' && Number.isInteger(item) && Math.abs(item) < 1e21
          ? String(BigInt(item))
          : JSON.stringify(item),
      );
      expect(withExactIntegers(JSON.stringify(items))).toBe(`[${parts}]`);
    }),
    { numRuns: 300 },
  );
});

test.each([
  ['1152921504606847000', '1152921504606846976'],
  ['[1152921504606847000,"1152921504606847000"]', '[1152921504606846976,"1152921504606847000"]'],
  ['-1152921504606847000', '-1152921504606846976'],
  ['[1,18446744073709552000,2.5]', '[1,18446744073709551616,2.5]'],
  ['9007199254740992', '9007199254740992'],
  ['1e+21', '1e+21'],
  ['[0,-1152921504606847000,0]', '[0,-1152921504606846976,0]'],
])('withExactIntegers of %s', (printed, exact) => expect(withExactIntegers(printed)).toBe(exact));

test('writtenNumber: a text that is what JavaScript prints', () => {
  fc.assert(
    fc.property(
      fc.oneof(number, fc.string({ maxLength: 5 }), fc.constantFrom('Infinity', '-Infinity', 'NaN', '')),
      text => {
        const printed = Number.isFinite(Number(text)) && String(Number(text)) === text;
        const written = writtenNumber(text);
        expect(written?.text).toBe(printed ? text : undefined);
        if (written) expect(JSON.stringify({ a: written })).toBe(JSON.stringify({ a: Number(text) }));
      },
    ),
  );
});
