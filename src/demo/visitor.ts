/** Describes the client of a request: browser, device and rough place, so that a person recognises their own login. */
import { lanAddress } from './address.js';

const BROWSERS: [RegExp, string][] = [
  [/\bEdgA?\/|\bEdgiOS\//, 'Edge'],
  [/\bOPR\/|\bOPT\//, 'Opera'],
  [/\bSamsungBrowser\//, 'Samsung Internet'],
  [/\bFirefox\/|\bFxiOS\//, 'Firefox'],
  [/\bChrome\/|\bCriOS\/|\bHeadlessChrome\//, 'Chrome'],
  [/\bSafari\//, 'Safari'],
];
const SYSTEMS: [RegExp, string][] = [
  [/\biPhone\b/, 'iPhone'],
  [/\biPad\b/, 'iPad'],
  [/\bAndroid\b/, 'Android'],
  [/\bCrOS\b/, 'ChromeOS'],
  [/\bWindows\b/, 'Windows'],
  [/\bMac OS X\b/, 'macOS'],
  [/\bLinux\b/, 'Linux'],
];
const first = (table: [RegExp, string][], agent: string) => table.find(([mark]) => mark.test(agent))?.[1];

/** "Firefox on Linux" */
export const browserOf = (agent: string) =>
  `${first(BROWSERS, agent) ?? 'A browser'} on ${first(SYSTEMS, agent) ?? 'an unknown system'}`;

/** "Pixel 8", "iPhone"; "phone" for an Android whose browser hides the model (Chrome sends "K"). */
export function deviceOf(agent: string): string {
  const model = /\bAndroid [\d.]+; ([^;)]{2,40}?)(?: Build\/[^)]*)?\)/.exec(agent)?.[1];
  if (model && !/^(Mobile|Tablet|rv:)/.test(model)) return model;
  if (/\bAndroid\b/.test(agent)) return 'phone';
  return first(SYSTEMS, agent)?.replace(/^(?!iP)/, 'browser on ') ?? 'phone';
}

const plain = (address: string) => address.replace(/^::ffff:(?=\d+\.)/i, '');
const LOOPBACK = /^(127\.|::1$)/;
const PRIVATE = /^(10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|169\.254\.|f[cd]|fe80:)/i;

/** An address without its last part, so that it identifies nobody: "203.0.113.x", "2001:db8:1::". */
export function approximate(address: string): string {
  const known = plain(address);
  if (LOOPBACK.test(known)) return 'the computer that serves this page';
  if (known.includes(':')) return `${known.split(':').slice(0, 3).join(':')}::`.replace(/:{3,}$/, '::');
  return known.replace(/\d+$/, 'x');
}

/** Whether two addresses are probably in one place: both in this network, or behind the same public address. */
export function sameNetwork(one: string, other: string): boolean {
  const own = lanAddress();
  const local = (address: string) => LOOPBACK.test(address) || PRIVATE.test(address) || address === own;
  const [a, b] = [plain(one), plain(other)];
  return (local(a) && local(b)) || approximate(a) === approximate(b);
}
