/** engine.io 6 with long polling only; the first request has the page's key, and sets are sent to its socket. */
import { createServer } from 'node:http';
import { Server } from 'engine.io';

const sockets = new Map();
const engine = new Server({ transports: ['polling'], pingInterval: 600_000, pingTimeout: 600_000 });
engine.on('connection', socket => {
  const key = new URL(socket.request.url, 'http://x').searchParams.get('key');
  sockets.set(key, socket);
  socket.on('close', () => sockets.delete(key));
});

const server = createServer((request, response) => {
  let body = '';
  request.setEncoding('utf8').on('data', text => {
    body += text;
  });
  request.on('end', () => {
    const { key, value } = JSON.parse(body);
    sockets.get(key)?.send(JSON.stringify(value));
    response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': 10 });
    response.end('{"code":0}');
  });
});
engine.attach(server);
server.listen(Number(process.env.PORT), '127.0.0.1', () => console.log('ready'));
