/** The names that `callback` and `var` may be: the rule, its setting, and what a service answers. */
import { parse } from 'acorn';
import { describe, expect, test } from 'vitest';
import { configOf, Misconfigured } from '../src/config.js';
import { GLOBALS } from '../src/protocol/globals.js';
import { Names } from '../src/protocol/names.js';
import { goneNames, packagedNames } from './browsers/globals.js';
import { service } from './harness.js';

const usual = new Names();
const both = ['callback', 'var'] as const;

describe('without a setting', () => {
  test.each([
    'cb',
    '_',
    '$',
    'jQuery37109_17',
    'handleLogin',
    'ng_jsonp_callback_0',
    'onLogin',
    'onscan',
    'webkit_1',
    'mozart',
    'onWebkit',
    'n'.repeat(128),
  ])('one part that is no global: %s', name => {
    for (const use of both) expect(usual.allows(use, name)).toBe(true);
  });

  test.each([
    'tagwait_123456789012345.w12.p345',
    'angular.callbacks._0',
    'angular.callbacks._a',
    'YUI.Env.JSONP.yui_3_18_1_1_1764400000000_12',
    'Ext.data.JsonP.callback1',
    'dojo.io.script.jsonp_dojoIoScript1._jsonpCallback',
    'dojo_request_script_callbacks.dojo_request_script0',
    '__gwt_jsonp__.P17.onSuccess',
    '__gwt_jsonp__.P0.onFailure',
    'Request.JSONP.request_map.request_0',
  ])('a name that a JSONP client makes, for callback: %s', name => {
    expect(usual.allows('callback', name)).toBe(true);
    expect(usual.allows('var', name)).toBe(false);
  });

  test.each([
    'pay.submit',
    'document.body.firstElementChild.click',
    'window.cb',
    'app.heard',
    // beside the shape of a client
    'tagwait_1.ownerDocument.forms.pay.submit',
    'tagwait_1.submit',
    'tagwait_1.w1',
    'tagwait_1.w1.p1.click',
    'tagwait_1.w1.remove',
    'xtagwait_1.w1.p1',
    'tagwait_x.w1.p1',
    'angular.callbacks.click',
    'angular.callbacks.__defineGetter__',
    'angular.callbacks._0.call',
    'angular.callbacks.$0',
    'YUI.Env.JSONP.submit',
    'Ext.data.JsonP.remove',
    'dojo.io.script.x1.click',
    'dojo_request_script_callbacks.submit',
    '__gwt_jsonp__.P1.submit',
    '__gwt_jsonp__.Q1.onSuccess',
    'Request.JSONP.request_map.reset',
  ])('another dotted name is refused: %s', name => {
    for (const use of both) expect(usual.allows(use, name)).toBe(false);
  });

  test.each([
    'alert',
    'open',
    'location',
    'name',
    'event',
    'status',
    'print',
    'eval',
    'Function',
    'onload',
    'onhashchange',
    'onwebkitanimationend',
    'toString',
    'hasOwnProperty',
    '__defineSetter__',
    'captureEvents',
    'attachEvent',
    'execScript',
    'showModalDialog',
    'importScripts',
    // Safari, Firefox, Chrome on Android, extensions, installed web apps
    'sizeToContent',
    'orientation',
    'onorientationchange',
    'ApplePaySession',
    'ApplePayError',
    'ApplePaySetup',
    'GestureEvent',
    'ongesturestart',
    'ongesturechange',
    'ongestureend',
    'WebKitMediaKeys',
    'WebKitPlaybackTargetAvailabilityEvent',
    'getDigitalGoodsService',
    'browser',
    // what vendors may add
    'webkitNew',
    'mozNew',
    'MozNew',
    'onwebkitnew',
    'HTMLNewElement',
    'SVGNewElement',
  ])('a global of a browser or of JavaScript is refused: %s', name => {
    for (const use of both) expect(usual.allows(use, name)).toBe(false);
  });

  test('every global of the package `globals`, and of browsers that are not here, is refused', () => {
    const names = [...packagedNames(), ...goneNames()];
    for (const use of both) expect(names.filter(name => usual.allows(use, name))).toEqual([]);
  });

  test('a word that any edition of JavaScript reserves is refused, as any part', () => {
    const all = new Names(['*']);
    const words = [
      ...'arguments await eval let static yield implements interface package private protected public'.split(
        ' ',
      ),
      ...'abstract boolean byte char double final float goto int long native short synchronized throws transient volatile'.split(
        ' ',
      ),
      ...'break case catch class const continue debugger default delete do else enum export extends false finally for'.split(
        ' ',
      ),
      ...'function if import in instanceof new null return super switch this throw true try typeof var void while with'.split(
        ' ',
      ),
    ];
    for (const word of words) {
      for (const name of [word, `a.${word}`, `${word}.a`, `a.${word}.b`])
        for (const use of both) expect(all.allows(use, name), name).toBe(false);
    }
    // and the list is whole: what passes parses in every edition
    const passed = [...GLOBALS].filter(word => all.allows('callback', word));
    for (const ecmaVersion of [3, 5, 2026] as const) {
      parse(`var ${passed.join()}`, { ecmaVersion });
      if (ecmaVersion > 3) parse(`"use strict";function f(${passed.join()}){}`, { ecmaVersion });
    }
  });
});

describe('TAGWAIT_CALLBACKS', () => {
  const listed = new Names(['app.heard', 'my.*', 'on*', 'a.x*y.$z', 'alert']);
  test.each([
    ['app.heard', true, true],
    ['app.heard2', false, false],
    ['app.heard.x', false, false],
    ['xapp.heard', false, false],
    ['appXheard', true, true], // one part: no dot is needed
    ['my.cb_1', true, true],
    ['my.$', false, false], // * is no $
    ['my.a.b', false, false], // and no dot
    ['my.constructor', false, false],
    ['my.prototype', false, false],
    ['my.__proto__', false, false],
    ['my.if', false, false],
    ['a.xy.$z', true, true],
    ['a.x12y.$z', true, true],
    ['a.x.y.$z', false, false],
    ['alert', true, false], // var: only dotted names
    ['onload', true, false],
    ['open', false, false],
    ['cb', true, true],
    ['tagwait_1.w1.p1', true, false],
  ])('%s: as callback %s, as var %s', (name, callback, variable) => {
    expect([listed.allows('callback', name), listed.allows('var', name)]).toEqual([callback, variable]);
  });

  test('* allows every name that is one', () => {
    const all = new Names(['*']);
    for (const use of both) {
      for (const name of ['alert', 'document.title', 'a.b.c.$d', 'location'])
        expect(all.allows(use, name)).toBe(true);
      for (const name of [
        'a.__proto__',
        'constructor',
        'a.prototype.b',
        'a..b',
        'a[0]',
        'if',
        '',
        'n'.repeat(129),
      ])
        expect(all.allows(use, name)).toBe(false);
    }
  });

  test.each([
    'app.',
    '.app',
    'a b',
    'a-b',
    'a.**',
    'a.x*y*z',
    'app.*,*',
    '*,app.*',
    'a.if',
    'a.__proto__',
    '1a',
    'app.heard,,x',
    'é',
  ])('a fault names what is allowed: %s', text => {
    const fault = () => configOf({ callbacks: text.split(',') });
    expect(fault).toThrow(Misconfigured);
    expect(fault).toThrow(
      /^callbacks: .* is not allowed; give \* for every name, or names such as app\.heard,app\.on\*/,
    );
  });

  test('an empty list in the library allows nothing more', () => {
    expect(configOf({ callbacks: [] }).callbacks).toBeUndefined();
    expect(configOf({ callbacks: ['*'] }).callbacks).toEqual(['*']);
    expect(configOf({ callbacks: ['app.heard', ' app.on* '] }).callbacks).toEqual(['app.heard', 'app.on*']);
    expect(configOf({ origins: [] }).origins).toEqual([]);
    expect(() => configOf({ secret: [] })).toThrow(/^secret: needs a value/);
  });
});

test('a service refuses a name that is not allowed in plain text, and answers one that is', async () => {
  const ask = async (url: string, query: string) => {
    const response = await fetch(`${url}/status/get?key=k&hold=0&${query}`);
    return {
      status: response.status,
      type: response.headers.get('content-type'),
      text: await response.text(),
    };
  };
  const { publicUrl } = await service();
  for (const use of both) {
    const refused = await ask(publicUrl, `${use}=pay.submit`);
    expect(refused).toMatchObject({ status: 400, type: 'text/plain; charset=utf-8' });
    expect(refused.text).toMatch(new RegExp(`^${use}: give a JavaScript name .*TAGWAIT_CALLBACKS lists\n$`));
    expect(refused.text).not.toMatch(/pay|submit/);
  }
  const open = await service({ callbacks: ['pay.*'] });
  for (const use of both)
    expect(await ask(open.publicUrl, `${use}=pay.heard`)).toMatchObject({ status: 200 });
  expect(await ask(open.publicUrl, 'callback=pay.heard.x')).toMatchObject({ status: 400 });
});

test('the longest and most awkward names take no longer than others to judge', () => {
  const listed = new Names(['a*a.b*b.c*c', 'my.*']);
  const awkward = [
    'a'.repeat(128),
    `angular.callbacks.${'_a'.repeat(55)}$`,
    `${'a.'.repeat(63)}a`,
    'a'.repeat(4000),
  ];
  // the best of five, in which nothing else had the processor
  const time = (name: string) =>
    Math.min(
      ...Array.from({ length: 5 }, () => {
        const started = performance.now();
        for (let i = 0; i < 1000; i++) listed.allows('callback', name);
        return performance.now() - started;
      }),
    );
  time('cb');
  for (const name of awkward) expect(time(name), `${name.slice(0, 40)}…`).toBeLessThan(100); // ms for a thousand
});
