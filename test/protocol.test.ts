/** The protocol as functions, without a server: a query is read, a name is allowed, an answer is written, to the letter. */
import { describe, expect, test } from 'vitest';
import { type Answer, EXPIRED, FORBIDDEN, fitting, MAX_ANSWER, textOf } from '../src/protocol/answers.js';
import { assign, call, render } from '../src/protocol/jsonp.js';
import { isName, isNamePattern, NAME_ALLOWED, Names } from '../src/protocol/names.js';
import {
  BadParameter,
  decodeEscapes,
  KEY_ALLOWED,
  parseForm,
  parseParameters,
  parseQuery,
  QUERY_BYTES,
  queryString,
} from '../src/protocol/query.js';

test.each([
  ['/status/get', ''],
  ['/status/get?', ''],
  ['/a?key=b', 'key=b'],
  ['?a?b', 'a?b'],
])('the query of %s', (target, query) => expect(queryString(target)).toBe(query));

describe('split', () => {
  test.each([
    ['', {}],
    ['key=a', { key: 'a' }],
    ['key', { key: '' }],
    ['key=', { key: '' }],
    ['key=a=b', { key: 'a=b' }],
    ['&&key=a&', { key: 'a' }],
    ['=key&key=a', { key: 'a' }],
    [
      '_=1&since=2&hold=3&proof=4&var=5&callback=6&key=7',
      { since: '2', hold: '3', proof: '4', var: '5', callback: '6', key: '7' },
    ],
    ['ke=a&keys=a&KEY=a&callbacks=b&k%00y=a&va=1', {}],
    ['%6Bey=a', { key: 'a' }],
    ['%76%61%72=a', { var: 'a' }],
    ['%63%61%6c%6c%62%61%63%6b=a+b', { callback: 'a b' }],
    ['%63%61%6c%6c%62%61%63%6b%5f=a', {}],
    ['%ff%ff%ff=a', {}],
    ['key=%41%20b', { key: 'A b' }],
  ])('%s', (query, given) => {
    expect(parseParameters(query)).toEqual({ given, twice: [], garbled: [], tooLong: false });
  });

  test.each([
    ['key=a&key=b', { given: { key: 'a' }, further: { key: ['b'] }, twice: ['key'], garbled: [] }],
    [
      'key=a&key=b&key=c&var=1&var',
      { given: { key: 'a', var: '1' }, further: { key: ['b', 'c'] }, twice: ['key', 'var'], garbled: [] },
    ],
    ['key&key=b', { given: { key: '' }, further: { key: ['b'] }, twice: ['key'], garbled: [] }],
    ['key=%ff&var=%', { given: { key: '', var: '' }, twice: [], garbled: ['key', 'var'] }],
    ['key=%ff&key=a', { given: { key: '' }, further: { key: ['a'] }, twice: ['key'], garbled: ['key'] }],
  ])('%s: twice, or garbled', (query, parameters) => {
    expect(parseParameters(query)).toEqual({ ...parameters, tooLong: false });
  });

  test('of a list at most 17 values are decoded', () => {
    const query = Array.from({ length: 40 }, () => 'since=%ff').join('&');
    expect(parseParameters(query)).toEqual({
      given: { since: '' },
      further: { since: Array.from({ length: 16 }, () => '') },
      twice: ['since'],
      garbled: ['since'],
      tooLong: false,
    });
  });

  test('of a query that is too long the whole pairs of its first bytes are read', () => {
    const fill = (text: string, length: number) => `${text}${'x'.repeat(length - text.length)}`;
    expect(parseParameters(fill('key=a&_=', QUERY_BYTES))).toMatchObject({
      given: { key: 'a' },
      tooLong: false,
    });
    expect(parseParameters(fill('key=a&_=', QUERY_BYTES + 1))).toMatchObject({
      given: { key: 'a' },
      tooLong: true,
    });
    const none = { given: {}, twice: [], garbled: [], tooLong: true };
    expect(parseParameters(fill('key=', QUERY_BYTES + 1))).toEqual(none);
    const cut = `${fill('_=', QUERY_BYTES - 5)}&key=a`;
    expect(parseParameters(cut)).toEqual(none);
    const more = `${fill('_=', QUERY_BYTES - 6)}&key=a&var=b`;
    expect(parseParameters(more)).toEqual({ ...none, given: { key: 'a' } });
  });
});

test.each([
  ['a+b%2B', 'a b+'],
  ['+', ' '],
  ['%e2%82%ac', '€'],
  ['%F0%9F%98%80', '😀'],
  ['%zz', undefined],
  ['%c0%80', undefined],
  ['%ed%a0%80', undefined],
  ['%', undefined],
])('decodeEscapes of %s', (text, decoded) => expect(decodeEscapes(text)).toBe(decoded));

describe('the form of an answer', () => {
  const names = new Names();
  const form = (query: string) => parseForm(parseParameters(query), names);
  test.each([
    ['key=a', { mode: 'json', name: '' }],
    ['callback=cb', { mode: 'callback', name: 'cb' }],
    ['var=cb', { mode: 'var', name: 'cb' }],
  ])('%s', (query, expected) => expect(form(query)).toEqual(expected));
  test.each([
    ['callback=a&var=b', 'callback, var: give one of them, not both'],
    ['callback=&var=', 'callback, var: give one of them, not both'],
    ['callback=a&callback=b', 'callback: give it once'],
    ['var=a&var=b', 'var: give it once'],
    ['callback=%ff', `callback: ${NAME_ALLOWED}`],
    ['var=%ff', `var: ${NAME_ALLOWED}`],
    ['callback=', `callback: ${NAME_ALLOWED}`],
    ['callback=alert', `callback: ${NAME_ALLOWED}`],
    ['var=a.b', `var: ${NAME_ALLOWED}`],
  ])('%s is refused', (query, message) => expect(form(query)).toEqual(new BadParameter(message)));
});

describe('a question', () => {
  const ask = (query: string, longest = 25) => parseQuery(parseParameters(query), longest);
  const key = 'k'.repeat(128);
  test.each([
    ['key=a', 25, { key: 'a', since: '', hold: 25, proof: '' }],
    [`key=${key}&since=e-1&hold=5&proof=p`, 25, { key, since: 'e-1', hold: 5, proof: 'p' }],
    ['key=aZ09._~:-&hold=0', 25, { key: 'aZ09._~:-', since: '', hold: 0, proof: '' }],
    ['key=a&hold=25', 25, { key: 'a', since: '', hold: 25, proof: '' }],
    ['key=a&hold=0.125', 25, { key: 'a', since: '', hold: 0.125, proof: '' }],
    ['key=a&hold=1', 0.5, { key: 'a', since: '', hold: 0.5, proof: '' }],
    ['key=a&hold=9999', 10_000, { key: 'a', since: '', hold: 9999, proof: '' }],
    [`key=a&proof=${'p'.repeat(128)}`, 25, { key: 'a', since: '', hold: 25, proof: 'p'.repeat(128) }],
    ['key=a&callback=alert&callback=%', 25, { message: 'callback: give it once' }],
    [`key=a&poll=${'p'.repeat(32)}`, 25, { poll: 'p'.repeat(32), drop: '' }],
    ['key=a&drop=aZ09_-', 25, { poll: '', drop: 'aZ09_-' }],
  ])('%s, with a longest hold of %d s', (query, longest, expected) => {
    expect(ask(query, longest)).toMatchObject(expected);
  });
  const hold = 'hold: give seconds from 0 to 25';
  test.each([
    ['', KEY_ALLOWED],
    ['key=', KEY_ALLOWED],
    [`key=${key}k`, KEY_ALLOWED],
    ['key=a%20b', KEY_ALLOWED],
    ['key=a%0A', KEY_ALLOWED],
    ['key=a&key=a', 'key: give it once'],
    ['key=a&proof=%ff', 'proof: its percent-encoding is broken; give UTF-8'],
    ['key=a&since=%20', 'since: give the cursor of the last answer, or nothing'],
    [`key=a&since=${'s'.repeat(65)}`, 'since: give the cursor of the last answer, or nothing'],
    ...['25.001', '26', '', '-1', 'a', '1e1', '.5', '1.', '0.1234', '00001', '1,5', '5s', 's5'].map(given => [
      `key=a&hold=${given}`,
      hold,
    ]),
    [`key=a&proof=${'p'.repeat(129)}`, 'proof: give the proof of the ticket'],
    ...['poll', 'drop'].flatMap(name =>
      ['', '!', '!a', 'a.b', 'a!', 'a%0A', 'p'.repeat(33)].map(given => [
        `key=a&${name}=${given}`,
        `${name}: give 1 to 32 of A-Z a-z 0-9 _ -`,
      ]),
    ),
    [`key=a&_=${'x'.repeat(QUERY_BYTES)}`, `the query: give at most ${QUERY_BYTES} bytes`],
  ])('%s is refused', (query, message) =>
    expect(ask(query as string)).toEqual(new BadParameter(message as string)),
  );
  test('a page may always ask for a second', () => {
    expect(ask('key=a&hold=1.001', 0.5)).toEqual(new BadParameter('hold: give seconds from 0 to 0.5'));
    expect(new BadParameter('x').unreadable).toBe(false);
  });
});

describe('names', () => {
  test.each(['a', '$', '_1', 'a.b', 'n'.repeat(128), 'a.$.b9'])('%s is a name', name =>
    expect(isName(name)).toBe(true),
  );
  test.each([
    ...['', '1a', 'a-b', '.a', 'a.', 'a..b', 'a.1', 'n'.repeat(129), 'a\n', 'é', ' a'],
    ...[
      'abstract',
      'double',
      'else',
      'goto',
      'int',
      'interface',
      'switch',
      'this',
      'yield',
      'with',
      'a.if',
      'if.a',
    ],
    ...['prototype', 'constructor', '__proto__', 'a.constructor.b'],
  ])('%s is none', name => expect(isName(name)).toBe(false));
  test.each(['a*', 'a.*', '*.b', '*a', 'a*.b*'])('%s is a pattern', text =>
    expect(isNamePattern(text)).toBe(true),
  );
  test.each(['*', 'a**', '*a*', 'a.*b*', '', 'if', '-*'])('%s is no pattern', text =>
    expect(isNamePattern(text)).toBe(false),
  );
});

test('only `*` alone allows every name', () => {
  expect(new Names(['*']).allows('var', 'alert')).toBe(true);
  for (const listed of [['*', 'a'], ['a', '*'], ['a']])
    for (const use of ['callback', 'var'] as const)
      expect(new Names(listed).allows(use, 'a.alert')).toBe(false);
  expect(new Names(['a']).allows('var', 'alert')).toBe(false);
  expect(new Names(['*', 'a']).allows('var', 'alert')).toBe(false);
});

describe('a script', () => {
  test.each([
    ['call', 'cb', '{}', '/**/typeof cb=="function"&&cb({});'],
    ['call', 'a.b', '1', '/**/typeof a!="undefined"&&a!=null&&typeof a.b=="function"&&a.b(1);'],
    [
      'call',
      'a.b.c',
      '1',
      '/**/typeof a!="undefined"&&a!=null&&a.b!=null&&typeof a.b.c=="function"&&a.b.c(1);',
    ],
    ['assign', 'seen', '{}', '/**/window.seen={};'],
    ['assign', 'a.b', '1', '/**/if(window.a!=null)window.a.b=1;'],
    ['assign', 'a.b.c', '1', '/**/if(window.a!=null&&window.a.b!=null)window.a.b.c=1;'],
  ])('to %s %s with %s', (use, name, data, expected) =>
    expect(use === 'call' ? call(name, data) : assign(name, data)).toBe(expected),
  );

  const nested = (levels: number) => JSON.parse('['.repeat(levels) + ']'.repeat(levels)) as unknown;
  test.each([
    ['<\u007e\u007f\u00e9\u2028\uffff', '"\\u003c~\\u007f\\u00e9\\u2028\\uffff"'],
    [[null, true, 1.5, 'a<b<c'], '[null,true,1.5,"a\\u003cb\\u003cc"]'],
    [2 ** 53 - 1, '9007199254740991'],
    [{ a: [2 ** 60, '1152921504606847000'] }, '{"a":[1152921504606846976,"1152921504606847000"]}'],
    [-(2 ** 64), '-18446744073709551616'],
    [[2 ** 60, 1], '[1152921504606846976,1]'],
    [nested(1000), '['.repeat(1000) + ']'.repeat(1000)],
  ])('a value: %j', (value, text) => expect(render(value)).toBe(text));
  test.each([
    [undefined, 'give a value that JSON can represent'],
    [() => 1, 'give a value that JSON can represent'],
    [[1, Number.POSITIVE_INFINITY], 'holds a number too large for a double'],
    [Number.NaN, 'holds a number too large for a double'],
    [
      [{ a: JSON.parse('{"__proto__":1}') }],
      'holds an object with a "__proto__" key, which a script would take for its prototype',
    ],
    [nested(1001), 'nested deeper than 1000 levels'],
    [{ a: nested(1000) }, 'nested deeper than 1000 levels'],
  ])('no value: %#', (value, message) => expect(() => render(value)).toThrow(new TypeError(message)));
});

describe('answers', () => {
  const entry = (value: string, final = false) => ({ value, cursor: 'e-1', prev: '', final });
  test.each<[Answer, string]>([
    [
      { kind: 'success', entries: [entry('1')], lost: 0, cursor: 'e-1' },
      '{"code":0,"message":"success","data":1,"cursor":"e-1"}',
    ],
    [
      { kind: 'success', entries: [entry('1'), entry('2'), entry('3', true)], lost: 4, cursor: 'e-3' },
      '{"code":0,"message":"success","data":3,"cursor":"e-3","earlier":[1,2],"lost":4,"final":true}',
    ],
    [
      { kind: 'success', entries: [entry('1', true), entry('2')], lost: 1, cursor: 'e-2' },
      '{"code":0,"message":"success","data":2,"cursor":"e-2","earlier":[1],"lost":1}',
    ],
    [
      { kind: 'success', entries: [{ ...entry('1', true), receipt: true }], lost: 0, cursor: 'e-1' },
      '{"code":0,"message":"success","data":1,"cursor":"e-1","final":true,"receipt":true}',
    ],
    [{ kind: 'timeout', cursor: 'e-1' }, '{"code":-1,"message":"timeout","cursor":"e-1"}'],
    [EXPIRED, '{"code":-2,"message":"expired"}'],
    [{ kind: 'busy', retry: 1000.6 }, '{"code":-3,"message":"busy","retry":1001}'],
    [
      { kind: 'badRequest', detail: 'key: "<"' },
      '{"code":-4,"message":"bad request","detail":"key: \\"\\u003c\\""}',
    ],
    [FORBIDDEN, '{"code":-5,"message":"forbidden"}'],
    [{ kind: 'moved', retry: 2.4 }, '{"code":-6,"message":"moved","retry":2}'],
    [{ kind: 'moved', retry: 0 }, '{"code":-6,"message":"moved","retry":1}'],
    [{ kind: 'unavailable', retry: 3 }, '{"code":-7,"message":"unavailable","retry":3}'],
  ])('%j', (answer, text) => expect(textOf(answer)).toBe(text));

  test('with what is left of a ticket, and the key that it is for', () => {
    const answer: Answer = { kind: 'timeout', cursor: 'e-1' };
    expect(textOf(answer, 1.5, 'k')).toBe(
      '{"code":-1,"message":"timeout","key":"k","cursor":"e-1","left":1.5}',
    );
    expect(textOf(EXPIRED, 0, 'k')).toBe('{"code":-2,"message":"expired","key":"k"}');
  });

  const quarter = MAX_ANSWER / 4;
  test.each([
    [[quarter, quarter, quarter, quarter], 4],
    [[quarter, quarter, quarter, quarter, 1], 4],
    [[quarter, quarter, quarter, quarter + 1], 3],
    [[5 * quarter], 1],
    [[5 * quarter, 1], 1],
    [[1, 5 * quarter], 1],
    [[], 0],
  ])('of values of %j characters, an answer has the first %i', (lengths, count) => {
    const entries = lengths.map(length => entry('x'.repeat(length)));
    expect(fitting(entries)).toEqual(entries.slice(0, count));
  });
});
