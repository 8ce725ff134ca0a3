/** The page's script in pages of other kinds, and inside other programs' sandboxes, in Chromium. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { blocksOf } from '../blocks.js';
import { startStand } from './stand.js';
import { startTabs } from './tabs.js';

let stand: Awaited<ReturnType<typeof startStand>>;
let tabs: Awaited<ReturnType<typeof startTabs>>;

beforeAll(async () => {
  stand = await startStand();
  tabs = await startTabs();
});
afterAll(async () => {
  await tabs.close();
  await stand.close();
});

const require = createRequire(import.meta.url);
const SCRIPT = { 'content-type': 'text/javascript' };
const until = (check: () => unknown) => vi.waitFor(check, { timeout: 60_000, interval: 25 });
/** A script of an installed package, on the pages' site. @returns its address */
const packaged = (name: string, file: string) =>
  stand.file(
    `/${name}.js`,
    readFileSync(join(dirname(require.resolve(`${name}/package.json`)), file), 'utf8'),
    SCRIPT,
  );

/** What a page has heard stands in an attribute of its root, which sandboxes share with it. */
const watching = (key: string) => `function note(what) {
    var root = document.documentElement;
    root.setAttribute('data-heard', (root.getAttribute('data-heard') || '') + what + ';');
  }
  var mine = tagwait.watch('${key}', { url: '${stand.service}', onvalue: note,
    onend: function (reason) { note('end ' + reason); }, onerror: function (error) { note(error.message); } });`;

/** Opens the page, sets two values, one after the other, and waits until it has heard both. */
async function hears(key: string, url: string): Promise<void> {
  const tab = await tabs.open(url);
  try {
    for (const [i, heard] of ['one;', 'one;two;'].entries()) {
      await until(() => expect(stand.of(key).length, `${key} asks`).toBeGreaterThan(i));
      stand.set(key, heard.split(';').at(-2) as string);
      await until(async () =>
        expect(await tab.evaluate('document.documentElement.getAttribute("data-heard")')).toBe(heard),
      );
    }
  } finally {
    await tab.close();
  }
}

/** The page of a sub-application, at this path. @returns its address */
const subApplication = (path: string, key: string) =>
  stand.file(
    path,
    `<!doctype html><html><head></head><body><script src="${stand.service}/client.js"></script><script>
      ${watching(key)}
      async function nothing() {}
      window.sub = { bootstrap: nothing, mount: nothing, unmount: nothing };
    </script></body></html>`,
  );

test('qiankun, which gives its sub-applications a copy of the window and of the document', async () => {
  const entry = subApplication('/qiankun-sub', 'qiankun');
  const page = stand.file(
    '/qiankun',
    `<!doctype html><title>host</title><div id="into"></div>
    <script src="${packaged('qiankun', 'dist/index.umd.min.js')}"></script>
    <script>qiankun.loadMicroApp({ name: 'sub', entry: '${entry}', container: '#into' });</script>`,
  );
  await hears('qiankun', page);
});

test('micro-app, which fetches the scripts that its sub-applications put into the page', async () => {
  const url = subApplication('/micro-sub/', 'micro');
  const page = stand.file(
    '/micro',
    `<!doctype html><title>host</title><script type="module">
      import microApp from '${packaged('@micro-zoe/micro-app', 'lib/index.esm.js')}';
      microApp.start();
    </script><micro-app name="sub" url="${url}"></micro-app>`,
  );
  await hears('micro', page);
});

test('zone.js: handlers run in the zone that watch was called in, and nothing else does', async () => {
  const page = stand.file(
    '/zone',
    `<!doctype html><title>zone</title><script src="${packaged('zone.js', 'bundles/zone.umd.js')}"></script>
    <script src="${stand.service}/client.js"></script><script>
      var tasks = 0;
      Zone.current.fork({ name: 'app', onScheduleTask: function (delegate, _, target, task) {
        tasks++;
        return delegate.scheduleTask(target, task);
      } }).run(function () {
        ${watching('zone').replace(
          'onvalue: note',
          `onvalue: function (value) {
          note(value);
          if (Zone.current.name !== 'app' || tasks > 1) note(Zone.current.name + ' ' + tasks);
        }`,
        )}
      });
    </script>`,
  );
  await hears('zone', page);
});

const xhtml = (before: string, key: string) => `<html xmlns="http://www.w3.org/1999/xhtml">${before}<body>
  <script src="${stand.service}/client.js"></script><script>${watching(key)}</script></body></html>`;
const pages: [name: string, html: (key: string) => string, type?: string][] = [
  ['XHTML', key => xhtml('<head><title>page</title></head>', key), 'application/xhtml+xml'],
  ['XHTML without a head', key => xhtml('', key), 'application/xhtml+xml'],
  ['XML with the namespace of XHTML', key => xhtml('', key), 'application/xml'],
  [
    'a removed head',
    key => `<!doctype html><title>page</title><script src="${stand.service}/client.js"></script>
      <script>document.head.remove();${watching(key)}</script>`,
  ],
  [
    'a removed body',
    key => `<!doctype html><body><script src="${stand.service}/client.js"></script>
      <script>document.body.remove();${watching(key)}</script>`,
  ],
  [
    'a form and images that are named like what a document has',
    key => `<!doctype html><form name="createElement"><input name="call"></form><img name="getElementsByTagName">
      <img name="documentElement2"><form name="createElementNS"></form><img name="currentScript"><form name="tagwait"></form>
      <script src="${stand.service}/client.js"></script><script>${watching(key)}</script>`,
  ],
];
test.each(pages)('in a page of this kind: %s', async (name, html, type = 'text/html') => {
  const key = name.replace(/\W/g, '-');
  await hears(key, stand.file(`/${key}`, html(key), { 'content-type': type }));
});

test('a function of the page in Object.prototype: no event of the window calls it or throws', async () => {
  const page = `<!doctype html><script>Object.prototype.extend = function () { throw 'called'; };</script>
    <script src="${stand.service}/client.js"></script><script>
      onerror = function (message) { note(message); };
      ${watching('prototype')}
      dispatchEvent(new Event('focus'));
    </script>`;
  await hears('prototype', stand.file('/prototype', page));
});

describe('a page that is replaced without a load, with the block of docs/frameworks.md', () => {
  const block =
    blocksOf('docs/frameworks.md').find(({ heading }) => heading === 'Turbo and htmx')?.text ?? '';
  const [markup = '', tags = ''] = block.split(/(?<=<\/p>\n)/);
  const HOSTS = [
    ['Turbo', '@hotwired/turbo', 'dist/turbo.es2017-umd.js'],
    ['htmx', 'htmx.org', 'dist/htmx.min.js'],
  ] as const;

  /** A page of eight that each link to the next, and one more that has no tag, opened with `key`. */
  async function openPages(key: string, [, name, file]: (typeof HOSTS)[number], place: 'body' | 'head') {
    const script = packaged(name, file);
    const ours = tags.replace('https://status.example.com', stand.service).replace('order-4711', key);
    const [first = ''] = Array.from({ length: VISITS + 2 }, (_, number) => {
      const tagIn = (part: string) => (part === place && number <= VISITS ? ours : '');
      return stand.file(
        `/${key}-${number}`,
        `<!doctype html><html><head><title>${number}</title><script src="${script}"></script>
        ${tagIn('head')}</head><body>
        ${markup}<a hx-boost="true" href="/${key}-${number + 1}">next</a>${tagIn('body')}</body></html>`,
      );
    });
    const tab = await tabs.open(first);
    const shown = (what: string) => until(async () => expect(await tab.evaluate(what)).toBe(true));
    return {
      tab,
      async visit(number: number) {
        // a link that htmx has not seen yet loads the page
        await shown('!window.htmx || document.querySelector("a")._htmx?.initialized');
        await tab.evaluate('document.querySelector("a").click()');
        await shown(`document.querySelector("a").href.endsWith("-${number + 1}")`);
      },
      shows: (text: string) => shown(`document.body.innerText.includes(${JSON.stringify(text)})`),
    };
  }
  const VISITS = 8;
  /** How many watches have heard the first value: each asks again after it. */
  const watches = (key: string) => stand.of(key).filter(({ since }) => since === '1').length;

  test.each(HOSTS.flatMap(host => (['body', 'head'] as const).map(place => [host[0], place, host] as const)))(
    '%s: one watch after eight visits, with the tag in the %s',
    async (name, place, host) => {
      const key = `${name}-${place}`;
      const { tab, visit, shows } = await openPages(key, host, place);
      try {
        await until(() => expect(stand.of(key)).not.toEqual([]));
        await tab.evaluate('window.visited = "without a load"');
        for (let i = 1; i <= VISITS; i++) await visit(i);
        // A watch notices within 250 ms that its tag has left; the second poll of the newest comes after a second.
        const visited = Date.now();
        const second = () => stand.of(key).some(({ hold, at }) => hold !== '1' && at > visited + 500);
        if (place === 'body') await until(() => expect(second()).toBe(true));
        await until(() => expect(stand.held()).toBe(1));
        stand.set(key, 'paid');
        await shows('Your order: paid');
        stand.set(key, 'sent');
        await shows('Your order: sent');
        await until(() => expect(stand.of(key).filter(({ since }) => since === '2')).toHaveLength(1));
        expect(watches(key)).toBe(1);
        await visit(VISITS + 1);
        if (place === 'body') await until(() => expect(stand.held()).toBe(0));
        else {
          stand.set(key, 'arrived');
          await shows('Your order: arrived');
        }
        expect(await tab.evaluate('visited')).toBe('without a load');
      } finally {
        await tab.close();
      }
    },
  );

  test.each(HOSTS.map(host => [host[0], host] as const))(
    '%s: one watch also where the script comes after its pages have been replaced',
    async (name, host) => {
      const key = `${name}-late`;
      let handOut = () => {};
      const { tab, visit, shows } = await openPages(key, host, 'body');
      try {
        await until(() => expect(stand.of(key)).not.toEqual([]));
        await tab.evaluate('window.visited = "without a load"');
        stand.late(new Promise<void>(resolve => (handOut = resolve)));
        for (let i = 1; i <= VISITS; i++) await visit(i);
        handOut();
        // each copy of the script has a global of its own for what answers call
        const copies = 'Object.keys(window).filter(name => /^tagwait_/.test(name)).length';
        await until(async () => expect(await tab.evaluate(copies)).toBe(VISITS + 1));
        await until(() => expect(stand.held()).toBe(1));
        stand.set(key, 'paid');
        await shows('Your order: paid');
        await until(() => expect(stand.held()).toBe(1));
        expect(watches(key)).toBe(1);
        expect(await tab.evaluate('visited')).toBe('without a load');
      } finally {
        handOut();
        await tab.close();
      }
    },
  );
});
