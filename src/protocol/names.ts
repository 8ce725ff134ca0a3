/**
 * Decides which names a script answer may call or assign.
 *
 * The name comes from the URL. On a page whose Content-Security-Policy allows this host, an injected script URL could
 * otherwise call any function of the page: `callback=document.body.firstElementChild.click`. So a name must have one
 * part that is no global of a browser, or the exact form of a name that a known JSONP client generates.
 */
import { isGlobal } from './globals.js';

/** Reserved words of all editions since ES3, because old browsers run the answers. */
const RESERVED =
  'abstract arguments await boolean break byte case catch char class const continue debugger default delete do double ' +
  'else enum eval export extends false final finally float for function goto if implements import in instanceof int ' +
  'interface let long native new null package private protected public return short static super switch synchronized ' +
  'this throw throws transient true try typeof var void volatile while with yield';
/** Parts that give access to a prototype. */
const PROTOTYPES = 'prototype constructor __proto__';
const REFUSED_PARTS = new Set(`${RESERVED} ${PROTOTYPES}`.split(' '));
const NAME = /^[A-Za-z_$][\w$]*(\.[A-Za-z_$][\w$]*)*$/;
const MAX_LENGTH = 128;

/**
 * Names that JSONP clients generate; `#` stands for digits, `%` for letters, digits and `_`, with at least one digit or
 * `_`. A prefix is not enough: `<form id="angular"><input name="callbacks">` makes `angular.callbacks.click` a method
 * of an element, and no such method has a digit or `_`.
 */
const CLIENT_SHAPES = [
  'tagwait_#.w#.p#',
  'angular.callbacks.%',
  'YUI.Env.JSONP.%',
  'Ext.data.JsonP.%',
  'dojo.io.script.%._jsonpCallback',
  'dojo_request_script_callbacks.%',
  '__gwt_jsonp__.P#.onSuccess',
  '__gwt_jsonp__.P#.onFailure',
  'Request.JSONP.request_map.request_#',
];
const GENERATED = '(?!__)(?=[A-Za-z]*[\\d_])\\w+';
const CLIENT_NAME = oneOf(
  CLIENT_SHAPES.map(shape => quoted(shape).replaceAll('#', '\\d+').replaceAll('%', GENERATED)),
);

type NameUse = 'callback' | 'var';

/** The allowed names, for error answers. */
export const NAME_ALLOWED =
  'give a JavaScript name of at most 128 characters of A-Z a-z 0-9 _ $ that is no reserved word and no global of ' +
  'browsers; with dots, callback may be a name of a known JSONP client, and both may be what TAGWAIT_CALLBACKS lists';

/**
 * Whether the text is a JavaScript name, maybe dotted: at most 128 characters, no reserved word, no part of a
 * prototype.
 */
export function isName(text: string): boolean {
  if (text.length > MAX_LENGTH || !NAME.test(text)) return false;
  return text.includes('.')
    ? !text.split('.').some(part => REFUSED_PARTS.has(part))
    : !REFUSED_PARTS.has(text);
}

/** Whether the text is a pattern for TAGWAIT_CALLBACKS: a name with at most one `*` in each part, not `*` alone. */
export const isNamePattern = (text: string) =>
  text !== '*' && !/\*[^.]*\*/.test(text) && isName(text.replaceAll('*', '_'));

/** The allowed names of a service: the default rule and its TAGWAIT_CALLBACKS. */
export class Names {
  readonly #all: boolean;
  readonly #listed: RegExp | undefined;

  /** @param callbacks patterns, see `isNamePattern`; a single `*` allows every name */
  constructor(callbacks: readonly string[] = []) {
    this.#all = callbacks.length === 1 && callbacks[0] === '*';
    this.#listed =
      callbacks.length > 0
        ? oneOf(callbacks.map(one => quoted(one).replaceAll('*', '[A-Za-z0-9_]*')))
        : undefined;
  }

  /** Whether an answer may call (`callback`) or assign (`var`) this name. */
  allows(use: NameUse, name: string): boolean {
    if (name.length > MAX_LENGTH) return false;
    if (use === 'callback' && CLIENT_NAME.test(name)) return true;
    if (!isName(name)) return false;
    if (this.#all) return true;
    const dotted = name.includes('.');
    if (!dotted && !isGlobal(name)) return true;
    return (dotted || use === 'callback') && !!this.#listed?.test(name);
  }
}

/** Escapes a name for a regular expression: it can contain `.` and `$`; the caller replaces `*`. */
function quoted(text: string): string {
  return text.replace(/[.$]/g, '\\$&');
}

function oneOf(sources: readonly string[]): RegExp {
  return new RegExp(`^(?:${sources.join('|')})$`);
}
