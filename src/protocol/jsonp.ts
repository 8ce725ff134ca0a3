/**
 * Renders answers as scripts: a guarded call or assignment, and values as text that is safe in a script.
 *
 * A script starts with `/**\/`, so that the caller does not choose the first bytes (Rosetta Flash, 2014: a callback
 * name that is a Flash file). It is ASCII only, so that no charset changes its meaning (UTF-7, GBK), which also covers
 * U+2028 and U+2029, line terminators before ES2019. It contains no `<`, so that it is safe inside an HTML page.
 */
import { withExactIntegers } from './numbers.js';

/**
 * Limit of nested arrays and objects: parsers in browsers recurse, and a page that fails to parse an answer polls for
 * ever.
 */
const MAX_DEPTH = 1000;

/** Renders a value as JSON text that is safe in a script. @throws {TypeError} with the fault of the value */
export const render = (value: unknown): string => safeScript(jsonOf(value));

/** Renders a value as JSON, with all digits of its integers. @throws {TypeError} with the fault of the value */
export function jsonOf(value: unknown): string {
  const large = refuseUnsafe(value);
  const json = JSON.stringify(value) as string | undefined;
  if (json === undefined) throw new TypeError('give a value that JSON can represent');
  return large ? withExactIntegers(json) : json;
}

/** Escapes JSON text for a script. */
export const safeScript = (json: string): string =>
  json.replaceAll('<', '\\u003c').replace(/[\u007f-\uffff]/g, escapeCharacter);

const escapeCharacter = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;

/**
 * A call that does nothing if any part of the name is missing. `call('a.b', '{}')` is
 * `typeof a!="undefined"&&a!=null&&typeof a.b=="function"&&a.b({});`, after the comment.
 */
export function call(name: string, data: string): string {
  if (!name.includes('.')) return `/**/typeof ${name}=="function"&&${name}(${data});`;
  const parts = name.split('.');
  const guards = [`typeof ${parts[0]}!="undefined"`];
  for (let depth = 1; depth < parts.length; depth++) guards.push(`${parts.slice(0, depth).join('.')}!=null`);
  guards.push(`typeof ${name}=="function"`);
  return `/**/${guards.join('&&')}&&${name}(${data});`;
}

/** An assignment to `window.name`; does nothing if the object of a dotted name is missing. */
export function assign(name: string, data: string): string {
  const parts = name.split('.');
  const guards = parts.slice(1).map((_, depth) => `window.${parts.slice(0, depth + 1).join('.')}!=null`);
  return `/**/${guards.length > 0 ? `if(${guards.join('&&')})` : ''}window.${name}=${data};`;
}

/**
 * Refuses values that a script would not represent: `{"__proto__": …}` would set the prototype, and a number too large
 * for a double would become null. Does not recurse, because the value is untrusted.
 * @returns whether the value contains an integer that JavaScript may print with other digits
 */
function refuseUnsafe(value: unknown): boolean {
  let large = false;
  let level: unknown[] = [value];
  for (let depth = 0; level.length > 0; depth++) {
    const next: unknown[] = [];
    for (const item of level) {
      if (typeof item === 'number' && !Number.isFinite(item))
        throw new TypeError('holds a number too large for a double');
      if (typeof item === 'number') large ||= Math.abs(item) > Number.MAX_SAFE_INTEGER;
      if (typeof item !== 'object' || item === null) continue;
      if (depth >= MAX_DEPTH) throw new TypeError(`nested deeper than ${MAX_DEPTH} levels`);
      if (!Array.isArray(item) && Object.hasOwn(item, '__proto__'))
        throw new TypeError(
          'holds an object with a "__proto__" key, which a script would take for its prototype',
        );
      for (const child of Object.values(item)) next.push(child);
    }
    level = next;
  }
  return large;
}
