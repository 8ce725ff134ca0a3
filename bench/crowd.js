/**
 * Crowd test: 60,000 requests held by four workers with Redis, and each page gets its value; for comparison, the most that
 * one process holds. A process may open 20,000 files, so the pages are four processes too, on several loopback addresses.
 *
 *   npm run crowd -- [pages for each worker] [workers]
 *
 * With BENCH_JSON=file it also writes its figures to that file, for run.js.
 */
import { execFileSync, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { TAGWAIT } from './command.js';

/** Connections per source address: fewer than its 28,000 ephemeral ports. */
const PER_ADDRESS = 5000;
/** Connections that a load process opens at a time, and sets in flight. */
const ENTERING = 100;
const SETTING = 32;

if (process.send) {
  pages();
} else {
  await crowd();
}

// --- The load process: pages that wait, and a backend that sets.

function pages() {
  const all = [];
  const buffer = Buffer.allocUnsafeSlow(65_536);
  let settings;
  let entering = 0;
  let entered = () => {};

  /** @param take called with each complete answer; all sockets read into one buffer, to keep a connection cheap */
  function open(port, from, take, gone) {
    let text = '';
    const callback = size => {
      text += buffer.latin1Slice(0, size);
      const head = text.indexOf('\r\n\r\n');
      const end = head + 4 + Number(/content-length: *(\d+)/i.exec(text)?.[1] ?? 0);
      if (head < 0 || text.length < end) return true;
      const answer = text.slice(head + 4, end);
      text = '';
      take(answer);
      return true;
    };
    const socket = connect({
      port,
      host: settings.host,
      localAddress: from,
      noDelay: true,
      onread: { buffer, callback },
    });
    socket.on('error', () => {});
    socket.on('close', gone);
    return socket;
  }

  function enter(page) {
    const from = `127.0.${settings.number + 1}.${1 + Math.floor(page.number / PER_ADDRESS)}`;
    page.socket = open(
      settings.port,
      from,
      text => {
        const { code, data, retry } = JSON.parse(text);
        if (code === 0) page.heard = data;
        else if (retry === undefined) ask(page);
        else page.retry = retry;
        if (code === 0 || retry !== undefined) page.socket.destroy();
      },
      () => {
        if (page.heard === undefined) setTimeout(() => enter(page), page.retry ?? 500 + Math.random() * 1000);
      },
    );
    page.socket.once('connect', () => {
      ask(page);
      if (page.entered) return;
      page.entered = true;
      entering--;
      entered();
    });
  }

  function ask(page) {
    page.socket.write(`GET /status/get?key=${page.key} HTTP/1.1\r\nHost: x\r\n\r\n`);
  }

  const commands = {
    hold: given =>
      new Promise(resolve => {
        settings = given;
        let here = 0;
        const more = () => {
          while (entering < ENTERING && all.length < given.count) {
            const page = { number: all.length, key: `k${given.number}.${all.length}`, socket: undefined };
            all.push(page);
            entering++;
            enter(page);
          }
        };
        entered = () => {
          here++;
          if (here === given.count) resolve();
          else more();
        };
        more();
      }),
    /** Sets a value for each page and waits for the answers. @returns the number of pages that did not get theirs */
    async set() {
      let next = 0;
      const begin = () =>
        new Promise(resolve => {
          const socket = open(settings.internal, '127.0.0.1', () => say(), resolve);
          const say = () => {
            const page = all[next++];
            if (!page) return socket.destroy();
            const body = JSON.stringify({ key: page.key, value: page.number });
            socket.write(
              `POST /status/set HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
            );
          };
          say();
        });
      await Promise.all(Array.from({ length: SETTING }, begin));
      const missing = () => all.filter(page => page.heard !== page.number).length;
      for (let tries = 0; tries < 200 && missing() > 0; tries++) await sleep(100);
      return missing();
    },
  };
  process.on('message', async ({ command, ...given }) => {
    process.send({ result: await commands[command](given) });
  });
  process.on('disconnect', () => process.exit());
}

// --- The main process, which directs the load processes.

async function crowd() {
  const each = Number(process.argv[2] ?? 15_000);
  const most = Number(process.argv[3] ?? 4);
  const began = performance.now();
  const say = text =>
    process.stderr.write(`${((performance.now() - began) / 1000).toFixed(1).padStart(6)} s  ${text}\n`);
  const children = new Set();
  const end = code => {
    for (const child of children) child.kill('SIGKILL');
    process.exit(code);
  };
  setTimeout(() => {
    say('it took more than three minutes');
    end(1);
  }, 178_000).unref();
  const own = child => {
    children.add(child);
    child.once('exit', () => children.delete(child));
    return child;
  };

  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  own(
    spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', '/tmp'], {
      stdio: 'ignore',
    }),
  );
  for (;;) {
    try {
      execFileSync('redis-cli', ['-p', String(port), 'ping'], { stdio: 'ignore' });
      break;
    } catch {
      await sleep(50);
    }
  }

  const rss = pids =>
    pids
      .map(pid => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]))
      .reduce((sum, one) => sum + one, 0);
  const nodes = async internal => (await (await fetch(`http://127.0.0.1:${internal}/nodes`)).json()).nodes;
  const run = (load, command, given = {}) =>
    new Promise(resolve => {
      load.once('message', ({ result }) => resolve(result));
      load.send({ command, ...given });
    });

  async function round(workers) {
    const count = each * workers;
    say(`${workers} ${workers === 1 ? 'process' : 'workers'}: ${count.toLocaleString('en')} pages`);
    const service = own(
      spawn(process.execPath, TAGWAIT, {
        env: {
          ...process.env,
          TAGWAIT_REDIS_URL: `redis://127.0.0.1:${port}`,
          TAGWAIT_REDIS_PREFIX: `crowd${workers}`,
          TAGWAIT_WORKERS: String(workers),
          TAGWAIT_PUBLIC_PORT: '0',
          TAGWAIT_INTERNAL_PORT: '0',
          TAGWAIT_HOLD: '170',
          TAGWAIT_DRAIN: '1',
          TAGWAIT_MAX_HELD_PER_IP: '0',
          TAGWAIT_MAX_POLLS_PER_IP: '0',
          TAGWAIT_LOG_LEVEL: 'warn',
        },
        stdio: ['ignore', 'pipe', 'inherit'],
      }),
    );
    const [line] = await once(service.stdout, 'data');
    const [open, internal] = String(line)
      .match(/:\d+(?=\s)/g)
      .map(text => Number(text.slice(1)));
    const pids = () => {
      if (workers === 1) return [service.pid];
      return execFileSync('pgrep', ['-P', String(service.pid)], { encoding: 'utf8' })
        .trim()
        .split('\n')
        .map(Number);
    };
    const before = rss(pids());
    const loads = Array.from({ length: workers }, () => own(fork(fileURLToPath(import.meta.url))));
    const entered = performance.now();
    await Promise.all(
      loads.map((load, number) =>
        run(load, 'hold', { number, count: each, host: '127.0.0.1', port: open, internal }),
      ),
    );
    let held = [];
    const total = () => held.reduce((sum, one) => sum + one, 0);
    for (let tries = 0; tries < 200 && total() < count; tries++) {
      await sleep(200);
      held = (await nodes(internal)).map(node => node.held);
    }
    const seconds = (performance.now() - entered) / 1000;
    const kib = (rss(pids()) - before) / total();
    const primary = workers === 1 ? 0 : rss([service.pid]) / 1024;
    say(`held: ${held.join(', ')}`);
    const telling = performance.now();
    const missing = (await Promise.all(loads.map(load => run(load, 'set')))).reduce(
      (sum, one) => sum + one,
      0,
    );
    const heard = count - missing;
    say(`${heard.toLocaleString('en')} heard their value`);
    for (const load of loads) load.disconnect();
    const stopped = once(service, 'exit');
    service.kill('SIGTERM');
    const [code] = await stopped;
    return {
      workers,
      count,
      held,
      kib,
      primary,
      seconds,
      heard,
      sets: count / ((performance.now() - telling) / 1000),
      code,
    };
  }

  const rows = [];
  for (const workers of [1, most]) rows.push(await round(workers));
  const shown = number => Math.round(number).toLocaleString('en');
  if (process.env.BENCH_JSON) writeFileSync(process.env.BENCH_JSON, JSON.stringify(rows));
  process.stdout.write(`
| processes | held | by each | KiB RSS per held request | s until all are held | heard their value | values a second |
| --- | --- | --- | --- | --- | --- | --- |
${rows
  .map(
    ({ workers, held, kib, seconds, heard, sets }) =>
      `| ${workers} | ${shown(held.reduce((sum, one) => sum + one, 0))} | ${held.map(shown).join(' / ')} | ${kib.toFixed(1)} | ${seconds.toFixed(1)} | ${shown(heard)} | ${shown(sets)} |`,
  )
  .join('\n')}

The primary takes ${shown(rows[1].primary)} MiB besides.
`);
  end(rows.every(({ count, held, heard, code }) => heard === count && held.length > 0 && code === 0) ? 0 : 1);
}
