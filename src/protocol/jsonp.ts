/**
 * What a script answer is made of: a guarded call or assignment, and values as text that is safe to run.
 *
 * `/**\/` in front keeps the first bytes out of the caller's hands (Rosetta Flash, 2014, made a Flash file of a JSONP
 * answer by way of its callback name). ASCII alone, so that no charset changes what it means (UTF-7, a page in
 * GBK), which also covers U+2028 and U+2029: line ends in scripts before ES2019. No `<`, so that it stays whole
 * inside an HTML page.
 */
import { withExactIntegers } from './numbers.js';

/** Levels of arrays and objects: parsers in pages recurse, and a page that cannot read an answer asks for it for ever. */
const DEEPEST = 1000;

/** A value as JSON text that is also safe script text. @throws {TypeError} naming what is wrong with the value */
export const render = (value: unknown): string => safeScript(jsonOf(value));

/** A value as JSON text, with every digit of its integers. @throws {TypeError} naming what is wrong with the value */
export function jsonOf(value: unknown): string {
  const large = refuseUnsafe(value);
  const json = JSON.stringify(value) as string | undefined;
  if (json === undefined) throw new TypeError('give anything that JSON can say');
  return large ? withExactIntegers(json) : json;
}

/** JSON text as script text. */
export const safeScript = (json: string): string =>
  json.replaceAll('<', '\\u003c').replace(/[\u007f-\uffff]/g, escapeCharacter);

const escapeCharacter = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;

/**
 * A call of `name`, guarded all the way: when any part of the name is missing it does nothing.
 * `data` is the text of an object.
 */
export function call(name: string, data: string): string {
  if (!name.includes('.')) return `/**/typeof ${name}=="function"&&${name}(${data});`;
  const parts = name.split('.');
  const guards = [`typeof ${parts[0]}!="undefined"`];
  for (let depth = 1; depth < parts.length; depth++) guards.push(`${parts.slice(0, depth).join('.')}!=null`);
  guards.push(`typeof ${name}=="function"`);
  return `/**/${guards.join('&&')}&&${name}(${data});`;
}

/** An assignment to `window.name`; for a dotted name, only where what it belongs to is there. */
export function assign(name: string, data: string): string {
  const parts = name.split('.');
  const guards = parts.slice(1).map((_, depth) => `window.${parts.slice(0, depth + 1).join('.')}!=null`);
  return `/**/${guards.length > 0 ? `if(${guards.join('&&')})` : ''}window.${name}=${data};`;
}

/**
 * Refuses what a script literal could not say as it was meant: `{"__proto__": …}` would set the prototype, and a
 * number too large for a double would come out as null. Walks without recursion: the value comes from outside.
 * @returns whether it holds an integer that JavaScript may print with other digits
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
      if (depth >= DEEPEST) throw new TypeError(`nested deeper than ${DEEPEST} levels`);
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
