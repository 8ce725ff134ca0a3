// The browser engines: how each is found, its version read, and started with an address. Leaves out those not installed.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium, find } from '../needs.js';
import { programOf } from './jscript.js';

const here = import.meta.dirname;
const miniBrowser = '/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser';
const khtml = join(here, '../../node_modules/.cache/tagwait-khtml');
const headless = ['xvfb-run', '-a'];
const python = '/usr/bin/python3';

export const quiet = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  // two pages of its own for the address bar, which cost as much as all the rest of a start
  '--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup',
];

const says = (...command) => {
  try {
    return execFileSync(command[0], command.slice(1), {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  } catch {
    return '';
  }
};
const packaged = name => says('dpkg-query', '-W', `-f=\${Version}`, name).replace(/^\d+:|[-+~].*$/g, '');

/** KHTML has no browser left in Debian: a window is compiled once, if its headers are here. */
function khtmlWindow() {
  const window = join(khtml, 'window');
  if (existsSync(window)) return window;
  if (!find(['cmake']) || !find(['dbus-run-session']) || !existsSync('/usr/include/KF5/KHtml')) return;
  try {
    mkdirSync(khtml, { recursive: true });
    execFileSync('cmake', ['-S', join(here, 'khtml'), '-B', khtml], { stdio: 'ignore' });
    execFileSync('cmake', ['--build', khtml], { stdio: 'ignore' });
    return window;
  } catch {}
}

export const engines = [
  {
    name: 'Chromium',
    level: 'today',
    found: chromium,
    version: () => /[\d.]{3,}/.exec(says(chromium(), '--version'))?.[0],
    command: (url, home) => [chromium(), '--headless', ...quiet, `--user-data-dir=${home}`, url],
  },
  {
    name: 'Firefox ESR',
    level: 'today',
    found: () => find(['firefox-esr']),
    version: () => /[\d.]{3,}/.exec(says('firefox-esr', '--version'))?.[0],
    command: (url, home) => ['firefox-esr', '--headless', '--no-remote', '--profile', home, url],
  },
  {
    name: 'WebKitGTK',
    level: 'today, as Safari',
    found: () => find(['xvfb-run']) && existsSync(miniBrowser),
    version: () => packaged('libwebkit2gtk-4.1-0'),
    command: url => [...headless, miniBrowser, url],
  },
  {
    name: 'QtWebKit',
    level: 'ES2015, about 2016',
    found: () => says(python, join(here, 'qtwebkit.py'), '--version') !== '',
    version: () => says(python, join(here, 'qtwebkit.py'), '--version').split(' ')[1],
    command: url => [python, join(here, 'qtwebkit.py'), url],
    env: { QT_QPA_PLATFORM: 'offscreen' },
  },
  {
    name: 'KHTML',
    level: 'ES5, no error events',
    found: khtmlWindow,
    version: () => packaged('libkf5khtml5'),
    command: url => ['dbus-run-session', '--', khtmlWindow(), url],
    env: { QT_QPA_PLATFORM: 'offscreen', KDE_FORK_SLAVES: '1' },
  },
  {
    name: 'NetSurf',
    level: 'ES5, no load or error events',
    found: () => find(['xvfb-run']) && find(['netsurf-gtk']),
    version: () => packaged('netsurf-gtk'),
    command(url, home) {
      mkdirSync(join(home, '.netsurf'), { recursive: true });
      writeFileSync(join(home, '.netsurf/Choices'), 'enable_javascript:1\n');
      return [...headless, 'netsurf-gtk', url];
    },
  },
  {
    name: 'JScript',
    level: 'ES3, in a stub document',
    found: () => find(['xvfb-run']) && find(['wine']),
    version: () => `5.8, wine ${packaged('wine')}`,
    /** It has no network: it prints what the others tell the service. */
    printed: true,
    command(_url, home, chosen, text = programOf(chosen)) {
      const program = join(home, 'program.js');
      writeFileSync(program, text);
      // A path that begins with a slash would be an option.
      return [...headless, 'wine', 'cscript', '//nologo', `Z:${program.replaceAll('/', '\\')}`];
    },
    env: { WINEDEBUG: '-all', WINEDLLOVERRIDES: 'mscoree,mshtml=' },
  },
];

/** Starts an engine in a home of its own; what it returns ends it, with all its processes, and its home. */
export function start(engine, url, chosen, line = () => {}) {
  const home = mkdtempSync(join(tmpdir(), 'tagwait-'));
  const [program, ...words] = engine.command(url, home, chosen);
  const child = spawn(program, words, {
    detached: true, // a process group, so that it can be ended as one
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { ...process.env, HOME: home, XDG_RUNTIME_DIR: home, ...engine.env },
  });
  let rest = '';
  child.stdout.setEncoding('utf8').on('data', text => {
    const lines = (rest + text).split(/\r?\n/);
    rest = lines.pop() ?? '';
    lines.forEach(line);
  });
  // Not `close`: Wine's server outlives its program for a while, and keeps its output open.
  const over = new Promise(resolve => child.once('exit', resolve).once('error', resolve));
  return async () => {
    try {
      process.kill(-child.pid, 'SIGTERM');
    } catch {}
    const hard = setTimeout(() => {
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch {}
    }, 2000);
    await over;
    clearTimeout(hard);
    child.stdout.destroy();
    // Wine's server goes on writing there for some seconds
    await rm(home, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  };
}
