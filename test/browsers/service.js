// A service that misbehaves on order: it answers each scenario's polls by its list, and writes down what pages
// report. Every scenario has an address of its own, so that none waits for another's connections.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';
import { listenOnFree } from '../ports.js';
import { pageOf } from './page.js';
import { scenarios } from './scenarios.js';

export const client = process.env.CLIENT
  ? pathToFileURL(process.env.CLIENT) // an older one: old.js
  : new URL('../../dist/client/tagwait.js', import.meta.url);
/** for several keys */
export const many = new URL('../../dist/client/many.js', import.meta.url);

// Linux has the whole of 127.0.0.0/8; elsewhere Chromium, the only engine there, takes every *.localhost as its own.
export const host = number => (process.platform === 'linux' ? `127.0.1.${number}` : `s${number}.localhost`);

const listen = server => listenOnFree(server, '0.0.0.0');

export const script = (response, body, headers = {}) =>
  response
    .writeHead(200, {
      'content-type': 'text/javascript; charset=utf-8',
      'cache-control': 'no-store',
      'cross-origin-resource-policy': 'cross-origin',
      ...headers,
    })
    .end(body);

/** A guarded call, as the service writes it. */
export const call = (name, answer) => {
  const parts = name.split('.');
  const guards = parts.map((_, i) => `typeof ${parts.slice(0, i + 1).join('.')}!="undefined"`);
  return `/**/${guards.join('&&')}&&${name}(${JSON.stringify(answer)});`;
};

/** Answers one poll with one entry of a list; `hold` holds it for good. */
export function reply(response, name, entry) {
  if (entry === 'hold') return;
  if (entry === 'empty') return script(response, '');
  if (entry === 'garbage') return script(response, '<html>}{');
  if (entry === 'error') return response.writeHead(500).end('/* no */');
  if (entry === 'reset') return response.destroy();
  const { after = 0, ...answer } = entry;
  setTimeout(() => script(response, call(name, answer)), after);
}

/** One engine's run of the scenarios: what was reported and asked, by scenario. */
export async function startRun(chosen = scenarios) {
  const began = Date.now();
  const results = new Map(chosen.map(scenario => [scenario.name, { events: [], polls: [], drops: [] }]));
  let userAgent = '';

  function handle(request, response) {
    const url = new URL(request.url, 'http://service');
    const query = Object.fromEntries(url.searchParams);
    userAgent = request.headers['user-agent'] ?? userAgent;
    if (url.pathname === '/client.js') return script(response, readFileSync(client));
    if (url.pathname === '/client/many.js') return script(response, readFileSync(many));
    const listed = name => url.searchParams.getAll(name).join();
    if (url.pathname === '/status/get')
      return poll({ ...query, key: listed('key'), since: listed('since') }, response);
    if (url.pathname === '/event') {
      const { events } = results.get(query.scenario) ?? { events: [] };
      // A browser may repeat a report as it may repeat a poll.
      if (!events.some(event => event.id === query.id))
        events.push({ id: query.id, order: +query.id, at: Date.now() - began, text: query.text });
      events.sort((a, b) => a.order - b.order);
      return script(response, '');
    }
    if (url.pathname === '/slow') return setTimeout(() => response.writeHead(404).end(), 800);
    if (url.pathname === '/')
      return response
        .writeHead(200, { 'content-type': 'text/html; charset=utf-8' })
        .end(pageOf(chosen, { port: server.address().port, victim: victim.address().port, host }));
    response.writeHead(404).end();
  }

  /** `key` and `since`: lists with commas, where a poll has several. */
  function poll({ callback, key, since, hold = '', drop }, response) {
    const scenario = chosen.find(one => key.startsWith(one.name));
    const { polls, drops } = results.get(scenario.name);
    if (drop !== undefined) {
      // what it held is not let go, so that late answers can be tried
      drops.push({ key, drop, at: Date.now() - began });
      return script(response, call(callback, { code: -1, message: 'timeout', cursor: since }));
    }
    const mine = polls.filter(one => firstOf(one.key) === firstOf(key));
    let index = mine.findIndex(one => one.callback === callback);
    if (index < 0) {
      index = mine.length;
      polls.push({ key, callback, since, hold, at: Date.now() - began });
    }
    const entry = entryOf(scenario, index);
    if (entry === 'down') return index === 0 && setTimeout(kill, 300);
    reply(response, callback, entry);
  }

  const server = createServer(handle);
  const victim = createServer(handle);
  await listen(server);
  await listen(victim);
  let back;
  function kill() {
    const { port } = victim.address() ?? {};
    if (!port) return;
    victim.close();
    victim.closeAllConnections();
    back = setTimeout(() => victim.listen(port, '0.0.0.0'), 2000);
  }

  return {
    url: `http://${host(1)}:${server.address().port}/`,
    results,
    userAgent: () => userAgent,
    async close() {
      clearTimeout(back);
      for (const one of [server, victim]) {
        one.closeAllConnections();
        await new Promise(resolve => one.close(resolve));
      }
    },
  };
}

const firstOf = keys => keys.split(',')[0];

export const entryOf = ({ answers }, index) =>
  typeof answers === 'function'
    ? answers(index)
    : (answers[index] ?? { code: -2, message: 'done', after: 300 });
