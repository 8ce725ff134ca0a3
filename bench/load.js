/**
 * The load process: pages and backends over raw sockets, cheaper than any server under test.
 * Executes one message of its parent at a time, and replies with the result.
 */
import { connect } from 'node:net';
import { openHttp2 } from './http2.js';
import { numberIn, protocols } from './protocols.js';

let protocol;
let settings;
/** all pages, and those with a poll in flight */
const pages = [];
let sets = [];
const idle = [];
const queued = [];
let polls = 0;
let wrong = 0;
let errors = 0;
let onAnswer = () => {};
let perSecond = new Map();
/** newest cursor of each key that `sets` has set, by number */
const cursors = [];
const buffer = Buffer.allocUnsafeSlow(65_536);

/** A connection that passes complete answers to `take`. All read into one buffer, so that 15,000 of them are cheap. */
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
  protocol.read(page, answer);
  const number = numberIn(answer);
  if (number !== undefined) {
    if (number !== page.expected) wrong++;
    page.expected = undefined;
    onAnswer(page);
  }
  if (page.retry === undefined) return ask(page);
  // as client/tagwait.js: polls again after `retry`, on another connection, and on another node if there is one
  errors++;
  const wait = page.retry;
  page.retry = undefined;
  page.socket.removeAllListeners('close');
  page.socket.destroy();
  page.node = (page.node + 1) % settings.ports.length;
  setTimeout(() => enter(page), wait);
}

function enter(page, entered = () => {}) {
  page.socket = (settings.http2 ? openHttp2 : open)(
    settings.ports[page.node],
    '127.0.0.1',
    answer => hear(page, answer),
    () => {
      page.held = false;
      if (page.stopped) return;
      // as client/tagwait.js after the first error; it waits longer after each further one
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
      // the server closed an idle connection: the next set opens another
      () => {
        sets = sets.filter(one => one !== fresh);
        if (idle.includes(fresh)) idle.splice(idle.indexOf(fresh), 1);
      },
    );
    sets.push(fresh);
    fresh.write(request);
  } else queued.push(request);
}

/** `count` requests over `wide` connections, each of which has one in flight. */
function closedLoop(port, count, wide, { request, take }) {
  let sent = 0;
  let answered = 0;
  const sockets = [];
  return new Promise(resolve => {
    // never sleeps, as in `loop`
    const spin = () => answered < count && setImmediate(spin);
    spin();
    for (let line = 0; line < Math.min(wide, count); line++) {
      const more = () => sent < count && socket.write(request(line, sent++));
      const socket = open(
        port,
        '127.0.0.1',
        answer => {
          take(line, answer);
          if (++answered < count) return more();
          for (const one of sockets) one.destroy();
          resolve();
        },
        () => {},
      );
      socket.on('connect', more);
      sockets.push(socket);
    }
  });
}

const commands = {
  setup(given) {
    settings = given;
    protocol = protocols[given.protocol];
  },

  /** Starts pages until there are `count`. */
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

  /** Closed loop with `wide` sets in flight, until a number of answers. */
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
      // never sleeps: otherwise the server pays for waking its reader, and a slow server pays more
      const spin = () => running && setImmediate(spin);
      spin();
      const go = () => {
        // skips a page whose last set is in flight: servers without history would lose a value
        while (pages[next % pages.length].expected !== undefined) next++;
        const page = pages[next++ % pages.length];
        sendSet(page, next);
      };
      onAnswer = () => {
        if (!running) return;
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
   * Open loop: sets at a fixed rate. Latency counts from the time a set was due, whatever delayed it. The first `lead` is
   * not counted: the server still collects garbage of the previous load and compiles code for the new one.
   */
  async rate({ seconds, rate, lead = 2 }) {
    const latencies = [];
    const began = performance.now() + 5;
    const dueAt = number => began + (number * 1000) / rate;
    /** number of the set that each page waits for */
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

  /** Sets keys 0 to `keys - 1`, `times` each, or `count` at random. @returns how many there were, and how many failed */
  async sets({ keys, times = 0, count = keys * times, wide = 16 }) {
    let failed = 0;
    const numbers = new Array(wide);
    await closedLoop(settings.setPort, count, wide, {
      request(line, sent) {
        numbers[line] = times ? sent % keys : Math.floor(Math.random() * keys);
        return protocol.set(`k${numbers[line]}`, sent);
      },
      take(line, answer) {
        const [, cursor] = /"cursor":"([^"]+)"/.exec(answer) ?? [];
        if (cursor) cursors[numbers[line]] = cursor;
        else failed++;
      },
    });
    return { count, failed };
  },

  /**
   * Polls `count` times for keys that were set before, `pages` of them spread over all. Each is one value behind, so that it
   * is read from the store; with `fresh` it has no cursor. @returns how many there were, and how many did not get the value
   */
  async polls({ count, pages: few, fresh, wide = 16 }) {
    let failed = 0;
    await closedLoop(settings.ports[0], count, wide, {
      request(_, sent) {
        const number = Math.floor(((sent % few) * cursors.length) / few);
        const [epoch, offset] = cursors[number].split('-');
        return protocol.ask({ key: `k${number}`, cursor: fresh ? '' : `${epoch}-${offset - 1}` });
      },
      take(_, answer) {
        if (numberIn(answer) === undefined) failed++;
      },
    });
    return { count, failed };
  },

  /** What the pages did since `mark`. */
  polled: () => ({ polls, perSecond: [...perSecond] }),
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

/** Waits for the answers in flight. @returns lost: the number that did not arrive */
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
