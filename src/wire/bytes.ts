/** Reads the body of a request of Node's HTTP server, up to a limit. */
import type { IncomingMessage } from 'node:http';

/** A larger body is not read on the fast path, bytes. */
export const BODY_BYTES = 64 * 1024;

/** A body could not be read completely. */
export class BodyError extends Error {
  constructor(readonly why: 'too large' | 'ended early') {
    super(why);
  }
}

/**
 * Reads a body. Node's parser checks that it has Content-Length bytes. Does not read the rest of a body that is too
 * large, so its connection must be closed.
 * @param most limit in bytes @throws {BodyError}
 */
export function readBytes(request: IncomingMessage, most: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    if (request.readableEnded)
      throw Object.assign(new Error('the body was read before: mount tagwait before any body parser'), {
        code: 'TAGWAIT_BODY_READ',
      });
    if (request.destroyed) throw new BodyError('ended early');
    if (Number(request.headers['content-length']) > most) throw new BodyError('too large');
    const chunks: Buffer[] = [];
    let size = 0;
    request.on('error', () => reject(new BodyError('ended early')));
    request.on('end', () => resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks)));
    request.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= most) return chunks.push(chunk);
      request.pause();
      reject(new BodyError('too large'));
    });
  });
}
