/**
 * Memory of one idle client, by transport: a held poll, an event stream, and a WebSocket with one key; and the same of a
 * bare `node:http` handler and of the bare package `ws`.
 *
 *   npm run transports -- [clients, 5000]
 *
 * Starts a server for each, opens the clients from this process, and prints how much the server's RSS has grown for each of
 * them, twice. Takes about 2 minutes. Needs twice as many open files as clients, and /proc.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { TAGWAIT } from './command.js';
import { until } from './until.js';

const CLIENTS = Number(process.argv[2] ?? 5000);
const ROUNDS = 2;
/** Connections opened before the first measurement, so that code is compiled and pools are filled. */
const WARM = 500;
/** For garbage to be collected, ms. */
const SETTLE = 3000;
/** Connections opened at once: less than a server's backlog. */
const BATCH = 200;

/** A frame of a client with this text of less than 126 bytes, masked with zeros. */
const frame = text => Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)]);
const get = (target, headers = '') => `GET ${target} HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n`;
const HANDSHAKE =
  'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';
const socketOf = key =>
  Buffer.concat([Buffer.from(get('/status/socket', HANDSHAKE)), frame(`{"watch":"${key}"}`)]);
const bare = name => [fileURLToPath(new URL(`servers/${name}.js`, import.meta.url))];

const TRANSPORTS = [
  { name: 'tagwait, held poll', args: TAGWAIT, requestOf: key => get(`/status/get?key=${key}`) },
  { name: 'tagwait, event stream', args: TAGWAIT, requestOf: key => get(`/status/events?key=${key}`) },
  { name: 'tagwait, WebSocket', args: TAGWAIT, requestOf: socketOf },
  {
    name: 'bare node:http, held poll',
    args: bare('bare'),
    requestOf: key => get(`/?callback=cb&key=${key}`),
  },
  { name: 'bare ws, WebSocket', args: bare('ws'), requestOf: socketOf },
];

console.log(`KiB of RSS for each of ${CLIENTS} clients, ${ROUNDS} rounds:`);
const found = TRANSPORTS.map(() => []);
for (let round = 0; round < ROUNDS; round++)
  for (const [index, transport] of TRANSPORTS.entries()) found[index].push((await measure(transport)) / 1024);
for (const [index, { name }] of TRANSPORTS.entries())
  console.log(`${name}: ${found[index].map(kib => kib.toFixed(1)).join(', ')}`);

/** @returns bytes of RSS per client */
async function measure({ args, requestOf }) {
  const port = await freePort();
  const server = spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      ...process.env,
      PORT: String(port),
      TAGWAIT_PUBLIC_HOST: '127.0.0.1',
      TAGWAIT_PUBLIC_PORT: String(port),
      TAGWAIT_INTERNAL_PORT: '0',
      TAGWAIT_HOLD: '300',
      TAGWAIT_MAX_POLLS_PER_IP: '0',
      TAGWAIT_MAX_HELD_PER_IP: '0',
      TAGWAIT_LOG_LEVEL: 'error',
    },
  });
  const sockets = [];
  try {
    const [line] = await once(server.stdout, 'data');
    const [, internalUrl] = String(line).match(/http:\S+/g) ?? [];
    const open = async count => {
      while (sockets.length < count) {
        const batch = Array.from({ length: Math.min(BATCH, count - sockets.length) }, (_, index) =>
          client(port, requestOf(`k${sockets.length + index}`)),
        );
        sockets.push(...batch);
        await Promise.all(batch.map(socket => once(socket, 'connect')));
      }
      if (internalUrl)
        await until(async () => (await heldBy(internalUrl)) === count, 'all are held', { within: 60_000 });
      await sleep(SETTLE);
      if (sockets.some(({ destroyed }) => destroyed)) throw new Error('a connection was closed');
      return rssOf(server.pid);
    };
    const before = await open(WARM);
    return ((await open(WARM + CLIENTS)) - before) / CLIENTS;
  } finally {
    for (const socket of sockets) socket.destroy();
    server.kill('SIGKILL');
    await once(server, 'exit');
  }
}

function client(port, bytes) {
  const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
  // reads, and drops it
  return socket.resume().on('error', () => {});
}

async function heldBy(internalUrl) {
  const text = await (await fetch(`${internalUrl}/metrics`)).text();
  return Number(/^tagwait_held (\d+)/m.exec(text)?.[1]);
}

function freePort() {
  return new Promise(resolve => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

function rssOf(pid) {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
}
