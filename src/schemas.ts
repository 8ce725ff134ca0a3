/** Checks of single settings, as zod schemas over the text of a flag or variable. */
import { z } from 'zod';
import * as redis from './brokers/redis/address.js';

/** A decimal number; not `0x10`, not `1_000`. */
const DECIMAL = /^\s*-?\d+(\.\d+)?(e[+-]?\d+)?\s*$/i;
const decimal = (min: number, max: number) =>
  z.string().regex(DECIMAL).transform(Number).pipe(z.number().min(min).max(max));
export const integer = (min: number, max: number) => decimal(min, max).pipe(z.int());
/** A schema and the text of its bounds, which appears in help and errors. */
export const seconds = (min: number, max: number) => ({
  schema: decimal(min, max),
  allowed: `${min} to ${max} seconds`,
});
export const whole = (min: number, max: number) => ({
  schema: integer(min, max),
  allowed: `${min} to ${max}`,
});
export const limit = (max: number) => ({ schema: integer(0, max), allowed: `0 (no limit) to ${max}` });
export const listOf = (isItem: (part: string) => boolean) =>
  z
    .string()
    .transform(text => text.split(',').map(part => part.trim()))
    .refine(parts => parts.every(isItem));
export const list = (item: RegExp) => listOf(part => item.test(part));
export const flag = z.enum(['1', 'true', '0', 'false']).transform(text => text === '1' || text === 'true');

export const host = z.string().regex(/^[^\s/]+$/);
export const port = whole(0, 65535);
export const addresses = list(/./).refine(parts => redis.parseServers(parts) !== undefined);
const ORIGIN = /^(https?:\/\/)(\*\.)?([^\s/?#@\\*,]+)$/i;
/**
 * An origin as browsers send it: lower case, no default port, an international name in its ASCII form. Keeps a first
 * label `*`. Example: `HTTPS://*.Example.com:443` is `https://*.example.com`. @returns undefined if the text is not an
 * origin
 */
function normalOrigin(text: string): string | undefined {
  const [, scheme = '', wildcard = '', host = ''] = ORIGIN.exec(text) ?? [];
  if (!URL.canParse(scheme + host)) return undefined;
  const url = new URL(scheme + host);
  return `${url.protocol}//${wildcard}${url.host}`;
}
export const origins = z.string().transform((text, { issues }) => {
  const given = text.split(',').map(part => normalOrigin(part.trim()));
  if (given.includes(undefined)) issues.push({ code: 'custom', input: text });
  return given.filter(origin => origin !== undefined);
});
/** A comma-separated list of secrets or tokens: printable ASCII without space and comma. */
export const tokens = list(/^[\x21-\x2b\x2d-\x7e]{1,256}$/);
