/** Opens the sockets of clients that use TLS or Sentinels. */
import { createConnection, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { AbstractConnector, type RedisOptions } from 'ioredis';

/** How long a server has to close an ended connection before it is destroyed, ms. */
const DISCONNECT_TIMEOUT = 2000;

/**
 * With TLS, sends the server's name (SNI), which a proxy may route by. Node.js sends it only if `servername` is given.
 */
export function open({ path, host = '', port = 0, tls }: RedisOptions): Socket {
  const where = path ? { path } : { host, port };
  if (!tls) return createConnection(where);
  return connectTls({ ...where, ...(host && !isIP(host) ? { servername: host } : {}), ...tls });
}

/** An ioredis connector that opens its sockets with `open`. */
export class Connector extends AbstractConnector {
  protected readonly options: RedisOptions;

  /** @param options the client's options, which may change between two connections */
  constructor(options: unknown) {
    super(DISCONNECT_TIMEOUT);
    this.options = options as RedisOptions;
  }

  async connect(_emit: (event: string, error: Error) => void): Promise<Socket> {
    this.connecting = true;
    return this.opened();
  }

  protected opened(): Socket {
    const stream = open(this.options);
    // a failed TLS handshake emits a second error, which would end the process without a listener
    stream.on('error', error => {
      this.firstError ??= error;
    });
    this.stream = stream;
    return stream;
  }
}
