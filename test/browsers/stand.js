// A service that behaves, small enough to be read here, with pages on another origin; and what it saw.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { listenOnFree } from '../ports.js';
import { call, client, script } from './service.js';

const started = server => listenOnFree(server, '0.0.0.0');

/** → { service, page(options): url, file(path, text, headers): url, set(key, value), ends(key, ms), polls, drops, of(key), held(), sicken(answer), late(promise), cut(ms), close() } */
export async function startStand() {
  const entries = new Map();
  const held = new Set();
  const polls = [];
  const pages = new Map();
  const drops = [];
  const ends = new Map();
  let sick;
  let limit;
  let ready;

  function poll(request, response, { key, callback, since = '', hold = '25', proof, poll: name, drop }) {
    const left = () => ends.has(key) && { left: (ends.get(key) - Date.now()) / 1000 };
    const timeout = () =>
      script(response, call(callback, { code: -1, message: 'timeout', cursor: since || '0', ...left() }));
    if (drop) {
      drops.push(drop);
      for (const waiter of [...held]) if (waiter.name === drop) waiter.end();
      return timeout();
    }
    const asked = { key, callback, since, hold, proof, at: Date.now(), host: request.headers.host };
    polls.push(asked);
    if (sick)
      return sick === 'silent' ? undefined : script(response, sick === 'empty' ? '' : call(callback, sick));
    response.once('close', () => {
      asked.over = Date.now();
    });
    const answer = () => {
      const all = entries.get(key) ?? [];
      const fresh = all.slice(+since);
      if (fresh.length === 0) return;
      const earlier = fresh.length > 1 ? { earlier: fresh.slice(0, -1) } : {};
      const answer = { code: 0, data: fresh.at(-1), cursor: `${all.length}`, ...earlier, ...left() };
      script(response, call(callback, answer));
      return true;
    };
    if (answer()) return;
    const waiter = { key, name, wake: () => answer(), end: timeout };
    const ms = +hold * 1000;
    const cut = () => {
      asked.cut = true;
      response.writeHead(504).end();
    };
    waiter.timer = setTimeout(ms > limit ? cut : timeout, Math.min(ms, limit ?? ms));
    held.add(waiter);
    response.once('close', () => {
      clearTimeout(waiter.timer);
      held.delete(waiter);
    });
  }

  const service = createServer(async (request, response) => {
    const url = new URL(request.url, 'http://service');
    // As the service does it: asked for again by every page.
    if (url.pathname === '/client.js') {
      await ready;
      return script(response, readFileSync(client), {
        'cache-control': 'no-cache',
        'access-control-allow-origin': '*',
      });
    }
    poll(request, response, Object.fromEntries(url.searchParams));
  });
  const site = createServer((request, response) => {
    const page = pages.get(request.url);
    response.writeHead(page ? 200 : 404, { 'content-type': 'text/html', ...page?.headers }).end(page?.html);
  });
  const base = `http://127.0.0.1:${await started(service)}`;
  const origin = `http://127.0.0.1:${await started(site)}`;

  return {
    service: base,
    origin,
    polls,
    drops,
    held: () => held.size,
    of: key => polls.filter(one => one.key === key),
    set(key, value) {
      entries.set(key, [...(entries.get(key) ?? []), value]);
      for (const waiter of [...held]) if (waiter.key === key) waiter.wake();
    },
    /** The connections of this key's held polls die, and neither side hears of it. */
    deafen(key) {
      for (const waiter of [...held])
        if (waiter.key === key) {
          clearTimeout(waiter.timer);
          held.delete(waiter);
        }
    },
    /** The key's ticket ends in `ms`, as its answers say. */
    ends(key, ms) {
      ends.set(key, Date.now() + ms);
    },
    /** The script is handed out when this is done. */
    late(promise) {
      ready = promise;
    },
    /** A proxy in front that answers 504 to what takes longer. */
    cut(ms) {
      limit = ms;
    },
    /** Every poll from now on gets this answer; nothing: all is well again. */
    sicken(answer) {
      sick = answer;
    },
    /** A page that writes what it hears into `heard`: [text, when]. */
    page({ key, options = '{}', headers = {}, attributes = '', before = '', tag = '' }) {
      const html = `<!doctype html><title>${key}</title><script ${attributes}>
var heard = [];
function note(what) { heard.push([what, Date.now()]); }
var handlers = { onvalue: function (value) { note(value); }, onend: function (reason) { note('end ' + reason); },
  onerror: function (error) { note('error ' + error.code + ': ' + error.message); }, onstate: function (state) { note('state ' + state); } };
function heardValue(value) { note(value); }
${before}
</script>
${
  tag ||
  `<script ${attributes} src="${base}/client.js"></script>
<script ${attributes}>var mine = tagwait.watch('${key}', Object.assign(handlers, ${options}));</script>`
}`;
      const path = `/${pages.size}-${key}`;
      pages.set(path, { html, headers });
      return origin + path;
    },
    /** Puts a file on the pages' own site. → its URL */
    file(path, html, headers = {}) {
      pages.set(path, { html, headers });
      return origin + path;
    },
    async close() {
      for (const server of [service, site]) {
        server.closeAllConnections();
        await new Promise(resolve => server.close(resolve));
      }
    },
  };
}
