/** The blocks of docs/frameworks.md in Chromium, against a service: each hears a value, and lets its poll go. */
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { rolldown } from 'rolldown';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { compileScript, parse } from 'vue/compiler-sfc';
import type { Service } from '../../src/service.js';
import { type Block, blocksOf } from '../blocks.js';
import { launch, site } from '../chromium.js';
import { held, service, set, until } from '../harness.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const blocks = blocksOf('docs/frameworks.md');
const block = (heading: string) => blocks.find(one => one.heading === heading) as Block;

let started: Service;
let browser: Browser;
/** One for all tests: a new one takes a second on a busy machine. */
let page: Page;
beforeAll(async () => {
  started = await service({}, afterAll);
  browser = await launch();
  page = await browser.newPage();
});
afterAll(() => browser.close());

const here = (text: string) => text.replaceAll('https://status.example.com', started.publicUrl);
const compiledVue = (text: string) =>
  compileScript(parse(text).descriptor, { id: 'order', inlineTemplate: true }).content;

/** One script of these files, the last of which starts the rest. React's StrictMode is for development. */
async function bundled(files: Record<string, string>): Promise<string> {
  const virtual = new Map(Object.entries(files).map(([name, text]) => [root + name, text]));
  const bundle = await rolldown({
    input: [...virtual.keys()].at(-1) as string,
    platform: 'browser',
    transform: { define: { 'process.env.NODE_ENV': '"development"' }, decorator: { legacy: true } },
    plugins: [
      {
        name: 'files of the test',
        resolveId: id => [id, root + id.replace('./', '')].find(path => virtual.has(path)),
        load: id => virtual.get(id),
      },
    ],
  });
  const { output } = await bundle.generate({ format: 'iife' });
  await bundle.close();
  return output[0].code;
}

const ANGULAR_MAIN = `
  import '@angular/compiler';
  import { Component, provideZoneChangeDetection, provideZonelessChangeDetection } from '@angular/core';
  import { bootstrapApplication } from '@angular/platform-browser';
  import { Order } from './order.ts';
  @Component({ selector: 'app-root', template: '<app-order [id]="id" />', imports: [Order] })
  class App { id = document.title; }
  const providers = [window.Zone ? provideZoneChangeDetection() : provideZonelessChangeDetection()];
  const app = bootstrapApplication(App, { providers });
  window.leave = () => app.then(one => one.destroy());`;

/** Each: what the page loads, and its markup. The key is `order-` and the page's title; `leave()` ends its view. */
const PAGES: Record<string, () => Promise<{ html: string; script?: string }>> = {
  'React, which mounts twice in StrictMode': async () => ({
    html: '<div id="app"></div>',
    script: await bundled({
      'order.jsx': here(block('React').text),
      'main.jsx': `
        import { StrictMode } from 'react';
        import { createRoot } from 'react-dom/client';
        import { Order } from './order.jsx';
        const root = createRoot(document.querySelector('#app'));
        root.render(<StrictMode><Order id={document.title} /></StrictMode>);
        window.leave = () => root.unmount();`,
    }),
  }),
  Vue: async () => ({
    html: '<div id="app"></div>',
    script: await bundled({
      'order.js': compiledVue(here(block('Vue').text)),
      'main.js': `
        import { createApp } from 'vue';
        import Order from './order.js';
        const app = createApp(Order, { id: document.title });
        app.mount('#app');
        window.leave = () => app.unmount();`,
    }),
  }),
  'Angular without zone.js': async () => ({
    html: '<app-root></app-root>',
    script: await bundled({ 'order.ts': here(block('Angular').text), 'main.ts': ANGULAR_MAIN }),
  }),
  'Angular with zone.js, and a plain field': async () => ({
    html: '<app-root></app-root>',
    script: await bundled({
      'order.ts': here(block('Angular').text)
        .replace("readonly state = signal('waiting')", "state = 'waiting'")
        .replace('this.state.set(value)', '(this.state = value)')
        .replace('state()', 'state'),
      'main.ts': `import 'zone.js';${ANGULAR_MAIN}`,
    }),
  }),
  'single-spa': async () => ({
    html: '<p></p>',
    script: await bundled({
      'order.js': here(block('single-spa').text),
      'main.js': `
        import { navigateToUrl, registerApplication, start } from 'single-spa';
        import * as app from './order.js';
        const customProps = { id: document.title, domElement: document.querySelector('p') };
        location.hash = '#/order';
        registerApplication({ name: 'order', app, activeWhen: '#/order', customProps });
        start();
        window.leave = () => navigateToUrl('#/home');`,
    }),
  }),
  'a plain page': async () => ({
    html: `${here(block('A plain page').text.replace('order-4711', 'order-plain'))}
      <script>function leave() { document.querySelector('#leave').click(); }</script>`,
  }),
  'a signal': async () => ({
    html: '<button id="leave"></button><p>Your order: <span></span></p>',
    script: await bundled({
      'main.js': `import { watch } from '@tagwait/client';
        const show = text => { document.querySelector('span').textContent = text; };
        ${here(block('With a signal').text.replace("'order-4711'", "'order-' + document.title"))}
        window.leave = () => document.querySelector('#leave').click();`,
    }),
  }),
};

test.each(Object.keys(PAGES))('%s', async name => {
  const title = name.replace(/\W/g, '-');
  const { html, script } = await (PAGES[name] as () => Promise<{ html: string; script?: string }>)();
  const key = name === 'a plain page' ? 'order-plain' : `order-${title}`;
  page.removeAllListeners();
  const asked: URLSearchParams[] = [];
  page.on('request', request => {
    const query = new URL(request.url()).searchParams;
    if (query.get('key') === key) asked.push(query);
  });
  const errors: unknown[] = [];
  page.on('pageerror', error => errors.push(error));
  const files: Record<string, string> = script === undefined ? {} : { '/app.js': script };
  const tag = script === undefined ? '' : '<script src="app.js"></script>';
  await page.goto(await site(`<!doctype html><title>${title}</title>${html}${tag}`, {}, files));
  await held(started.internalUrl, key, 1);
  await set(started.internalUrl, { key, value: 'paid' });
  await until(async () => (await page.textContent('p'))?.includes('Your order: paid'));
  await held(started.internalUrl, key, 1);
  await page.evaluate('leave()');
  await held(started.internalUrl, key, 0);
  const polls = asked.filter(query => query.has('poll'));
  expect(new Set(polls.map(query => query.get('callback')?.split('.')[1])).size, 'one poll at a time').toBe(
    1,
  );
  const drops = asked.filter(query => query.has('drop')).map(query => query.get('drop'));
  expect(drops).toEqual([polls.at(-1)?.get('poll')]);
  expect(errors).toEqual([]);
});

test('every program of the page is run, that for Turbo and htmx by hosts.test.ts', () => {
  const shown = blocks.filter(({ language }) => language !== 'sh').map(({ heading }) => heading);
  expect(shown).toEqual([
    'React',
    'Vue',
    'Angular',
    'A plain page',
    'Turbo and htmx',
    'single-spa',
    'With a signal',
  ]);
});
