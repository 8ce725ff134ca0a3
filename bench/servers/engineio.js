/** engine.io 6 with long polling only; the first request has the page's key, and sets are sent to its socket. */
import { Server } from 'engine.io';
import { serverOfSets } from './sets.js';

const sockets = new Map();
const engine = new Server({ transports: ['polling'], pingInterval: 600_000, pingTimeout: 600_000 });
engine.on('connection', socket => {
  const key = new URL(socket.request.url, 'http://x').searchParams.get('key');
  sockets.set(key, socket);
  socket.on('close', () => sockets.delete(key));
});

const server = serverOfSets((key, value) => sockets.get(key)?.send(JSON.stringify(value)));
engine.attach(server);
server.listen(Number(process.env.PORT), '127.0.0.1', () => console.log('ready'));
