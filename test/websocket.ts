/** A client of `GET /status/socket`. */
import { type ClientOptions, WebSocket } from 'ws';
import type { Reply } from './harness.js';
import { type Owner, onTestFinished } from './owner.js';

export interface Client {
  socket: WebSocket;
  /** what the server has sent so far */
  messages: (Reply & { key: string })[];
  /** code and reason of the close */
  closed: Promise<[code: number, reason: string]>;
  watch(key: string, since?: string, proof?: string): void;
  stop(key: string): void;
  /** the messages of one key */
  of(key: string): Reply[];
}

/** Connects; closed when the test ends. @throws the refusal of the handshake, as `Refused` */
export async function socketTo(
  url: string,
  options: ClientOptions = {},
  protocols: string[] = ['tagwait.1'],
  own: Owner = onTestFinished,
): Promise<Client> {
  const socket = new WebSocket(`${url.replace(/^http/, 'ws')}/status/socket`, protocols, options);
  own(() => socket.terminate());
  const messages: Client['messages'] = [];
  socket.on('message', data => messages.push(JSON.parse(String(data))));
  const closed = new Promise<[number, string]>(resolve => {
    socket.on('close', (code, reason) => resolve([code, String(reason)]));
  });
  await new Promise<void>((resolve, reject) => {
    socket.on('open', resolve).on('error', reject);
    socket.on('unexpected-response', (_, response) => {
      let text = '';
      response
        .on('data', chunk => {
          text += chunk;
        })
        .on('end', () => reject(new Refused(response.statusCode ?? 0, response.headers, text)));
    });
  });
  const send = (message: object) => socket.send(JSON.stringify(message));
  return {
    socket,
    messages,
    closed,
    watch: (watch, since = '', proof = '') => send({ watch, since, proof }),
    stop: stop => send({ stop }),
    of: key => messages.filter(message => message.key === key),
  };
}

/** The answer to a handshake that was refused. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly headers: Record<string, string | string[] | undefined>,
    readonly text: string,
  ) {
    super(`${status} ${text}`);
  }
}
