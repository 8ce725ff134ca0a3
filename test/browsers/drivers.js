// Firefox and WebKitGTK with real tabs, through WebDriver: what tabs.js is for Chromium. Each → { open(url): tab, close() };
// a tab has show(), evaluate(text), close(), and offline(is) where the browser can.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { WebSocket } from 'ws';
import { until } from '../../bench/until.js';
import { listenOnFree } from '../ports.js';
import { engines } from './engines.js';

const STARTS = { within: 60_000, every: 50 };

/** Starts a program in a home of its own. → { child, home, end() } */
function start(program, words, output = 'ignore') {
  const home = mkdtempSync(join(tmpdir(), 'tagwait-'));
  const child = spawn(
    program,
    words.map(word => word.replace('HOME', home)),
    {
      detached: true, // a process group, so that it can be ended as one
      stdio: ['ignore', 'ignore', output],
      env: { ...process.env, HOME: home, XDG_RUNTIME_DIR: home },
    },
  );
  const over = once(child, 'exit');
  return {
    child,
    async end() {
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch {}
      await over;
      rmSync(home, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
    },
  };
}

/** Through WebDriver BiDi, which Firefox speaks by itself. */
export async function startFirefox() {
  const words = ['--headless', '--no-remote', '--profile', 'HOME', '--remote-debugging-port', '0'];
  const { child, end } = start('firefox-esr', words, 'pipe');
  const address = await new Promise((resolve, reject) => {
    child.once('exit', () => reject(new Error('Firefox has ended')));
    createInterface({ input: child.stderr }).on('line', line => {
      const [, found] = /BiDi listening on (\S+)/.exec(line) ?? [];
      if (found) resolve(found);
    });
  });
  const socket = new WebSocket(`${address}/session`);
  await once(socket, 'open');
  const waiting = new Map();
  let number = 0;
  socket.on('message', text => {
    const { id, result, error, message } = JSON.parse(text);
    const { resolve, reject } = waiting.get(id) ?? {};
    waiting.delete(id);
    if (error) reject?.(new Error(`${error}: ${message}`));
    else resolve?.(result);
  });
  const send = (method, params) =>
    new Promise((resolve, reject) => {
      waiting.set(++number, { resolve, reject });
      socket.send(JSON.stringify({ id: number, method, params }));
    });
  await send('session.new', { capabilities: {} });

  return {
    async open(url) {
      const { context } = await send('browsingContext.create', { type: 'tab' });
      await send('browsingContext.navigate', { context, url, wait: 'none' });
      return {
        show: () => send('browsingContext.activate', { context }),
        close: () => send('browsingContext.close', { context }),
        offline: is =>
          send('emulation.setNetworkConditions', {
            contexts: [context],
            networkConditions: is ? { type: 'offline' } : null,
          }),
        async evaluate(expression) {
          const { result, exceptionDetails } = await send('script.evaluate', {
            expression: `JSON.stringify(${expression})`,
            target: { context },
            awaitPromise: true,
          });
          if (exceptionDetails) throw new Error(exceptionDetails.text);
          return result.value && JSON.parse(result.value);
        },
      };
    },
    async close() {
      socket.terminate();
      await end();
    },
  };
}

/** Through WebKitWebDriver. */
export async function startWebKit() {
  const holder = createServer();
  const port = await listenOnFree(holder);
  await new Promise(closed => holder.close(closed));
  const { end } = start('xvfb-run', ['-a', 'WebKitWebDriver', `--port=${port}`]);
  const ask = async (method, path, body) => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      method,
      ...(body && { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    });
    const { value } = await response.json();
    if (!response.ok) throw new Error(`${value.error}: ${value.message}`);
    return value;
  };
  await until(
    () =>
      ask('GET', '/status').then(
        ({ ready }) => ready,
        () => false,
      ),
    'WebKitWebDriver',
    STARTS,
  );
  const binary = engines.find(({ name }) => name === 'WebKitGTK').command('')[2];
  const options = { 'webkitgtk:browserOptions': { binary, args: ['--automation'] } };
  const { sessionId } = await ask('POST', '/session', { capabilities: { alwaysMatch: options } });
  const path = `/session/${sessionId}`;

  return {
    /** The one tab: a second is hidden from its start, and stays so. */
    async open(url) {
      await ask('POST', `${path}/url`, { url });
      return {
        show: async () => {},
        close: () => ask('POST', `${path}/url`, { url: 'about:blank' }),
        evaluate: expression =>
          ask('POST', `${path}/execute/sync`, { script: `return (${expression})`, args: [] }),
      };
    },
    async close() {
      await ask('DELETE', path).catch(() => {});
      await end();
    },
  };
}
