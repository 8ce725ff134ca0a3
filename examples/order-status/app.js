/** An order's page, which hears of each step by itself. Plain node:http, with tagwait in the same process. */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createTagwait } from 'tagwait';

const { PORT = 3000 } = process.env;
const STEPS = ['received', 'packed', 'on its way', 'delivered'];
const read = name => readFileSync(new URL(name, import.meta.url));
const [page, look] = [read('page.html'), read('../look.css')];
const tagwait = await createTagwait({ ttl: 3600, logLevel: 'warn' });
/** Number of steps done, by the order's id. */
const orders = new Map();

createServer(async (request, response) => {
  const answer = (status, headers, body) => response.writeHead(status, headers).end(body);
  const [, id, next] = /^\/orders\/([\w-]{36})(\/next)?$/.exec(request.url) ?? [];
  if (request.url === '/') answer(302, { Location: `/orders/${randomUUID()}` });
  else if (request.url === '/look.css') answer(200, { 'Content-Type': 'text/css' }, look);
  else if (next && request.method === 'POST') answer(await move(id));
  else if (id && !next) answer(200, { 'Content-Type': 'text/html' }, page);
  else tagwait.publicListener(request, response); // the page's script, and what it asks
}).listen(PORT, () => console.log(`Open http://localhost:${PORT}`));

/** The shop has done the next step of an order. */
async function move(id) {
  const step = (orders.get(id) ?? 0) + 1;
  if (step >= STEPS.length) return 409;
  orders.set(id, step);
  await tagwait.set(`order-${id}`, { step, text: STEPS[step] }, { final: step === STEPS.length - 1 });
  return 204;
}
