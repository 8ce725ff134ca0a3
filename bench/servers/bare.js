/** The baseline: node:http that holds and answers requests, without checks, limits, store and history. */
import { createServer } from 'node:http';
import { parse } from 'node:querystring';

const held = new Map();

createServer((request, response) => {
  if (request.method === 'POST') {
    let body = '';
    request.setEncoding('utf8').on('data', text => {
      body += text;
    });
    request.on('end', () => {
      const { key, value } = JSON.parse(body);
      answer(held.get(key), { code: 0, data: value });
      const text = '{"code":0}';
      response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': text.length });
      response.end(text);
    });
    return;
  }
  const { key, callback, hold = 300 } = parse(request.url.slice(request.url.indexOf('?') + 1));
  const waiter = { key, callback, response };
  waiter.timer = setTimeout(() => answer(waiter, { code: -1 }), hold * 1000);
  held.set(key, waiter);
  response.on('close', () => {
    clearTimeout(waiter.timer);
    if (held.get(key) === waiter) held.delete(key);
  });
}).listen(Number(process.env.PORT), '127.0.0.1', () => console.log('ready'));

function answer(waiter, data) {
  if (!waiter) return;
  clearTimeout(waiter.timer);
  held.delete(waiter.key);
  const text = `${waiter.callback}(${JSON.stringify(data)});`;
  waiter.response.writeHead(200, { 'Content-Type': 'text/javascript', 'Content-Length': text.length });
  waiter.response.end(text);
}
