/** A window without a browser, for the page's scripts: script tags are real requests, and timers are real. */
import { readFileSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { createContext, runInContext } from 'node:vm';
import { type Owner, onTestFinished } from '../owner.js';
import type { Way } from './clients.js';
import { Log } from './log.js';

interface Script {
  src: string;
  parentNode?: object | undefined;
  onload?(): void;
  onerror?(): void;
}
interface Info {
  lost: number;
  final: boolean;
}
type Watch = (key: string, options: object) => { stop(): void };

const textOf = (url: string, agent: Agent) =>
  new Promise<string>((resolve, reject) => {
    const asked = get(url, { agent }, response => {
      let text = '';
      response.setEncoding('utf8').on('data', part => {
        text += part;
      });
      response.on('error', reject).on('end', () => resolve(text));
    });
    asked.on('error', reject);
  });

/** The `tagwait.watch` of a page that has included one of the scripts. @param name of the script in dist/client */
function watchOf(name: 'tagwait' | 'many', own: Owner): Watch {
  const agent = new Agent({ keepAlive: true });
  let over = false;
  own(() => {
    over = true;
    agent.destroy();
  });
  const root = {
    removeChild(script: Script) {
      script.parentNode = undefined;
    },
    appendChild(script: Script) {
      script.parentNode = root;
      textOf(script.src, agent)
        .then(text => {
          if (over) return;
          runInContext(text, window);
          script.onload?.();
        })
        .catch(() => over || script.onerror?.());
    },
  };
  const window: Record<string, unknown> = {
    document: {
      readyState: 'complete',
      hidden: false,
      createElement: () => ({}),
      getElementsByTagName: (tag: string) => (tag === 'html' ? [root] : []),
    },
    setTimeout: (run: () => void, ms = 0) => setTimeout(() => over || run.call(window), ms),
    addEventListener() {},
  };
  window.window = window;
  createContext(window);
  const file = new URL(`../../dist/client/${name}.js`, import.meta.url);
  runInContext(readFileSync(file, 'utf8'), window);
  return (window.tagwait as { watch: Watch }).watch;
}

const scriptOf =
  (name: 'tagwait' | 'many'): Way =>
  (url, keys, own = onTestFinished) => {
    const log = new Log();
    const watch = watchOf(name, own);
    for (const key of keys)
      watch(key, {
        url,
        onvalue: (value: unknown, { lost, final }: Info) => log.add(key, { value, lost, final }),
        onend: (reason: string) => reason === 'final' || log.faults.push(`${key}: ${reason}`),
      });
    return log;
  };

export const scripts = scriptOf('tagwait');
export const severalKeys = scriptOf('many');
