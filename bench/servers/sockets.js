/**
 * The floor: what `node:net` itself costs. Holds and answers the same requests as bare.js on bare sockets, and reads of them no more
 * than the key and the value. No server on Node's sockets can be cheaper by more than its own JavaScript.
 */
import { createServer } from 'node:net';

const held = new Map();
const head = (type, text) =>
  `HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\nContent-Length: ${text.length}\r\n\r\n${text}`;

createServer({ noDelay: true }, socket => {
  socket.on('error', () => {});
  socket.on('data', bytes => {
    const text = bytes.latin1Slice(0, bytes.length);
    if (text.charCodeAt(0) === 80) {
      const { key, value } = JSON.parse(text.slice(text.indexOf('\r\n\r\n') + 4));
      const waiting = held.get(key);
      held.delete(key);
      waiting?.write(head('text/javascript', `c0(${JSON.stringify({ code: 0, data: value })});`), 'latin1');
      socket.write(head('application/json', '{"code":0}'), 'latin1');
    } else held.set(text.slice(20, text.indexOf('&')), socket);
  });
}).listen(Number(process.env.PORT), '127.0.0.1', () => console.log('ready'));
