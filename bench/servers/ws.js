/** The baseline for sockets: the package ws that keeps the socket of each key, without checks, limits, store and history. */
import { WebSocketServer } from 'ws';

const sockets = new Map();

const options = { host: '127.0.0.1', port: Number(process.env.PORT), perMessageDeflate: false };
new WebSocketServer(options, () => console.log('ready')).on('connection', socket =>
  socket.on('message', data => {
    const { watch } = JSON.parse(data);
    sockets.set(watch, socket);
    socket.on('close', () => sockets.delete(watch));
  }),
);
