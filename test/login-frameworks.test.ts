/** docs/login-frameworks.md: its applications are run where the framework is on the machine, and signed in to as browsers do. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, expect, test, vi } from 'vitest';
import { folderOf, line, SECRET, TOKEN } from './backends.js';
import { blocksOf, page } from './blocks.js';
import { poll, service, until } from './harness.js';
import { program } from './program.js';
import { freePort } from './redis.js';

vi.setConfig({ testTimeout: 60_000 });

const blocks = blocksOf('docs/login-frameworks.md');
const blockOf = (heading: string, part = '') =>
  blocks.find(block => block.heading === heading && block.text.includes(part))?.text ?? '';

/** Debian's Python: another one that comes first may be without Django. */
const PYTHON = '/usr/bin/python3';
/** What stands around the code of the page. */
const around = (name: string) => readFileSync(`${import.meta.dirname}/login-frameworks/${name}`, 'utf8');
const works = (command: string, ...args: string[]) => spawnSync(command, args).status === 0;

interface Framework {
  files: Record<string, string>;
  run(port: number): string[];
  session: string;
  here: boolean;
}

/** Each with the site's own sign-in, and a route that begins a session, which the page leaves to its reader. */
const FRAMEWORKS: Record<string, Framework> = {
  'Express and Passport': {
    files: {
      'app.mjs': `${blockOf('Express and Passport')}
app.get('/test/in', (request, response) => request.login({ id: 'ada' }, () => response.send('')));
app.get('/test/mark', (request, response) => { request.session.mark = 1; response.send(''); });`,
    },
    run: () => [process.execPath, 'app.mjs'],
    session: 'connect.sid',
    here: true,
  },
  Fastify: {
    files: {
      'app.mjs': blockOf('Fastify').replace(
        'await app.listen',
        `app.get('/test/in', async request => { request.session.user = 'ada'; return ''; });
app.get('/test/mark', async request => { request.session.mark = 1; return ''; });
await app.listen`,
      ),
    },
    run: () => [process.execPath, 'app.mjs'],
    session: 'sessionId',
    here: true,
  },
  Django: {
    files: {
      'views.py': blockOf('Django', 'def redeem'),
      'urls.py': blockOf('Django', 'urlpatterns'),
      'test_urls.py': around('test_urls.py'),
      'django_project.py': around('django.py'),
    },
    run: () => [PYTHON, 'django_project.py'],
    session: 'sessionid',
    here: works(PYTHON, '-c', 'import django'),
  },
  Laravel: {
    files: {
      'ScanLogin.php': blockOf('Laravel', 'class ScanLogin'),
      'web.php': blockOf('Laravel', 'Route::post'),
      'login.blade.php': blockOf('Laravel', 'login.js'),
      'scan.blade.php': blockOf('Laravel', 'phone.js'),
      'laravel.php': around('laravel.php'),
    },
    run: port => ['php', '-S', `127.0.0.1:${port}`, 'laravel.php'],
    session: 'laravel_session',
    here: works('php', '-r', "require 'Illuminate/autoload.php'; require 'GuzzleHttp/autoload.php';"),
  },
};

/** Laravel has a status of its own for a request without a token. */
const REFUSED = [403, 419];

/** A browser: its cookies, and what our scripts read of the page that it shows. */
class Browser {
  readonly #site: string;
  readonly cookies: Map<string, string>;
  page = '';

  constructor(site: string, cookies = new Map<string, string>()) {
    this.#site = site;
    this.cookies = cookies;
  }

  /** As it was, for a request whose answer is lost. */
  copy(): Browser {
    const copy = new Browser(this.#site, new Map(this.cookies));
    copy.page = this.page;
    return copy;
  }

  async open(path: string): Promise<string> {
    const response = await this.#fetch(path, {});
    this.page = await response.text();
    return this.page;
  }

  /** As `post` of client/login/tag.js. @param fields undefined: no body @param token without it: as a page of another site would */
  async post(path: string, fields: Record<string, string> | undefined, token = true) {
    const option = (name: string) => new RegExp(`data-${name}="([^"]*)"`).exec(this.page)?.[1];
    const csrf = this.cookies.get(option('csrf-cookie') ?? '') ?? option('csrf');
    const header = option('csrf-header') ?? 'X-CSRF-Token';
    const response = await this.#fetch(path, {
      method: 'POST',
      headers: token && csrf ? { [header]: csrf } : {},
      ...(fields && { body: new URLSearchParams(fields) }),
    });
    const text = await response.text();
    const body = text.startsWith('{') ? (JSON.parse(text) as Record<string, string>) : {};
    return { status: response.status, body };
  }

  async #fetch(path: string, { headers, ...init }: { headers?: Record<string, string> } & RequestInit) {
    const cookie = [...this.cookies].map(pair => pair.join('=')).join('; ');
    const response = await fetch(this.#site + path, {
      redirect: 'manual',
      headers: { ...headers, cookie },
      ...init,
    });
    for (const text of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(text) ?? [];
      this.cookies.set(name, value);
    }
    return response;
  }
}

describe.each(Object.entries(FRAMEWORKS))('%s', (name, { files, run, session, here }) => {
  if (!here) console.log(`left out: ${name}, which is not on this machine`);

  test.runIf(here)('signs in, with a new session and a token on the phone', async () => {
    const { publicUrl, internalUrl } = await service({ secret: [SECRET], setTokens: [TOKEN] });
    const wire = await line(internalUrl);
    const port = await freePort();
    const site = `http://127.0.0.1:${port}`;
    const [command, ...args] = run(port) as [string, ...string[]];
    const app = program(command, args, {
      cwd: folderOf(files),
      env: { TAGWAIT: wire.url, TOKEN, SERVICE: publicUrl, SITE: site, PORT: String(port) },
    });
    await until(() => fetch(site).catch(() => false), { every: 50, seen: app.output });

    const screen = new Browser(site);
    await screen.open('/test/mark');
    const before = screen.copy();
    expect(await screen.open('/')).toContain(`<script src="${publicUrl}/login.js"`);
    const { status, body } = await screen.post('/login/new', {});
    const { key = '', proof = '', link } = body;
    expect([status, link]).toEqual([200, `${site}/scan?key=${key}`]);

    const phone = new Browser(site);
    expect(await phone.open(`/scan?key=${key}`), 'a phone that is not signed in').not.toContain('phone.js');
    const stranger = new Browser(site);
    await stranger.open('/'); // where it gets a token
    expect((await stranger.post('/login/approve', { key })).status, 'nobody, with a token').toBe(401);
    await phone.open('/test/in');
    expect(await phone.open(`/scan?key=${key}`)).toContain('phone.js');
    for (const call of ['scan', 'approve', 'deny'])
      expect(REFUSED, `${call} without a token`).toContain(
        (await phone.post(`/login/${call}`, { key }, false)).status,
      );
    const scanned = await phone.post('/login/scan', { key });
    expect(scanned).toMatchObject({ status: 200, body: { show: { site: 'My shop', place: '127.0.0.1' } } });
    wire.lose = 1;
    expect((await phone.post('/login/approve', { key })).status, 'no answer').toBe(503);
    expect((await phone.post('/login/approve', { key })).status).toBe(200);
    const { data } = await poll(publicUrl, { key, proof, hold: '0' });
    const { code = '' } = data as { code?: string };

    const thief = new Browser(site);
    await thief.open('/');
    expect((await thief.post('/login/redeem', { key, code })).status, 'another browser').toBe(403);
    expect((await thief.post('/login/redeem', undefined)).status, 'redeem without a body').toBe(400);
    expect((await phone.post('/login/scan', undefined)).status, 'scan without a body').toBe(400);
    const late = screen.copy();
    expect((await screen.post('/login/redeem', { key, code })).status).toBe(200);
    expect((await late.post('/login/redeem', { key, code })).status, 'the first answer was lost').toBe(200);
    for (const one of [screen, late]) expect(await one.open('/')).toBe('Hello ada');
    expect(screen.cookies.get(session)).toMatch(/./);
    expect(screen.cookies.get(session), 'a new session').not.toBe(before.cookies.get(session));
    for (const one of [before, thief]) expect(await one.open('/')).toContain('/login.js');
  });
});

test('what was not run says so, and nothing else does', () => {
  const ran = new Set(Object.keys(FRAMEWORKS));
  const shown = [...new Set(blocks.map(({ heading }) => heading))];
  expect(shown.filter(heading => !ran.has(heading))).toEqual(['Spring Security']);
  expect(page('docs/login-frameworks.md').split('\n## Spring Security\n')[1]).toContain('**Not run here**');
});
