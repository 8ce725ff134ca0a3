/** `EventSource` and `WebSocket` of today's engines: both hear the values of a key, over a node that drains. */
import { createServer } from 'node:http';
import { expect, onTestFinished, test } from 'vitest';
import { held, listen, service, set, until } from '../harness.js';
import { freePort, redisServer } from '../redis.js';
import { engines, start } from './engines.js';

const TODAY = ['Chromium', 'Firefox ESR', 'WebKitGTK'];
const installed = engines.filter(({ name, found }) => TODAY.includes(name) && found());
for (const name of TODAY.filter(one => !installed.some(engine => engine.name === one)))
  console.log(`${name} is not on this machine: left out (test/browsers/install.sh brings it)`);

const STRANGE = JSON.stringify({ text: 'é<\u2028' });

/**
 * Watches the key that its URL names by both, and reports what it hears to its own site, in order. A stream that is closed for
 * good is opened again: Firefox does so when a node ends while its request is under way.
 */
const page = (url: string) => `<!doctype html><title>ways</title><script>
var key = location.search.slice(1), reports = Promise.resolve(), since = '', heard = '';
function report(text) {
  reports = reports.then(function () { return fetch('/report' + location.search, { method: 'POST', body: text }); });
}
function open() {
  var stream = new EventSource('${url}/status/events?key=' + key + '&since=' + heard);
  stream.addEventListener('value', function (event) {
    heard = event.lastEventId;
    report('stream ' + JSON.stringify(JSON.parse(event.data)));
  });
  stream.addEventListener('end', function (event) { stream.close(); report('stream ends: ' + event.data); });
  stream.addEventListener('error', function () {
    if (stream.readyState !== 2) return;
    report('closed');
    setTimeout(open, 500);
  });
}
open();
function connect() {
  var socket = new WebSocket('${url.replace(/^http/, 'ws')}/status/socket', 'tagwait.1');
  socket.onopen = function () { socket.send(JSON.stringify({ watch: key, since: since })); };
  socket.onmessage = function (event) {
    var answer = JSON.parse(event.data);
    since = answer.cursor;
    (answer.earlier || []).concat([answer.data]).forEach(function (value) { report('socket ' + JSON.stringify(value)); });
    if (!answer.final) return;
    socket.onclose = null;
    socket.close();
    report('socket ends: final');
  };
  socket.onclose = function (event) {
    if (event.code !== 1012 && event.code !== 1006) report('socket is closed: ' + event.code);
    setTimeout(connect, event.code === 1012 ? JSON.parse(event.reason).retry : 100);
  };
}
connect();
</script>`;

/** The pages' own site. @returns its URL, and what the page of each key has reported */
async function siteFor(url: string) {
  const reported = new Map<string, string[]>();
  const server = createServer(async (request, response) => {
    const { pathname, search } = new URL(request.url ?? '', 'http://site');
    if (pathname !== '/report')
      return void response
        .writeHead(pathname === '/' ? 200 : 404, { 'Content-Type': 'text/html' })
        .end(page(url));
    let text = '';
    for await (const part of request) text += part;
    const key = search.slice(1);
    reported.set(key, [...(reported.get(key) ?? []), text]);
    response.end();
  });
  const site = await listen(server);
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return {
    site,
    of: (key: string, way: string) => (reported.get(key) ?? []).filter(text => text.startsWith(way)),
  };
}

test.skipIf(installed.length === 0)(
  'EventSource and WebSocket of each engine hear every value once, come back after a drain, and end with the last one',
  async () => {
    const redisUrl = (await redisServer()).url;
    const publicPort = await freePort();
    const node = () => service({ redisUrl, publicPort, drain: 1 });
    const first = await node();
    const { site, of } = await siteFor(first.publicUrl);
    const keys = installed.map(({ name }) => name.replace(/\W/g, ''));
    for (const [index, engine] of installed.entries()) {
      const end = start(engine, `${site}/?${keys[index]}`, undefined);
      onTestFinished(end);
    }
    const store = (internalUrl: string, value: unknown, final = false) =>
      Promise.all(keys.map(key => set(internalUrl, { key, value, final })));
    const hear = (last: string) =>
      until(
        () => keys.every(key => ['stream', 'socket'].every(way => of(key, way).at(-1) === `${way} ${last}`)),
        {
          seen: () => keys.map(key => [key, of(key, '')]),
        },
      );
    await Promise.all(keys.map(key => held(first.internalUrl, key, 2)));
    await store(first.internalUrl, 1);
    await store(first.internalUrl, JSON.parse(STRANGE));
    await hear(STRANGE);
    await first.stop();
    const second = await node();
    await store(second.internalUrl, 'while they were away');
    await hear('"while they were away"');
    await store(second.internalUrl, 'last', true);
    await hear('ends: final');
    const heard = ['1', STRANGE, '"while they were away"', '"last"', 'ends: final'];
    expect(of('Chromium', 'closed')).toEqual([]);
    for (const key of keys)
      for (const way of ['stream', 'socket'])
        expect(of(key, way), key).toEqual(heard.map(text => `${way} ${text}`));
    for (const key of keys) await held(second.internalUrl, key, 0);
  },
);
