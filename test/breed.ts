/** Breeds requests: the parts of one, how they mutate, and how they are written as bytes. */
import { fill, MOST_BYTES, pieces } from './expensive.js';

/** A request to breed. It may be invalid. */
export interface Genes {
  port: 'public' | 'internal';
  method: string;
  path: string;
  query: string;
  lines: string[];
  body: string;
  /** bytes of a chunk; 0: the body has a length */
  chunk: number;
  /** number of packets to send it in */
  parts: number;
}

export type Random = () => number;

/** A generator of random numbers from 0 to 1, repeatable by its seed (mulberry32). */
export function randomOf(seed: number): Random {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const pick = <T>(random: Random, all: readonly T[]) => all[Math.floor(random() * all.length)] as T;

const PATHS = {
  public: [
    '/status/get',
    '/client.js',
    '/client/0.1.0.js',
    '/healthz',
    '/nothing',
    '*',
    '//',
    '/status/get/',
  ],
  internal: [
    '/status/set',
    '/status/new',
    '/status/peek',
    '/nodes',
    '/metrics',
    '/healthz',
    '/readyz',
    '/live',
    '/openapi.json',
    '/client.js',
    '/',
    '/live/poll',
  ],
};
const METHODS = ['GET', 'GET', 'GET', 'POST', 'POST', 'HEAD', 'OPTIONS', 'PUT', 'DELETE'];
const QUERIES = [
  'key=a',
  'hold=0',
  'callback=cb',
  'var=cb',
  'since=',
  'proof=1.',
  '_=',
  'callback=%ff',
  'key=%',
];
const NAMES = [
  'Accept',
  'Authorization',
  'Cache-Control',
  'Connection',
  'Content-Encoding',
  'Content-Type',
  'Cookie',
  'Expect',
  'If-Modified-Since',
  'If-None-Match',
  'Origin',
  'Referer',
  'Sec-Fetch-Dest',
  'Sec-Fetch-Mode',
  'TE',
  'Upgrade',
  'X-Forwarded-For',
  'a',
];
const VALUES = [
  '',
  'Bearer ',
  'https://a.example',
  'https://',
  'http://xn--',
  '[::1]:1, ',
  'application/json',
  'application/x-www-form-urlencoded; ',
  'no-cache',
  'W/"',
  'script',
  'empty',
  'no-cors',
  '100-continue',
];
const BODIES = ['{"key":"a","value":', 'key=a&value=', '{"ttl":', 'ttl=1&', '{', '[', '"'];
const UNITS =
  '% %= %=& %41 %41=& %ff %c3%a9 %6b%65%79=& key=%& key=a& callback=a.b& a& a=& & = + / // /.. ; , ,, . .a : 0: ::1, 1. 127.0.0.1, " \\ \\u00e9 [ [], {} {}, {"a": {"a":1}, 1, 1e9, "a", true, é xn-- W/"a", a; ( * $ _ - @ # ? ! ~ é \t 9 0 a'.split(
    ' ',
  );

const unit = (random: Random) =>
  random() < 0.7
    ? pick(random, UNITS)
    : Array.from({ length: 1 + Math.floor(random() * 3) }, () => pick(random, UNITS)).join('');
/** A unit once, or as often as fits. */
const some = (random: Random) => {
  const one = unit(random);
  return random() < 0.3 ? one : fill(one, pick(random, [64, 1024, 2000, 4096, 15_000]));
};

export function fresh(random: Random): Genes {
  const port = pick(random, ['public', 'internal'] as const);
  return {
    port,
    method: pick(random, METHODS),
    path: pick(random, PATHS[port]),
    query: port === 'public' ? 'key=a&hold=0' : 'key=a',
    lines: [],
    body: '',
    chunk: 0,
    parts: 1,
  };
}

const CHANGES: ((genes: Genes, random: Random) => void)[] = [
  (genes, random) => (genes.method = pick(random, METHODS)),
  (genes, random) => (genes.path = pick(random, PATHS[genes.port])),
  (genes, random) => (genes.path += some(random).replace(/[\s?#]/g, '')),
  (genes, random) => (genes.query += `&${pick(random, QUERIES)}${some(random)}`),
  (genes, random) => (genes.query = `${some(random)}&${genes.query}`),
  (genes, random) => (genes.query = genes.query.slice(0, random() * genes.query.length)),
  (genes, random) => genes.lines.push(`${pick(random, NAMES)}: ${pick(random, VALUES)}${some(random)}`),
  (genes, random) =>
    genes.lines.push(
      ...Array(pick(random, [2, 30, 63, 100, 1000, 3000])).fill(
        `${pick(random, NAMES)}: ${random() < 0.5 ? '' : unit(random)}`,
      ),
    ),
  (genes, random) =>
    genes.lines.splice(Math.floor(random() * genes.lines.length), 1 + random() * genes.lines.length),
  (genes, random) => {
    genes.method = 'POST';
    genes.body = pick(random, BODIES) + some(random) + pick(random, ['', '}', ']', '"', '"}']);
    genes.lines.unshift(
      `Content-Type: ${pick(random, ['application/json', 'application/x-www-form-urlencoded'])}`,
    );
  },
  (genes, random) => (genes.body += some(random)),
  (genes, random) => (genes.chunk = pick(random, [0, 1, 2, 16, 256])),
  (genes, random) => (genes.parts = pick(random, [1, 1, 2, 16, 128])),
];

/** A child: one to four changes. */
export function changed(genes: Genes, random: Random): Genes {
  const child = { ...genes, lines: [...genes.lines] };
  for (let times = 1 + Math.floor(random() * 4); times > 0; times--) pick(random, CHANGES)(child, random);
  return child;
}

/** As packets of `MOST_BYTES` in all. */
export function written({ method, path, query, lines, body, chunk, parts }: Genes): string[] {
  const head = `${method} ${path}${query && `?${query}`} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n`;
  const target =
    head.length > MOST_BYTES - 200
      ? `${head.slice(0, MOST_BYTES - 300)} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n`
      : head;
  let room = MOST_BYTES - target.length - 60;
  const kept: string[] = [];
  for (const line of lines) {
    const cut = line.slice(0, Math.max(0, room - 2));
    if (!cut.includes(':')) break;
    kept.push(`${cut}\r\n`);
    room -= cut.length + 2;
  }
  let framing = '';
  let given = body.slice(0, Math.max(0, room));
  if (chunk > 0) {
    framing = 'Transfer-Encoding: chunked\r\n';
    const size = chunk + chunk.toString(16).length + 4;
    const many = Math.min(Math.floor(room / size), Math.max(1, Math.floor((body.length || room) / chunk)));
    const source = body || fill('a', room);
    given = `${Array.from({ length: many }, (_, at) => source.slice(at * chunk, (at + 1) * chunk))
      .filter(part => part.length > 0)
      .map(part => `${part.length.toString(16)}\r\n${part}\r\n`)
      .join('')}0\r\n\r\n`;
  } else if (method === 'POST' || body) framing = `Content-Length: ${given.length}\r\n`;
  const all = `${target}${framing}${kept.join('')}\r\n${given}`;
  return pieces(all, parts);
}
