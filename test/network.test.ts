/** Which address of X-Forwarded-For counts, and which addresses count as one. */
import { expect, test } from 'vitest';
import { clientIn, network } from '../src/network.js';

const long = (length: number) => `2001:db8::1%${'z'.repeat(length - 12)}`;

test.each<[string, number, string | undefined]>([
  ['192.0.2.1', 1, '192.0.2.1'],
  ['192.0.2.9, 192.0.2.1', 1, '192.0.2.1'],
  ['fake, 192.0.2.1, 10.0.0.1', 2, '192.0.2.1'],
  ['fake,192.0.2.1,10.0.0.2,10.0.0.1', 3, '192.0.2.1'],
  ['192.0.2.1, 10.0.0.1', 5, '192.0.2.1'],
  ['192.0.2.1', 2, '192.0.2.1'],
  [',192.0.2.1', 2, undefined],
  [',192.0.2.1', 3, undefined],
  [',,192.0.2.1', 2, undefined],
  ['a,,192.0.2.1', 3, undefined],
  ['fake', 1, undefined],
  ['', 1, undefined],
  ['192.0.2.1:50000', 1, '192.0.2.1'],
  ['192.0.2.1:5', 1, '192.0.2.1'],
  ['192.0.2.1:', 1, undefined],
  ['192.0.2.1:5x', 1, undefined],
  ['x192.0.2.1:50000', 1, undefined],
  ['[2001:db8::1]:50000', 1, '2001:db8::1'],
  ['[2001:db8::1]:5', 1, '2001:db8::1'],
  ['[2001:db8::1]', 1, '2001:db8::1'],
  ['[2001:db8::1]x', 1, undefined],
  ['[2001:db8::1]:', 1, undefined],
  ['x[2001:db8::1]', 1, undefined],
  ['2001:db8::1', 1, '2001:db8::1'],
  [long(80), 1, long(80)],
  [long(81), 1, undefined],
])('of "%s", behind %d proxies', (header, proxies, address) =>
  expect(clientIn(header, proxies)).toBe(address),
);

test.each([
  ['192.0.2.1', '192.0.2.1'],
  ['no address', 'no address'],
  ['no:address', 'no:address'],
  ['::ffff:192.0.2.1', '192.0.2.1'],
  ['64:ff9b::c000:201', '192.0.2.1'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:db8::1', '2001:db8:0:0::/64'],
])('%s counts as %s', (address, counted) => expect(network(address)).toBe(counted));
