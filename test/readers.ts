/** Two servers that answer alike: one with our reader in front, one with the HTTP of Node alone. Without a network. */
import { createServer, type RequestListener, type Server } from 'node:http';
import { Duplex } from 'node:stream';
import { Connections } from '../src/wire/connections.js';
import { HeaderBlock, KNOWN_HEADERS, type KnownHeader, type Route } from '../src/wire/exchange.js';
import { dispatch } from '../src/wire/http.js';
import { Relay } from '../src/wire/relay.js';

/** Seconds of keep-alive that both advertise. */
const KEEP_ALIVE = 65;

/** A socket whose client sends the pieces that it is given, and keeps what it hears. */
class Line extends Duplex {
  text = '';
  readonly remoteAddress = '127.0.0.1';
  readonly timeout = 0;
  setTimeout(): this {
    return this;
  }
  destroySoon(): void {
    this.end();
  }
  override _read(): void {}
  override _write(chunk: Buffer, _: string, done: () => void): void {
    this.text += chunk.toString('latin1');
    done();
  }
  override _final(done: () => void): void {
    done();
    this.destroy();
  }
}

/** What a request was read as. */
interface Seen {
  head: string;
  /** undefined while it is not whole */
  body?: string;
}

interface Heard {
  seen: Seen[];
  /** the responses, without their dates */
  text: string;
  closed: boolean;
}

interface Reader {
  server: Server;
  seen: Seen[];
}

/** How each request is answered: with what it was read as. One route is that of the fast path. */
function answering(method: 'GET' | 'POST'): Reader & { route: Route; listener: RequestListener } {
  const seen: Seen[] = [];
  const note = (verb: string, url: string, header: (name: KnownHeader) => string | undefined) => {
    const one: Seen = { head: JSON.stringify([verb, url, KNOWN_HEADERS.map(header)]) };
    seen.push(one);
    return one;
  };
  const route: Route = {
    method,
    path: '/a',
    handle: exchange => {
      const one = note('route', exchange.url, name => exchange.header(name));
      const answer = (body: Buffer) => {
        one.body = body.toString('latin1');
        exchange.send(200, new HeaderBlock({}), one.head + one.body);
      };
      if (method === 'GET') answer(Buffer.alloc(0));
      else Promise.resolve(exchange.body(1000)).then(answer, () => {});
    },
  };
  const others: RequestListener = (request, response) => {
    const one = note(request.method ?? '', request.url ?? '', name => request.headers[name] as string);
    const chunks: Buffer[] = [];
    request.on('data', chunk => chunks.push(chunk));
    request.on('end', () => {
      one.body = Buffer.concat(chunks).toString('latin1');
      response.end(one.head + one.body);
    });
  };
  const server = createServer({ keepAliveTimeout: KEEP_ALIVE * 1000 });
  return { server, seen, route, listener: dispatch(route, others, fail) };
}

const fail = (error: unknown) => {
  throw error;
};

/** Both readers. */
export function readers(method: 'GET' | 'POST') {
  const node = answering(method);
  node.server.on('request', node.listener);
  const ours = answering(method);
  Relay.serve(ours.server, ours.listener);
  const connections = new Connections(ours.server, {
    route: ours.route,
    firstRequestTimeout: 60,
    headersTimeout: 60,
    requestTimeout: 60,
    silenceTimeout: 60,
    keepAliveHint: KEEP_ALIVE,
    drainTimeout: 60,
    failed: fail,
    onSlowPath: () => {
      counts.slow++;
    },
    onPipelining: undefined,
  });
  const counts = { slow: 0 };
  return {
    counts,
    /** connections that are open now */
    open: () => connections.all.size,
    /** @param between what happens between two pieces: nothing, a turn of the event loop, or all that there is to do */
    node: (pieces: Buffer[], between: Between) => one(node, pieces, between),
    ours: (pieces: Buffer[], between: Between) => one(ours, pieces, between),
  };
}

const turn = () => new Promise(setImmediate);
/** Turns of the event loop without a change, after which a reader waits for more. */
const QUIET = 8;

type Between = 'nothing' | 'a turn' | 'all';

async function one({ server, seen }: Reader, pieces: Buffer[], between: Between): Promise<Heard> {
  seen.length = 0;
  const line = new Line();
  server.emit('connection', line);
  for (const piece of pieces) {
    if (line.destroyed) break;
    line.push(piece);
    if (between === 'a turn') await turn();
    else if (between === 'all') await quiet(line, seen);
  }
  await quiet(line, seen);
  const closed = line.destroyed || line.writableEnded;
  line.destroy();
  await turn();
  return { seen: [...seen], text: line.text.replace(/^Date: .*\r\n/gm, ''), closed };
}

/** Waits until a reader has done what it can with what it was sent. */
async function quiet(line: Line, seen: Seen[]): Promise<void> {
  let before = -1;
  for (let turns = 0; turns < QUIET && !line.destroyed; ) {
    await turn();
    const now = line.text.length + seen.length;
    turns = now === before ? turns + 1 : 0;
    before = now;
  }
}
