/** Media types of request bodies (RFC 9110 §8.3). */

export const JSON_TYPE = 'application/json';
export const FORM_TYPE = 'application/x-www-form-urlencoded';
/** UTF-8, its label in the Encoding standard, and the part of it that has one byte per character. */
const CHARSETS = ['utf-8', 'utf8', 'us-ascii'];

/** A parameter: name, and value as a token or a quoted string. */
const PARAMETER = /;([^;=]*)=[ \t]*("(?:[^"\\]|\\.)*"|[^;]*)/g;

/** What is allowed, for errors. */
export const MEDIA_TYPES = `Content-Type: give ${JSON_TYPE} or ${FORM_TYPE}, not encoded further, and no charset but utf-8 or us-ascii`;

/**
 * The media type of a body that can be read; undefined for others. Bodies are read as UTF-8: with another charset, a
 * value would change its meaning.
 * @param header value of Content-Type
 */
export function mediaTypeOf(header = ''): typeof JSON_TYPE | typeof FORM_TYPE | undefined {
  const type = header.split(';', 1)[0]?.trim().toLowerCase();
  if (type !== JSON_TYPE && type !== FORM_TYPE) return undefined;
  for (const [, name = '', value = ''] of header.matchAll(PARAMETER))
    if (name.trim().toLowerCase() === 'charset' && !CHARSETS.includes(unquoted(value))) return undefined;
  return type;
}

const unquoted = (value: string) =>
  value
    .trim()
    .replace(/^"(.*)"$/, '$1')
    .replace(/\\(.)/g, '$1')
    .toLowerCase();
