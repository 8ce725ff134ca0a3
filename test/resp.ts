/** A server that speaks the protocol of Redis and answers as a test says. */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { onTestFinished } from './owner.js';

/** An error is sent as one, with its message. */
export type Answer = string | number | null | Error | Answer[];

export interface Speaker {
  port: number;
  /** Sends a message to all clients that have subscribed to anything. */
  say(answer: Answer): void;
  /** Ends all connections. */
  end(): void;
}

/** @param reply to a command, whose name is in upper case; undefined: nothing is answered */
export async function speaker(
  reply: (command: string[], socket: Socket) => Answer | undefined,
): Promise<Speaker> {
  const sockets = new Set<Socket>();
  const subscribed = new Set<Socket>();
  const server = createServer(socket => {
    sockets.add(socket);
    let pending = '';
    socket.setEncoding('latin1').on('error', () => {});
    socket.on('close', () => {
      sockets.delete(socket);
      subscribed.delete(socket);
    });
    socket.on('data', data => {
      pending += data;
      for (let read = readCommand(pending); read; read = readCommand(pending)) {
        pending = pending.slice(read.length);
        if (read.command[0] === 'SUBSCRIBE') subscribed.add(socket);
        const answer = reply(read.command, socket);
        if (answer !== undefined) socket.write(encode(answer));
      }
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return {
    port: (server.address() as AddressInfo).port,
    say: answer => {
      for (const socket of subscribed) socket.write(encode(answer));
    },
    end: () => {
      for (const socket of sockets) socket.end();
    },
  };
}

/** @returns undefined: the rest is still to come */
function readCommand(text: string): { command: string[]; length: number } | undefined {
  const [head, count] = /^\*(\d+)\r\n/.exec(text) ?? [];
  if (!head) return undefined;
  let at = head.length;
  const command: string[] = [];
  for (let left = Number(count); left > 0; left--) {
    const [size, bytes] = /^\$(\d+)\r\n/.exec(text.slice(at)) ?? [];
    if (!size) return undefined;
    const start = at + size.length;
    at = start + Number(bytes) + 2;
    if (text.length < at) return undefined;
    command.push(text.slice(start, at - 2));
  }
  command[0] = String(command[0]).toUpperCase();
  return { command, length: at };
}

function encode(answer: Answer): string {
  if (answer === null) return '$-1\r\n';
  if (typeof answer === 'number') return `:${answer}\r\n`;
  if (answer instanceof Error) return `-${answer.message}\r\n`;
  if (Array.isArray(answer)) return `*${answer.length}\r\n${answer.map(encode).join('')}`;
  return `$${Buffer.byteLength(answer, 'latin1')}\r\n${answer}\r\n`;
}
