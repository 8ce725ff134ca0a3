/** Reads the body of a request that Node's HTTP has read, within bounds: what raw-body does, in twenty lines. */
import type { IncomingMessage } from 'node:http';

/** A body of at most so many bytes is read on the fast path, when its route is. */
export const BODY_BYTES = 64 * 1024;

/** A body that could not be read to its end. */
export class Unread extends Error {
  constructor(readonly why: 'too large' | 'ended early') {
    super(why);
  }
}

/**
 * All bytes of a body; Node's parser sees to it that they are as many as its Content-Length. The rest of one that is too
 * large is left unread: its connection is to be closed.
 * @param most bytes @throws {Unread}
 */
export function readBytes(request: IncomingMessage, most: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    if (request.readableEnded)
      throw Object.assign(new Error('the body was read before: mount tagwait before what parses bodies'), {
        code: 'TAGWAIT_BODY_READ',
      });
    if (request.destroyed) throw new Unread('ended early');
    if (Number(request.headers['content-length']) > most) throw new Unread('too large');
    const chunks: Buffer[] = [];
    let size = 0;
    request.on('error', () => reject(new Unread('ended early')));
    request.on('end', () => resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks)));
    request.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= most) return chunks.push(chunk);
      request.pause();
      reject(new Unread('too large'));
    });
  });
}
