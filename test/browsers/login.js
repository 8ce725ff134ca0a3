// The login box in every engine: from the code to the redeem, with a site and a service that are small enough to be
// read here. As a program: prints what each engine did.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { until } from '../../bench/until.js';
import { listenOnFree } from '../ports.js';
import { engines, start } from './engines.js';
import { boxProgramOf } from './login-jscript.js';
import { call, host, script } from './service.js';

const LONGEST = 90_000; // ms, on a busy machine
export const box = new URL('../../dist/client/login.js', import.meta.url);
const LINK = 'https://app.example.com/scan?key=the-key';
const ticket = () => ({
  key: 'the-key',
  proof: 'p',
  link: LINK,
  expires: Math.floor(Date.now() / 1000) + 60,
});

/** The page: reports each state, and how the code is drawn. ES3. */
const pageOf = attributes => `<!doctype html><html lang="de"><head><title>Login</title><script>
var reports = 0;
function report(text) {
  var tag = document.createElement('script');
  tag.src = '/event?order=' + reports++ + '&text=' + encodeURIComponent(text);
  document.getElementsByTagName('head')[0].appendChild(tag);
}
function heard(state, info) {
  var cells = document.getElementsByTagName('td').length;
  report(state + (state === 'waiting' ? (cells ? ' table ' + cells : ' picture') : ''));
}
</script></head><body><div id="login"></div>
<script src="/login.js" data-new="/login/new" data-redeem="/login/redeem" data-into="#login" data-onstate="heard" ${attributes}></script>
</body></html>`;

/** What the service tells the page, poll by poll. */
const ANSWERS = [
  { code: 0, data: { state: 'scanned' }, cursor: 'c1', after: 500 },
  { code: 0, data: { state: 'approved', code: 'once' }, cursor: 'c2', final: true, after: 500 },
];

/** Runs the login in an engine. → { reports, redeemed } */
export async function runLogin(engine) {
  const reports = [];
  const seen = new Map();
  let redeemed;
  const server = createServer(async (request, response) => {
    const url = new URL(request.url, 'http://site');
    const { callback, text, order } = Object.fromEntries(url.searchParams);
    let body = '';
    for await (const chunk of request) body += chunk;
    if (url.pathname === '/login.js') return script(response, readFileSync(box));
    if (url.pathname === '/event') reports[order] = text;
    if (url.pathname === '/status/get') {
      // a browser may repeat a poll
      if (!seen.has(callback)) seen.set(callback, seen.size);
      const { after, ...answer } = ANSWERS[seen.get(callback)] ?? { code: -2, message: 'expired', after: 0 };
      return setTimeout(() => script(response, call(callback, answer)), after);
    }
    if (request.method === 'POST' && url.pathname === '/login/new')
      return response.end(JSON.stringify(ticket()));
    if (url.pathname === '/login/redeem') {
      redeemed = `${request.method} ${body || url.search}`;
      return response.end('{"user":"Ada"}');
    }
    if (url.pathname !== '/') return script(response, '');
    // it has no XMLHttpRequest: its page comes with a ticket
    const attributes = /NetSurf/.test(request.headers['user-agent'])
      ? Object.entries(ticket()).map(([name, value]) => `data-${name}="${value}"`)
      : [];
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(pageOf(attributes.join(' ')));
  });
  const port = await listenOnFree(server, '0.0.0.0');
  const stop = start({ ...engine, command: commandOf(engine) }, `http://${host(1)}:${port}/`, [], line => {
    const [kind, text] = line.split('\t');
    if (kind === 'report') reports.push(text);
    if (kind === 'redeem') redeemed = `POST ${text}`;
  });
  try {
    const over = () => redeemed !== undefined && (reports.includes('done') || engine.name === 'NetSurf');
    // what is not over by then shows by what is missing
    await until(over, 'the login', { within: LONGEST, every: 100 }).catch(() => {});
    return { reports, redeemed };
  } finally {
    await stop();
    server.closeAllConnections();
    await new Promise(resolve => server.close(resolve));
  }
}

const commandOf = engine =>
  engine.printed
    ? (url, home) => engine.command(url, home, [], boxProgramOf(ticket(), ANSWERS))
    : engine.command;

export const found = () => engines.filter(engine => engine.found());

if (process.argv[1] === import.meta.filename)
  for (const engine of found()) console.log(engine.name, JSON.stringify(await runLogin(engine)));
