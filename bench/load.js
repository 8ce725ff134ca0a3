/**
 * Pages and backends, over bare sockets: one process that costs less than any server it asks.
 * Told by its parent what to do, one message at a time; answers each with its result.
 */
import { connect } from 'node:net';
import { numberIn, protocols } from './protocols.js';

let protocol;
let settings;
/** all pages, and those that wait for an answer */
const pages = [];
let sets = [];
const idle = [];
const queued = [];
let polls = 0;
let wrong = 0;
let errors = 0;
let onAnswer = () => {};
let perSecond = new Map();
const buffer = Buffer.allocUnsafeSlow(65_536);

/** A connection that gives whole answers to `take`. Bytes are read into one buffer: 15,000 connections cost little. */
function open(port, host, take, gone) {
  let text = '';
  const socket = connect({
    port,
    host,
    noDelay: true,
    onread: {
      buffer,
      callback(size) {
        text += buffer.latin1Slice(0, size);
        for (;;) {
          const end = text.indexOf('\r\n\r\n');
          if (end < 0) return true;
          const length = /content-length: *(\d+)/i.exec(text)?.[1] ?? 0;
          const whole = end + 4 + Number(length);
          if (text.length < whole) return true;
          const answer = text.length === whole ? text : text.slice(0, whole);
          text = text.slice(whole);
          take(answer);
        }
      },
    },
  });
  socket.on('error', () => {});
  socket.on('close', gone);
  return socket;
}

function ask(page) {
  if (page.stopped) return;
  polls++;
  const second = Math.floor(Date.now() / 1000);
  perSecond.set(second, (perSecond.get(second) ?? 0) + 1);
  page.held = true;
  page.socket.write(protocol.ask(page));
}

function hear(page, answer) {
  page.held = false;
  protocol.hear(page, answer);
  const number = numberIn(answer);
  if (number !== undefined) {
    if (number !== page.expected) wrong++;
    page.expected = undefined;
    onAnswer(page);
  }
  if (page.retry === undefined) return ask(page);
  // as the page's script: it comes back when it was told to, on another connection, and to another node if there is one
  errors++;
  const wait = page.retry;
  page.retry = undefined;
  page.socket.removeAllListeners('close');
  page.socket.destroy();
  page.node = (page.node + 1) % settings.ports.length;
  setTimeout(() => enter(page), wait);
}

function enter(page, entered = () => {}) {
  page.socket = open(
    settings.ports[page.node],
    '127.0.0.1',
    answer => hear(page, answer),
    () => {
      page.held = false;
      if (page.stopped) return;
      // as the page's script does after the first error; after each more it waits longer
      page.node = (page.node + 1) % settings.ports.length;
      setTimeout(() => enter(page), 250 + Math.random() * 2000);
    },
  );
  page.socket.on('connect', () => {
    entered();
    ask(page);
  });
}

function sendSet(page, number, port = settings.setPort) {
  page.expected = number;
  const request = protocol.set(page.key, number);
  const socket = idle.pop();
  if (socket) socket.write(request);
  else if (sets.length < 64) {
    const fresh = open(
      port,
      '127.0.0.1',
      answer => {
        if (!/^HTTP\/1.1 20[012]/.test(answer)) errors++;
        const next = queued.shift();
        if (next) fresh.write(next);
        else idle.push(fresh);
      },
      // a server closes a connection that was idle for long: the next set opens another
      () => {
        sets = sets.filter(one => one !== fresh);
        if (idle.includes(fresh)) idle.splice(idle.indexOf(fresh), 1);
      },
    );
    sets.push(fresh);
    fresh.write(request);
  } else queued.push(request);
}

const commands = {
  setup(given) {
    settings = given;
    protocol = protocols[given.protocol];
  },

  /** Has up to `count` pages ask in all. */
  hold({ count, hold }) {
    return new Promise(resolve => {
      let entering = 0;
      let entered = pages.length;
      const more = () => {
        if (entered === count) return resolve();
        while (entering < 200 && pages.length < count) {
          const page = {
            key: `k${settings.name ?? ''}${pages.length}`,
            hold,
            node: 0,
          };
          pages.push(page);
          entering++;
          enter(page, () => {
            entering--;
            entered++;
            more();
          });
        }
      };
      more();
    });
  },

  /** Closed loop, until there were so many answers: `wide` sets on their way at any time. */
  async loop({ count, wide = 64, seconds = 20 }) {
    let next = 0;
    let answers = 0;
    const began = performance.now();
    const took = await new Promise(resolve => {
      let running = true;
      const over = () => {
        running = false;
        resolve(performance.now() - began);
      };
      const late = setTimeout(over, seconds * 1000);
      // never asleep: a writing server pays for the waking of its reader, and more the slower it is
      const spin = () => running && setImmediate(spin);
      spin();
      const go = () => {
        // a page whose last set is still on its way is passed over: it would lose one where nothing is kept
        while (pages[next % pages.length].expected !== undefined) next++;
        const page = pages[next++ % pages.length];
        sendSet(page, next);
      };
      onAnswer = () => {
        answers++;
        if (answers === count) {
          clearTimeout(late);
          over();
        } else if (answers + wide <= count) go();
      };
      for (let started = 0; started < wide; started++) go();
    });
    return { answers: Math.min(answers, count), seconds: took / 1000, ...(await settled()) };
  },

  /**
   * Sets at a fixed rate; latency counts from when each was due, whoever is to blame for the delay. The `lead` is not
   * counted: a server has garbage of the load before it to collect, and code to compile for the new one.
   */
  async rate({ seconds, rate, lead = 2 }) {
    const latencies = [];
    const began = performance.now() + 5;
    const dueAt = number => began + (number * 1000) / rate;
    /** page → number of the set that it waits for */
    const waiting = new Map();
    onAnswer = page => {
      const number = waiting.get(page);
      waiting.delete(page);
      if (number >= lead * rate) latencies.push(performance.now() - dueAt(number));
    };
    const total = (lead + seconds) * rate;
    let sent = 0;
    await new Promise(resolve => {
      const tick = () => {
        const now = performance.now();
        while (sent < total && dueAt(sent) <= now) {
          const page = pages[(sent * 7) % pages.length];
          waiting.set(page, sent);
          sendSet(page, ++sent);
        }
        if (sent === total) return resolve();
        setImmediate(tick);
      };
      tick();
    });
    const end = await settled();
    latencies.sort((a, b) => a - b);
    const at = share => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))];
    return { p50: at(0.5), p99: at(0.99), p999: at(0.999), ...end };
  },

  /** What the pages did since `mark`. */
  polls: () => ({ polls, perSecond: [...perSecond] }),
  mark() {
    polls = 0;
    perSecond = new Map();
  },
  held: () => pages.reduce((sum, page) => sum + (page.held ? 1 : 0), 0),

  leave() {
    for (const page of pages) {
      page.stopped = true;
      page.socket?.destroy();
    }
    pages.length = 0;
    for (const socket of sets) socket.destroy();
    sets = [];
    idle.length = 0;
  },
};

/** Waits for the answers that are still on their way. @returns lost: those that did not come */
async function settled() {
  const end = performance.now() + 4000;
  const missing = () => pages.reduce((sum, page) => sum + (page.expected === undefined ? 0 : 1), 0);
  while (missing() > 0 && performance.now() < end) await new Promise(resolve => setTimeout(resolve, 20));
  const result = { lost: missing() + wrong, errors };
  for (const page of pages) page.expected = undefined;
  wrong = 0;
  errors = 0;
  onAnswer = () => {};
  return result;
}

process.on('message', async ({ command, id, ...more }) => {
  const result = await commands[command](more);
  process.send({ id, result });
});
process.on('disconnect', () => process.exit());
