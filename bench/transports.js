/**
 * Memory of one idle client, by transport: a held poll, an event stream, and a WebSocket with one key.
 *
 *   node bench/transports.js [clients, 5000]
 *
 * Starts a service for each transport, opens the clients from this process, and prints how much its RSS has grown for
 * each. Needs twice as many open files as clients, and /proc.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { TAGWAIT } from './command.js';
import { until } from './until.js';

const CLIENTS = Number(process.argv[2] ?? 5000);
/** Connections opened before the first measurement, so that code is compiled and pools are filled. */
const WARM = 500;
/** For garbage to be collected, ms. */
const SETTLE = 5000;

/** A frame of a client with this text of less than 126 bytes, masked with zeros. */
const frame = text => Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)]);
const get = (target, headers = '') => `GET ${target} HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n`;
const HANDSHAKE =
  'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';
const TRANSPORTS = {
  poll: key => get(`/status/get?key=${key}`),
  stream: key => get(`/status/events?key=${key}`),
  socket: key => Buffer.concat([Buffer.from(get('/status/socket', HANDSHAKE)), frame(`{"watch":"${key}"}`)]),
};

for (const [name, requestOf] of Object.entries(TRANSPORTS))
  console.log(`${name}: ${((await measure(requestOf)) / 1024).toFixed(1)} KiB each`);

/** @returns bytes of RSS per client */
async function measure(requestOf) {
  const service = spawn(process.execPath, TAGWAIT, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      ...process.env,
      TAGWAIT_PUBLIC_HOST: '127.0.0.1',
      TAGWAIT_PUBLIC_PORT: '0',
      TAGWAIT_INTERNAL_PORT: '0',
      TAGWAIT_HOLD: '300',
      TAGWAIT_MAX_POLLS_PER_IP: '0',
      TAGWAIT_MAX_HELD_PER_IP: '0',
      TAGWAIT_LOG_LEVEL: 'error',
    },
  });
  const sockets = [];
  try {
    const [line] = await once(service.stdout, 'data');
    const [publicUrl, internalUrl] = String(line).match(/http:\S+/g);
    const open = async count => {
      while (sockets.length < count) sockets.push(client(publicUrl, requestOf(`k${sockets.length}`)));
      await until(async () => (await heldBy(internalUrl)) === count);
      await sleep(SETTLE);
      return rssOf(service.pid);
    };
    const before = await open(WARM);
    return ((await open(WARM + CLIENTS)) - before) / CLIENTS;
  } finally {
    for (const socket of sockets) socket.destroy();
    service.kill('SIGKILL');
    await once(service, 'exit');
  }
}

function client(url, bytes) {
  const socket = connect(Number(new URL(url).port), '127.0.0.1', () => socket.write(bytes));
  // reads, and drops it
  return socket.resume().on('error', () => {});
}

async function heldBy(internalUrl) {
  const text = await (await fetch(`${internalUrl}/metrics`)).text();
  return Number(/^tagwait_held (\d+)/m.exec(text)?.[1]);
}

const rssOf = pid => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
