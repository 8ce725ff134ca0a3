/** Opens the sockets of clients that use TLS, or that ask Sentinels first. */
import { createConnection, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { AbstractConnector, type RedisOptions } from 'ioredis';

/** ms in which a server may close a connection that is ended, before it is destroyed */
const DISCONNECT_TIMEOUT = 2000;

/** With TLS, says which name it wants (SNI), so that a proxy can choose the server by it. Node.js does so only if asked. */
export function open({ path, host = '', port = 0, tls }: RedisOptions): Socket {
  const where = path ? { path } : { host, port };
  if (!tls) return createConnection(where);
  return connectTls({ ...where, ...(host && !isIP(host) ? { servername: host } : {}), ...tls });
}

/** The connector of ioredis, with `open`. */
export class Connector extends AbstractConnector {
  protected readonly options: RedisOptions;

  /** @param options of the client, which may change between two connections */
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
    // for as long as it lives: a TLS handshake that fails has a second error, which would end the process
    stream.on('error', error => {
      this.firstError ??= error;
    });
    this.stream = stream;
    return stream;
  }
}
