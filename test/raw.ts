/** A bare socket: what no HTTP client would send. */
import { connect, type Socket } from 'node:net';
import { onTestFinished } from './owner.js';

export interface Raw {
  socket: Socket;
  /** what came so far */
  text: string;
  /** ms from the start of the connection to its end; resolves when either side has closed it */
  ended: Promise<number>;
}

/** Connects and sends; destroyed when the test ends. */
export function raw(url: string, bytes: string | Buffer = '', localAddress?: string): Raw {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port), ...(localAddress && { localAddress }) });
  const began = performance.now();
  const connection: Raw = {
    socket,
    text: '',
    ended: new Promise(resolve => socket.on('close', () => resolve(performance.now() - began))),
  };
  socket.setEncoding('latin1').on('data', text => {
    connection.text += text;
  });
  socket.on('error', () => {}); // a reset is an end too
  if (bytes.length > 0) socket.write(bytes);
  onTestFinished(() => {
    socket.destroy();
  });
  return connection;
}

/** A request as text. */
export const request = (target: string, headers: string[] = [], method = 'GET') =>
  `${[`${method} ${target} HTTP/1.1`, 'Host: localhost', ...headers].join('\r\n')}\r\n\r\n`;
