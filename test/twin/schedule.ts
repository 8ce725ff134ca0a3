/** What happens in one run, drawn from a seed: when pages come and go, what is set, and what goes wrong. */
import { Random } from '../chaos/random.js';
import type { Role } from './server.js';

/** ms after the start at which something happens */
type At = { at: number };
/** ms that it lasts */
type For = { ms: number };

export type Op = At &
  (
    | { kind: 'set'; node: number; key: string; final: boolean; retry: boolean }
    | { kind: 'arrive'; page: number }
    /** back: ms after which the page is there again, 0: in the same tick; absent: for good */
    | { kind: 'leave'; page: number; back?: number; elsewhere: boolean }
    /** all pages of a node leave, and each is back between `after` and `within` ms later; both 0: in the same tick */
    | { kind: 'crowd'; node: number; after: number; within: number }
    | ({ kind: 'pause' | 'down' | 'bus'; server: number } & For)
    | { kind: 'cut'; node: number; role: Role }
    /** a node is killed; another takes its place `back` ms later */
    | { kind: 'die'; node: number; back: number }
    /** a node is stopped: its timers fire late, and it reads and writes nothing */
    | ({ kind: 'stall'; node: number } & For)
    /** the next answer to a page gets lost: it asks again with the cursor that it had */
    | { kind: 'lose'; page: number }
    | ({ kind: 'silence'; node: number; role: Role } & For)
    | ({ kind: 'slow'; node: number; role: Role; by: number } & For)
    /** node: absent for all; the server itself refuses */
    | ({ kind: 'refuse'; node?: number; server: number; commands: string[]; error: string } & For)
    | ({ kind: 'drop'; node: number; what: 'entries' | 'all' } & For)
    | ({ kind: 'redirect'; node: number } & For)
    /** keys: those whose watchers Redis drops of its own accord */
    | { kind: 'evict'; keys: string[] }
    | { kind: 'evict markers'; server: number }
  );

export interface Schedule {
  seed: number;
  /** how many of each there are; several servers are a Cluster */
  nodes: number;
  servers: number;
  /** ms of one way between a node and a server */
  way: number;
  /** entries kept */
  history: number;
  pages: { key: string; node: number; hold: number; think: number }[];
  ops: Op[];
  /** ms after which nothing happens any more */
  end: number;
}

const VERIFICATION = ['mget', 'tagwaitRenew'];
/** Whether what is promised goes on all the same: Redis can be reached, and pages hear within 15 s. */
export const isHarmless = (op: Op): boolean =>
  op.kind === 'evict' ||
  op.kind === 'redirect' ||
  (op.kind === 'drop' && op.what === 'entries') ||
  (op.kind === 'refuse' && op.commands.every(name => VERIFICATION.includes(name)));

const REFUSALS: [commands: string[], error: string][] = [
  [['*'], 'NOPERM this user has no permissions to run the command'],
  [['*'], 'LOADING Redis is loading the dataset in memory'],
  [['*'], 'BUSY Redis is busy running a script'],
  [['auth'], 'WRONGPASS invalid username-password pair or user is disabled.'],
  [['subscribe'], 'NOPERM no permissions to access a channel'],
  [['tagwaitHeartbeat'], 'READONLY You can not write against a read only replica.'],
  [['tagwaitSubscribe'], 'OOM command not allowed when used memory > maxmemory'],
  [['tagwaitUnsubscribe'], 'MISCONF Redis is configured to save RDB snapshots'],
  [['tagwaitSubscribe', 'tagwaitUnsubscribe', 'tagwaitHeartbeat'], 'READONLY replica'],
  [['tagwaitSet', 'tagwaitSetMany'], 'OOM command not allowed when used memory > maxmemory'],
  [VERIFICATION, 'NOPERM this user has no permissions to run the command'],
];

/** Draws the parts of one schedule. */
class Dice {
  readonly random: Random;
  readonly nodes: number;
  readonly servers: number;
  readonly keys: string[];
  readonly end: number;
  /** ms of one way between a node and a server */
  readonly way: number;
  readonly ops: Op[] = [];
  /** when something begins or ends: most happens about then, because that is where races are */
  readonly moments: number[] = [];

  constructor(seed: number) {
    this.random = new Random(seed * 7919);
    const { random } = this;
    this.nodes = random.next() < 0.6 ? 2 : 1;
    this.servers = random.next() < 0.35 ? 2 : 1;
    this.way = random.pick([0.1, 1, 10, 50]);
    this.keys = Array.from({ length: this.count(1, random.pick([2, 4, 12])) }, (_, number) => `k${number}`);
    this.end = this.whole(1500, random.pick([4000, 9000, 16_000, 30_000]));
    for (let count = this.count(0, 4); count > 0; count--) this.add(this.#fault());
  }

  count = (least: number, most: number) => Math.floor(this.random.between(least, most + 1));
  whole = (least: number, most: number) => Math.round(this.random.between(least, most));
  node = () => this.count(0, this.nodes - 1);
  chance = (share: number) => this.random.next() < share;

  add(op: Op): void {
    this.ops.push(op);
    this.moments.push(op.at);
    if ('ms' in op) this.moments.push(op.at + op.ms, op.at + op.ms * this.random.next());
    if (op.kind === 'die') this.moments.push(op.at + op.back);
    if (op.kind === 'leave' && op.back) this.moments.push(op.at + op.back);
    if (op.kind === 'crowd') this.moments.push(op.at + op.after, op.at + op.within);
  }

  at(): number {
    if (this.moments.length === 0 || this.chance(0.3)) return this.whole(400, this.end);
    const [before, after] = this.random.pick([
      [-2 * this.way, 6 * this.way],
      [-300, 1500],
      [0, 6000],
    ] as [number, number][]);
    return Math.max(100, Math.round(this.random.pick(this.moments) + this.random.between(before, after)));
  }

  #fault(): Op {
    const { random } = this;
    const ms = this.whole(20, random.pick([300, 2000, 4500, 8000]));
    const at = this.whole(400, this.end);
    const node = this.node();
    const server = this.count(0, this.servers - 1);
    const role = random.pick<Role>(['commands', 'subscriber']);
    const [commands, error] = random.pick(REFUSALS);
    const refuse = (): Op => ({
      kind: 'refuse',
      // later than every start: a node that is refused then ends, as it should
      at: Math.max(at, 1000),
      server,
      commands,
      error,
      ms: commands === VERIFICATION ? 20_000 : ms,
      ...(this.chance(0.5) ? { node } : {}),
    });
    const faults: (() => Op)[] = [
      () => ({ kind: 'pause', at, server, ms }),
      () => ({ kind: 'pause', at, server, ms }),
      () => ({ kind: 'down', at, server, ms }),
      () => ({ kind: 'cut', at, node, role }),
      () => ({ kind: 'cut', at, node, role }),
      () => ({ kind: 'silence', at, node, role, ms }),
      () => ({ kind: 'slow', at, node, role, by: random.pick([100, 1000, 3000, 6000]), ms }),
      refuse,
      refuse,
      () => ({ kind: 'drop', at, node, what: random.pick(['entries', 'all']), ms }),
      () => ({ kind: 'evict', at, keys: this.chance(0.5) ? this.keys : [random.pick(this.keys)] }),
      () => ({ kind: 'evict markers', at, server }),
      () => ({ kind: 'redirect', at, node, ms }),
      () => ({ kind: 'bus', at, server, ms }),
      () => ({ kind: 'die', at: Math.max(at, 1000), node, back: this.whole(50, random.pick([300, 3000])) }),
      () => ({ kind: 'stall', at, node, ms }),
      () => ({ kind: 'stall', at, node, ms }),
    ];
    return random.pick(faults)();
  }
}

/**
 * Redis stalls, or refuses one command that is long on its way; meanwhile a page leaves and is back, or another one of
 * its key comes.
 */
function stall(dice: Dice, pages: Schedule['pages'], set: (at: number, key: string) => void): void {
  const { random } = dice;
  const at = dice.whole(1000, dice.end);
  const page = dice.count(0, pages.length - 1);
  const { key, node } = pages[page] as Schedule['pages'][number];
  // the longer of the pauses is over after a key without pages was unsubscribed, and after that has failed
  const spans: [number, number][] = [
    [500, 3000],
    [3000, 5000],
    [5000, 7000],
  ];
  const ms = dice.whole(...random.pick(spans));
  const refused = random.pick([undefined, 'tagwaitSubscribe', 'tagwaitUnsubscribe']);
  if (refused) dice.add({ kind: 'slow', at, node, role: 'commands', by: random.pick([100, 400]), ms });
  for (let server = 0; server < dice.servers; server++)
    dice.add(
      refused
        ? { kind: 'refuse', at, server, commands: [refused], error: 'OOM command not allowed', ms }
        : { kind: 'pause', at, server, ms },
    );
  const moves = at + dice.whole(10, 500);
  if (dice.chance(0.5)) {
    const back = dice.whole(
      ...random.pick<[number, number]>([
        [0, 1000],
        [1000, 3500],
      ]),
    );
    dice.add({ kind: 'leave', at: moves, page, elsewhere: false, back });
  } else {
    pages.push({ key, node, hold: 25_000, think: 0 });
    dice.add({ kind: 'arrive', at: moves, page: pages.length - 1 });
  }
  set(dice.chance(0.5) ? at - dice.whole(0, 500) : at + ms + dice.whole(100, 3000), key);
}

export function draw(seed: number): Schedule {
  const dice = new Dice(seed);
  const { random, end, keys, nodes, servers, way, ops } = dice;
  const pages = Array.from({ length: dice.count(1, Math.max(6, keys.length)) }, (_, number) => ({
    key: keys[number] ?? random.pick(keys),
    node: dice.node(),
    hold: random.pick([1000, 3000, 9000, 25_000]),
    think: random.pick([0, 0, 5, 100, 5500]),
  }));
  const set = (at: number, key: string, final = false) =>
    dice.add({ kind: 'set', at, node: dice.node(), key, final, retry: dice.chance(0.5) });

  for (const page of pages.keys())
    dice.add({ kind: 'arrive', page, at: dice.chance(0.5) ? dice.whole(0, 300) : dice.at() });
  for (let count = dice.count(0, 8); count > 0; count--)
    dice.add({
      kind: 'leave',
      at: dice.at(),
      page: dice.count(0, pages.length - 1),
      elsewhere: dice.chance(0.15),
      ...(dice.chance(0.85) ? { back: random.pick([0, 0, 1, 250, 900, dice.whole(4500, 6500)]) } : {}),
    });
  for (let count = dice.count(-2, 3); count > 0; count--)
    dice.add({ kind: 'lose', at: dice.at(), page: dice.count(0, pages.length - 1) });
  for (let count = dice.count(-2, 2); count > 0; count--) {
    const [after, within] = random.pick([
      [0, 0],
      [0, 20],
      [250, 2000],
    ] as [number, number][]);
    dice.add({ kind: 'crowd', at: dice.at(), node: dice.node(), after, within });
  }
  for (let count = dice.count(0, random.pick([1, 3, 14])); count > 0; count--)
    set(dice.at(), random.pick(keys), dice.chance(0.05));
  if (dice.chance(0.4)) stall(dice, pages, set);
  // whatever happened, the next value is heard
  for (const key of keys) if (dice.chance(0.7)) set(end + dice.whole(0, 3000), key);
  ops.sort((one, other) => one.at - other.at);
  const over = Math.max(end, ...dice.moments);
  return { seed, nodes, servers, way, history: random.pick([1, 2, 16]), pages, ops, end: over };
}
