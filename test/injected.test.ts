/** What injected markup, or an injected script URL, reaches on a page that uses the service, in real browsers. */
import { createServer } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Names } from '../src/protocol/names.js';
import type { Service } from '../src/service.js';
import { engines, start } from './browsers/engines.js';
import { collector } from './browsers/globals.js';
import { listen, service as serviceOf, set, until } from './harness.js';
import { attacked, clobbered, MODES, tagOf, WAYS } from './injected.js';

/** What the pages of one browser reported, and the requests that they sent. */
interface Seen {
  /** by way: what its script element fired, and what changed on the page */
  attack: Record<string, { fired: string; changed: string[] }>;
  /** how often an allowed callback was called */
  called: number;
  /** every global of the browser */
  names: string[];
  /** `GET` or `POST` and the path, on the page's own origin, of what a page or a user does */
  site: string[];
  /** paths of the attacker's origin */
  evil: string[];
  /** variants whose page heard the value */
  heard: string[];
}

const browsers = engines.filter(engine => /Chromium|Firefox/.test(engine.name) && engine.found());
const variants = Object.keys(clobbered('')).flatMap(kind => MODES.map(mode => ({ kind, mode })));

test('Chromium is here', () => expect(browsers.map(browser => browser.name)).toContain('Chromium'));

describe.each(browsers.map(browser => browser.name))('%s', name => {
  const seen: Seen = { attack: {}, called: 0, names: [], site: [], evil: [], heard: [] };
  let service: Service;
  let stop = async () => {};
  const closing: (() => void)[] = [];

  beforeAll(async () => {
    // ended below, when all browsers are
    service = await serviceOf({}, () => {});
    for (const { kind, mode } of variants)
      await set(service.internalUrl, { key: `${kind}-${mode}`, value: 'well', final: true });
    await set(service.internalUrl, { key: 'attack', value: 'value' });
    const evil = await serve(path => {
      seen.evil.push(path);
      return path.startsWith('/frame') ? '<!doctype html><p>' : 'fetch("/ran")';
    });
    const site = await serve((path, method, body) => {
      const [, what = '', which = ''] = path.split(/[/?]/);
      if (what === 'report') Object.assign(seen, JSON.parse(body));
      else if (what === 'heard') seen.heard.push(which);
      else seen.site.push(`${method} /${what}`);
      const [kind = '', mode = ''] = which.split('-');
      if (what === 'page') return clobbered(evil)[kind]?.(tagOf(service.publicUrl, mode, which)) ?? '';
      if (what === 'attack') return attacked(service.publicUrl);
      if (what !== 'all') return '';
      const pages = variants.map(variant => `/page/${variant.kind}-${variant.mode}`);
      const tell = `fetch('/report', { method: 'POST', body: JSON.stringify({ names: (${collector})() }) })`;
      return `<!doctype html><script nonce="r4nd0m">${tell}</script>${['/attack', ...pages].map(page => `<iframe src="${page}"></iframe>`).join('')}`;
    });
    const browser = browsers.find(one => one.name === name) as (typeof browsers)[number];
    stop = start(browser, `${site}/all`, []);
    await until(() => Object.keys(seen.attack).length > 0 && seen.heard.length >= variants.length, {
      within: 60_000,
    }).catch(() => {}); // the tests say what is missing
  });

  afterAll(async () => {
    await stop();
    for (const close of closing) close();
    await service.stop();
  });

  /** Serves pages of one origin. @returns the origin */
  async function serve(answer: (path: string, method: string, body: string) => string): Promise<string> {
    const server = createServer(async (request, response) => {
      let body = '';
      for await (const chunk of request) body += chunk;
      const path = request.url ?? '';
      const policy = path.startsWith('/attack')
        ? `script-src 'nonce-r4nd0m' ${service.publicUrl}`
        : "script-src 'nonce-r4nd0m' 'strict-dynamic'";
      response.writeHead(200, {
        'Content-Type': path.endsWith('.js') ? 'text/javascript' : 'text/html',
        'Content-Security-Policy': policy,
      });
      response.end(answer(path, request.method ?? '', body));
    });
    const url = await listen(server);
    closing.push(() => {
      server.closeAllConnections();
      server.close();
    });
    return url;
  }

  test('the policy of the page lets scripts of the service in: an allowed callback is called', () => {
    expect(seen.called).toBe(1);
  });

  test.each(WAYS)('an injected script URL does nothing to the page: %s', way => {
    expect(seen.attack[way]).toEqual({ fired: 'error', changed: [] });
  });

  test('no form was posted, no link followed, no page left', () => {
    expect(seen.site.filter(line => !/^GET \/(all|page|attack|favicon\.ico)$/.test(line))).toEqual([]);
    expect(seen.site.filter(line => line === 'GET /attack')).toHaveLength(1);
  });

  test.each(variants)(
    'the script is not turned by elements of kind $kind, its use being $mode',
    ({ kind, mode }) => {
      expect(seen.heard).toContain(`${kind}-${mode}`);
    },
  );

  test('no answer is asked of the origin of the attacker', () => {
    expect(seen.evil.filter(path => /^\/(status|ran)/.test(path))).toEqual([]);
    expect(seen.evil.length).toBeGreaterThan(0);
  });

  test('every global of this browser is refused', () => {
    expect(seen.names.length).toBeGreaterThan(800);
    const names = new Names();
    for (const use of ['callback', 'var'] as const)
      expect(seen.names.filter(global => names.allows(use, global))).toEqual([]);
  });
});
