/** If the log or the start line cannot be written, lines are lost and pages are not. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { TAGWAIT } from '../bench/command.js';
import { held, poll, set, until } from './harness.js';
import { freePort, redisServer } from './redis.js';
import { scrape } from './scrape.js';

const LOST = 'tagwait_log_lines_lost_total';

/** A named pipe whose reader the test opens and closes. */
class Pipe {
  readonly #path: string;
  #reader: number | undefined;
  text = '';

  constructor() {
    const folder = mkdtempSync(join(tmpdir(), 'tagwait-pipe-'));
    this.#path = join(folder, 'pipe');
    execFileSync('mkfifo', [this.#path]);
    this.open();
    onTestFinished(() => {
      this.close();
      rmSync(folder, { recursive: true });
    });
  }

  open(): void {
    this.#reader = openSync(this.#path, constants.O_RDONLY | constants.O_NONBLOCK);
  }

  close(): void {
    if (this.#reader !== undefined) closeSync(this.#reader);
    this.#reader = undefined;
  }

  /** A descriptor for a process that writes. */
  writer(): number {
    return openSync(this.#path, 'w');
  }

  /** Reads what is there. @returns all that was read so far */
  read(): string {
    const bytes = Buffer.alloc(65_536);
    try {
      for (;;) {
        const count = readSync(this.#reader as number, bytes);
        if (count === 0) return this.text;
        this.text += bytes.toString('latin1', 0, count);
      }
    } catch {
      return this.text;
    }
  }
}

interface Started {
  publicUrl: string;
  internalUrl: string;
  child: ChildProcess;
}

/** Starts the command with this for stdout and stderr, and waits until it answers. @param redirect is given to a shell */
async function started(
  to: number | 'ignore',
  env: Record<string, string> = {},
  redirect = '',
): Promise<Started> {
  const [publicPort, internalPort] = [await freePort(), await freePort()];
  const command = `exec "$0" "$@" ${redirect}`;
  const child = spawn('sh', ['-c', command, process.execPath, ...TAGWAIT], {
    env: {
      PATH: process.env.PATH,
      TAGWAIT_PUBLIC_PORT: String(publicPort),
      TAGWAIT_INTERNAL_PORT: String(internalPort),
      TAGWAIT_DRAIN: '3',
      TAGWAIT_LOG_LEVEL: 'debug',
      ...env,
    },
    stdio: ['ignore', to, to],
  });
  if (to !== 'ignore') closeSync(to);
  onTestFinished(async () => {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  });
  const internalUrl = `http://127.0.0.1:${internalPort}`;
  await until(
    async () => {
      expect(child.exitCode, 'it ended').toBeNull();
      return fetch(`${internalUrl}/readyz`).then(
        ({ ok }) => ok,
        () => false,
      );
    },
    { every: 50 },
  );
  return { publicUrl: `http://127.0.0.1:${publicPort}`, internalUrl, child };
}

/** A page is held, hears, and the process drains. @returns lines lost by then */
async function serves({ publicUrl, internalUrl, child }: Started): Promise<number> {
  for (const value of [1, 2, 3]) {
    const page = poll(publicUrl, { key: `k${value}` });
    await held(internalUrl, `k${value}`, 1);
    await set(internalUrl, { key: `k${value}`, value });
    expect(await page).toMatchObject({ code: 0, data: value });
  }
  const lost = (await scrape(internalUrl)).get(LOST);
  child.kill('SIGTERM');
  const [code] = await once(child, 'exit');
  expect(code).toBe(0);
  return lost as number;
}

const unread = () => {
  const pipe = new Pipe();
  const writer = pipe.writer();
  pipe.close();
  return writer;
};

test.each<[string, () => number | 'ignore', string, number]>([
  ['on a full disk', () => openSync('/dev/full', 'w'), '', 4],
  ['a pipe without a reader', unread, '', 4],
  ['closed', () => 'ignore', '>&- 2>&-', 0],
])('stdout and stderr are %s: it starts, serves and drains', async (_, to, redirect, least) => {
  expect(await serves(await started(to(), {}, redirect))).toBeGreaterThanOrEqual(least);
});

test('on a full disk, with workers: the lines of all, and of the primary, are counted', async () => {
  const redis = await redisServer();
  const env = { TAGWAIT_REDIS_URL: redis.url, TAGWAIT_WORKERS: '2', TAGWAIT_LOG_LEVEL: 'info' };
  const service = await started(openSync('/dev/full', 'w'), env);
  // the start line, two of the primary, two of each worker
  await until(async () => (await scrape(service.internalUrl)).get(LOST) === 7);
  expect(await serves(service)).toBe(7);
});

test('one line says how many were lost, once lines can be written again', async () => {
  const pipe = new Pipe();
  const service = await started(pipe.writer());
  await until(() => pipe.read().includes('"msg":"ready"'));
  pipe.close();
  for (const key of ['a', 'b', 'c']) await poll(service.publicUrl, { key, hold: '0' });
  const lost = (await scrape(service.internalUrl)).get(LOST);
  expect(lost).toBeGreaterThanOrEqual(3);
  pipe.open();
  await poll(service.publicUrl, { key: 'd', hold: '0' });
  await until(() => pipe.read().includes('log lines were lost'));
  const lines = pipe.text.split('\n').flatMap(line => (line.startsWith('{') ? [JSON.parse(line)] : []));
  expect(lines.find(({ msg }) => msg === 'log lines were lost')).toMatchObject({ level: 40, lines: lost });
  expect((await scrape(service.internalUrl)).get(LOST)).toBe(lost);
});

test('a pipe that is not read: what waits is bounded, nothing blocks, and the rest is whole lines', async () => {
  const pipe = new Pipe();
  const code = `
    import { output } from ${JSON.stringify(fileURLToPath(new URL('../dist/output.js', import.meta.url)))};
    const out = output(2);
    out.onRecovered = lines => out.write('lost ' + lines + '\\n');
    const before = process.memoryUsage().rss;
    for (let line = 0; line < 50_000; line++) out.write(String(line).padEnd(199, '.') + '\\n');
    const grown = process.memoryUsage().rss - before;
    process.stdout.write(JSON.stringify({ lost: out.lost, grown }) + '\\n');
    setInterval(() => {}, 1000);`;
  const writer = pipe.writer();
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', writer],
  });
  closeSync(writer);
  onTestFinished(() => void child.kill('SIGKILL'));
  const [text] = (await once(child.stdout as NodeJS.ReadableStream, 'data')) as [Buffer];
  const { lost, grown } = JSON.parse(String(text)) as { lost: number; grown: number };
  // 64 KiB in the pipe and 1 MiB in the process, of 10 MB
  expect(lost).toBeGreaterThan(44_000);
  expect(lost).toBeLessThan(45_000);
  expect(grown).toBeLessThan(40_000_000);
  await until(() => pipe.read().includes('lost '));
  const lines = pipe.text.trimEnd().split('\n');
  expect(lines.pop()).toBe(`lost ${lost}`);
  expect(lines).toEqual(Array.from({ length: 50_000 - lost }, (_, line) => String(line).padEnd(199, '.')));
});
