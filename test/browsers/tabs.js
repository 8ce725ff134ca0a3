// Chromium with real tabs, through DevTools' pipe: what drives browsers for tests keeps every page visible, so a
// hidden tab has to be made as a user makes it, by showing another.
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from '../needs.js';
import { quiet } from './engines.js';

/** `storage: false`: the user blocks all of it. → { open(url): tab, close() }; a tab has show(), evaluate(text), go(url), close(). */
export async function startTabs({ storage = true } = {}) {
  const home = mkdtempSync(join(tmpdir(), 'tagwait-'));
  if (!storage) {
    const settings = { profile: { default_content_setting_values: { cookies: 2 } } };
    mkdirSync(join(home, 'Default'));
    writeFileSync(join(home, 'Default/Preferences'), JSON.stringify(settings));
  }
  const child = spawn(
    chromium(),
    ['--headless', ...quiet, '--remote-debugging-pipe', `--user-data-dir=${home}`, 'about:blank'],
    {
      detached: true,
      stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
      env: { ...process.env, HOME: home },
    },
  );
  const [, , , input, output] = child.stdio;
  const waiting = new Map();
  let number = 0;
  let rest = '';
  output.setEncoding('utf8').on('data', text => {
    const messages = (rest + text).split('\0');
    rest = messages.pop();
    for (const { id, result, error } of messages.map(message => JSON.parse(message))) {
      const { resolve, reject } = waiting.get(id) ?? {};
      waiting.delete(id);
      if (error) reject?.(new Error(error.message));
      else resolve?.(result);
    }
  });
  input.on('error', () => {});
  const send = (method, params = {}, sessionId) =>
    new Promise((resolve, reject) => {
      waiting.set(++number, { resolve, reject });
      input.write(`${JSON.stringify({ id: number, method, params, sessionId })}\0`);
    });

  async function open(url) {
    const { targetId } = await send('Target.createTarget', { url });
    const { sessionId } = await send('Target.attachToTarget', { targetId, flatten: true });
    return {
      show: () => send('Target.activateTarget', { targetId }),
      go: to => send('Page.navigate', { url: to }, sessionId),
      close: () => send('Target.closeTarget', { targetId }),
      send: (method, params) => send(method, params, sessionId),
      async offline(is) {
        await send('Network.enable', {}, sessionId);
        const speed = { latency: 0, downloadThroughput: -1, uploadThroughput: -1 };
        await send('Network.emulateNetworkConditions', { ...speed, offline: is }, sessionId);
      },
      async evaluate(expression) {
        const { result, exceptionDetails } = await send(
          'Runtime.evaluate',
          { expression, returnByValue: true, awaitPromise: true },
          sessionId,
        );
        if (exceptionDetails)
          throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
        return result.value;
      },
    };
  }

  async function close() {
    const over = new Promise(resolve => child.once('exit', resolve));
    if (child.exitCode === null) {
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch {}
      await over;
    }
    rmSync(home, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
  return { open, close, send };
}
