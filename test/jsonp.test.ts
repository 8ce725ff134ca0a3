/**
 * JSONP clients as npm has them, in Chromium: the names that they make are allowed, and they hear. Larger ones were tried
 * by hand, and names.test.ts has the names that they made: YUI 3.18.1, Ext JS 6.2.0, Dojo 1.17.3, Angular 21.2.26.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { launch, site } from './chromium.js';
import { service, set } from './harness.js';

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());

const read = (path: string) => readFileSync(createRequire(import.meta.url).resolve(path), 'utf8');
/** A CommonJS module, for a page; what it requires does nothing. */
const common = (path: string, name: string) =>
  `var ${name} = (function (module) { (function (module, exports, require) { ${read(path)}
  })(module, module.exports, function () { return function () { return function () {}; }; }); return module.exports; })({ exports: {} });`;

/** By client: its code, a request of `URL`, and the name that it makes. */
const CLIENTS: Record<string, { code: () => string; asks: string; makes: RegExp }> = {
  jQuery: {
    code: () => read('jquery'),
    asks: `jQuery.ajax({ url: 'URL', dataType: 'jsonp', success: heard })`,
    makes: /^jQuery\d+_\d+$/,
  },
  AngularJS: {
    code: () => read('angular/angular.js'),
    asks: `angular.injector(['ng', function ($sceDelegateProvider) { $sceDelegateProvider.trustedResourceUrlList(['**']); }])
      .get('$http').jsonp('URL').then(function (answer) { heard(answer.data); })`,
    makes: /^angular\.callbacks\._[\da-z]+$/,
  },
  'fetch-jsonp': {
    code: () => read('fetch-jsonp'),
    asks: `fetchJsonp('URL').then(function (answer) { return answer.json(); }).then(heard)`,
    makes: /^jsonp_\d+_\d+$/,
  },
  jsonp: {
    code: () => common('jsonp', 'jsonp'),
    asks: `jsonp('URL', { param: 'callback' }, function (error, answer) { heard(answer); })`,
    makes: /^__jp\d+$/,
  },
};

test.each(Object.keys(CLIENTS))('%s hears, time after time', async name => {
  const { code, asks, makes } = CLIENTS[name] as (typeof CLIENTS)[string];
  const { publicUrl, internalUrl } = await service();
  await set(internalUrl, { key: 'k', value: 'confirmed' });
  const page = await browser.newPage();
  const names: string[] = [];
  page.on('request', request => {
    const asked = new URL(request.url()).searchParams.get('callback');
    if (asked) names.push(asked);
  });
  await page.goto(await site('<!doctype html><title>client</title>'));
  await page.addScriptTag({ content: code() });
  const ask = asks.replace('URL', `${publicUrl}/status/get?key=k&hold=0`);
  for (let time = 0; time < 12; time++)
    expect(await page.evaluate(`new Promise(function (heard) { ${ask}; })`)).toMatchObject({
      data: 'confirmed',
    });
  await page.close();
  expect(names).toHaveLength(12);
  for (const made of names) expect(made).toMatch(makes);
});
