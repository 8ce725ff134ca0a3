/**
 * No request costs much more CPU time than a plain poll: the most expensive ones known, and requests bred from
 * them, measured against a plain poll in the same run. BREED_SECONDS: a longer search; BREED_SEED: repeats a run.
 */
import { connect } from 'node:net';
import { expect, test } from 'vitest';
import { changed, fresh, type Genes, type Random, randomOf, written } from './breed.js';
import { EXPENSIVE } from './expensive.js';
import { service } from './harness.js';

const SECONDS = Number(process.env.BREED_SECONDS ?? 8);
const SEED = Number(process.env.BREED_SEED ?? Math.floor(Math.random() * 2 ** 31));
/**
 * Allowed cost of a request, in plain polls on a connection of their own, and of each further packet. The most expensive
 * known cost 6 to 10 (a scrape; a set of numbers that V8 prints slowly); faults that were fixed cost 12 to 70 and more.
 */
const MOST = 12;
const PACKET = 0.5;
/** A scrape may cost more: routes/sparing.ts bounds the share of time that all of them take. */
const SCRAPE = 2 * MOST;
/** How many of the most expensive requests have children. */
const HERD = 12;
/** How often a request is measured again at the end, at least. */
const ROUNDS = 2;
/** How long to wait for a request that may never be answered, and for more of an answer, ms. */
const PATIENCE = { answer: 25, more: 3 };

/** Sends a request on a new connection. @returns CPU time of this process, µs, and the number of answers */
async function priceOf(url: string, packets: readonly string[]): Promise<{ cost: number; answers: number }> {
  const { hostname, port } = new URL(url);
  const began = process.cpuUsage();
  let text = '';
  await new Promise<void>(resolve => {
    const socket = connect({ host: hostname, port: Number(port), noDelay: true });
    const leave = () => void socket.destroy();
    let end = setTimeout(leave, PATIENCE.answer + packets.length);
    socket.setEncoding('latin1').on('data', data => {
      text += data;
      clearTimeout(end);
      end = setTimeout(leave, PATIENCE.more);
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      clearTimeout(end);
      resolve();
    });
    const [first = '', ...others] = packets;
    socket.write(first, 'latin1');
    const next = () => {
      const packet = others.shift();
      if (packet === undefined || socket.destroyed) return;
      socket.write(packet, 'latin1');
      setImmediate(next);
    };
    setImmediate(next);
  });
  const { user, system } = process.cpuUsage(began);
  return { cost: user + system, answers: text.match(/^HTTP\/1/gm)?.length ?? 0 };
}

/**
 * The least of several: what else the machine and the garbage collector did is in the others. One that was given up
 * before it was read cost nothing, and says nothing of those that were answered.
 */
async function leastOf(times: number, url: string, packets: readonly string[]): Promise<number> {
  let answered = Number.POSITIVE_INFINITY;
  let silent = Number.POSITIVE_INFINITY;
  for (let time = 0; time < times; time++) {
    const { cost, answers } = await priceOf(url, packets);
    if (answers > 0) answered = Math.min(answered, cost / answers);
    else silent = Math.min(silent, cost);
  }
  return Number.isFinite(answered) ? answered : silent;
}

interface Found {
  score: number;
  genes: Genes;
}

/** The most expensive requests found so far; few, so that all of them have children. */
class Herd {
  readonly best: Found[] = [];
  take(found: Found): void {
    this.best.push(found);
    this.best.sort((one, other) => other.score - one.score);
    this.best.length = Math.min(this.best.length, HERD);
  }
  get least(): number {
    return this.best.length < HERD ? 0 : (this.best.at(-1)?.score ?? 0);
  }
}

/** The allowed cost of a request, in plain polls. */
const allowed = (packets: readonly string[]) =>
  (/^\w+ \S*\/metrics/.test(packets.join('').slice(0, 100)) ? SCRAPE : MOST) + (packets.length - 1) * PACKET;

/** Measures requests against a plain poll on the same service, until the result is clear. */
class Scale {
  #plain = Number.POSITIVE_INFINITY;
  readonly #urls: Record<Genes['port'], string>;
  constructor(urls: Record<Genes['port'], string>) {
    this.#urls = urls;
  }

  async weighPlain(times: number): Promise<void> {
    this.#plain = Math.min(this.#plain, await leastOf(times, this.#urls.public, EXPENSIVE[0]?.packets ?? []));
  }

  /** @returns the cost as a fraction of the allowed one: above 1 it is too expensive */
  async weigh(port: Genes['port'], packets: readonly string[], times: number): Promise<number> {
    return (await leastOf(times, this.#urls[port], packets)) / this.#plain / allowed(packets);
  }

  /** Measures again what seems too expensive: on a busy machine any request may seem so once. */
  async leastCost(port: Genes['port'], packets: readonly string[], score: number): Promise<number> {
    let least = score;
    for (let time = 0; time < ROUNDS || (least > 1 && time < 20); time++) {
      await this.weighPlain(3);
      least = Math.min(least, await this.weigh(port, packets, 5));
    }
    return least;
  }
}

async function scale(): Promise<Scale> {
  const { publicUrl, internalUrl } = await service({
    // every feature is on, and no request is refused for its rate
    maxPollsPerIp: 1_000_000,
    trustProxy: 2,
    origins: ['https://a.example', 'https://*.b.example'],
    secret: ['s'.repeat(32)],
  });
  const made = new Scale({ public: publicUrl, internal: internalUrl });
  await made.weighPlain(200);
  return made;
}

test('the most expensive requests that are known cost no more than a few plain polls', async () => {
  const prices = await scale();
  const tooExpensive: string[] = [];
  for (const { name, port, packets } of EXPENSIVE) {
    const least = await prices.leastCost(port, packets, await prices.weigh(port, packets, 5));
    if (least > 1) tooExpensive.push(`${name}: ${(least * allowed(packets)).toFixed(0)} plain polls`);
  }
  expect(tooExpensive).toEqual([]);
});

test('requests bred from them cost no more either', { timeout: 60_000 + SECONDS * 2000 }, async () => {
  const random: Random = randomOf(SEED);
  const prices = await scale();
  const herd = new Herd();
  const end = performance.now() + SECONDS * 1000;
  let tried = 0;
  while (performance.now() < end) {
    const parent =
      random() < 0.3 || herd.best.length === 0
        ? fresh(random)
        : herd.best[Math.floor(random() * herd.best.length)]?.genes;
    const genes = changed(parent ?? fresh(random), random);
    const packets = written(genes);
    if (++tried % 20 === 0) await prices.weighPlain(1);
    const once = await prices.weigh(genes.port, packets, 1);
    if (once <= herd.least) continue;
    herd.take({ score: await prices.weigh(genes.port, packets, 4), genes });
  }
  for (const found of herd.best)
    found.score = await prices.leastCost(found.genes.port, written(found.genes), found.score);
  const [worst] = herd.best.sort((one, other) => other.score - one.score);
  const described = worst && describe(worst);
  process.stderr.write(`bred ${tried}; the most expensive: ${described}\n`);
  expect(worst?.score, `BREED_SEED=${SEED}: ${described}`).toBeLessThanOrEqual(1);
});

function describe({ score, genes }: Found): string {
  const packets = written(genes);
  const text = packets.join('');
  return `${(score * allowed(packets)).toFixed(1)} plain polls, ${genes.port}, ${text.length} bytes in ${packets.length} packets: ${JSON.stringify(text.slice(0, 300))} … ${JSON.stringify(text.slice(-200))}`;
}
