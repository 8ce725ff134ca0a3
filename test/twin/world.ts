/** One run: nodes over servers in memory, pages, what goes wrong with them, and what has to hold all the time. */
import { RedisBroker } from '../../src/brokers/redis/redis.js';
import { LongPoll } from '../../src/hold/longpoll.js';
import { Random } from '../chaos/random.js';
import { fakeConnections } from './clients.js';
import { as, Clock } from './clock.js';
import { Faults } from './faults.js';
import { Page } from './page.js';
import { isHarmless, type Op, type Schedule } from './schedule.js';
import { Line, Server } from './server.js';

/** A page is never behind for longer, ms, whatever was lost: the 15 s that are promised, and a second. */
const WHATEVER = 16_000;
/** Nor for longer than this when its node knows of what was lost, or when Redis was merely slow: 2 s, and some ways. */
const KNOWN_LOSS = 2500;
/** A node is ready again so long after its Redis can be reached, ms. */
const READY = 10_000;
/** How often it is looked whether all holds, ms. */
const LOOK = 250;
/** After the last page has left: the grace, a sweep, and what was left to do when Redis was away, ms. */
const SETTLED = 18_000;

export interface Failure {
  check: string;
  text: string;
}

export interface Node {
  id: string;
  line: Line;
  longpoll: LongPoll;
  started: boolean;
  /** its start was called */
  begun: boolean;
  /** it was killed */
  dead: boolean;
  /** of each key, the newest entry that was delivered to it by whatever way */
  known: Map<string, number>;
  /** keys of commands that came late, on connections that were given up: a subscription may be left */
  late: Set<string>;
  /** of each key, when something was lost without a sign, ms */
  lossAt: Map<string, number>;
  /** when Redis last answered it, ms, and for how long it had been stopped until then */
  answered: { at: number; stalled: number };
  /** since when nothing has been wrong on its way to Redis, and it says so itself, ms; Infinity: something is */
  goodSince: number;
}

const keyOf = (name: string) => /\{(.*)\}/.exec(name)?.[1] ?? '';

export class World {
  readonly clock = new Clock();
  readonly servers: Server[];
  readonly nodes: Node[] = [];
  readonly pages: Page[] = [];
  failure: Failure | undefined;
  closing = false;
  /** values that a page has taken before its next poll */
  readonly proved = new Set<string>();
  /** sets that were answered that their value is received */
  received = 0;
  readonly #schedule: Schedule;
  readonly #random: Random;
  readonly #faults: Faults;
  readonly #stored = new Map<string, { value: string; at: number }[]>();
  #sets = 0;
  #deaths = 0;
  /** pages that have left and come back */
  #returning = 0;
  /** ids of nodes that died: their names stay with what they watched until the lease has ended */
  readonly #dead = new Set<string>();
  /** when something was last lost that the nodes find by verification, ms since the start */
  #lostAt = Number.NEGATIVE_INFINITY;

  constructor(schedule: Schedule) {
    this.#schedule = schedule;
    this.#random = new Random(schedule.seed);
    this.servers = Array.from({ length: schedule.servers }, (_, number) => new Server(7001 + number));
    for (const server of this.servers) {
      if (this.servers.length > 1) server.others = this.servers.filter(other => other !== server);
      server.store.onStored = (key, number, value) => this.#store(key, number, value);
    }
    this.#faults = new Faults(this);
  }

  /** @returns what does not hold, if anything */
  async run(): Promise<Failure | undefined> {
    this.clock.install(() => this.#random.next());
    try {
      for (let number = 0; number < this.#schedule.nodes; number++) this.nodes.push(this.#node(number));
      for (const [number, page] of this.#schedule.pages.entries())
        this.pages.push(new Page(this, `page ${number}`, this.nodes[page.node] as Node, page));
      for (const op of this.#schedule.ops) setTimeout(() => this.#act(op), op.at);
      const look = setInterval(() => this.#look(), LOOK);
      await this.#until(this.#schedule.end);
      await this.#until(this.#faults.over);
      // what does not come to rest in time fails by then
      await this.#until(this.clock.now + WHATEVER + 4 * LOOK, () => this.#isCaughtUp());
      for (const page of this.pages) page.leave();
      await this.#until(this.clock.now + SETTLED, () => this.#leftovers() === undefined);
      await this.#sayGoodbye();
      const left = this.#leftovers();
      if (left) this.fail('rest', left);
      clearInterval(look);
      await this.#close();
    } finally {
      this.clock.uninstall();
    }
    return this.failure;
  }

  fail(check: string, text: string): void {
    this.failure ??= { check, text: `${Math.round(this.clock.now)} ms: ${text}` };
  }

  stored(key: string) {
    return this.#stored.get(key) ?? [];
  }

  numberOf(key: string, value: string): number {
    return this.stored(key).findIndex(entry => entry.value === value) + 1;
  }

  /** A page was answered that Redis is away: also when its hold ended while a loss that was found was looked up. */
  checkUnavailable({ name, node }: Page): void {
    const { unverifiedUntil } = this.#faults;
    const lost = Math.max(this.#lostAt, unverifiedUntil);
    const since = Math.max(node.goodSince, this.#faults.reachableSince(node), lost);
    if (this.clock.now > since + WHATEVER) this.fail('unavailable', `${name} is answered -7`);
  }

  /** Time passes until then, or until something is done, or has failed. */
  async #until(end: number, done = () => false): Promise<void> {
    while (!this.failure && this.clock.now < end && !done())
      await this.clock.runUntil(Math.min(end, this.clock.now + 500));
  }

  /** @param life of the nodes in this place, from 0 @param wait ms until it starts */
  #node(number: number, life = 0, wait = 0): Node {
    const id = life === 0 ? `n${number}` : `n${number}x${life}`;
    const line = new Line(this.#random, this.#schedule.way);
    const { history, servers } = this.#schedule;
    const broker = new RedisBroker(
      {
        store:
          servers > 1
            ? { kind: 'cluster', nodes: ['fake:7001'] }
            : { kind: 'server', url: 'redis://fake:7001' },
        prefix: 't',
        history,
        wait: 0,
        node: id,
        log: { info() {}, warn() {} },
      },
      () => fakeConnections(line, this.servers, servers > 1),
    );
    const node: Node = {
      id,
      line,
      longpoll: new LongPoll(broker, { id, version: '0' }),
      started: false,
      begun: false,
      dead: false,
      known: new Map(),
      late: new Set(),
      lossAt: new Map(),
      answered: { at: 0, stalled: 0 },
      goodSince: Number.POSITIVE_INFINITY,
    };
    const each = (text: string, take: (key: string, number: number) => void) => {
      if (!text.startsWith('e\n')) return;
      for (const entry of text.slice(2).split('\n')) {
        const [key = '', cursor = ''] = entry.split(' ', 2);
        take(key, Number(cursor.split('-')[1]));
      }
    };
    const knows = (key: string, number: number) =>
      node.known.set(key, Math.max(number, node.known.get(key) ?? 0));
    line.onMessage = text => each(text, knows);
    line.onDropped = text => each(text, key => node.lossAt.set(key, this.clock.now));
    line.onLate = names => {
      for (const name of names) {
        node.late.add(keyOf(name));
        node.lossAt.set(keyOf(name), this.clock.now);
      }
    };
    line.onReply = (command, names, reply) => {
      node.answered = { at: this.clock.now, stalled: line.stalled };
      if (command !== 'tagwaitSubscribe' || !Array.isArray(reply)) return;
      for (const [index, one] of reply.entries())
        if (Array.isArray(one) && one.length > 0) knows(keyOf(names[2 * index] ?? ''), Number(one[0]));
    };
    if (wait === 0) this.#start(node);
    else setTimeout(() => this.#start(node), wait);
    return node;
  }

  #start(node: Node): void {
    node.begun = true;
    as(node.line, () => node.longpoll.start()).then(
      () => {
        if (node.dead) return;
        node.started = true;
        for (const page of this.pages) if (page.node === node && page.since !== undefined) page.restart();
      },
      (error: Error) => {
        if (node.dead) return;
        if (this.#deaths > 0 && / refuses this node: /.test(error.message)) this.#replace(node, 500);
        else this.fail('start', `${node.id} ends: ${error.message}`);
      },
    );
  }

  /** Another node takes the place of one that has ended; so does yet another if Redis refuses it at the start. */
  #replace(node: Node, wait: number): void {
    const number = this.nodes.indexOf(node);
    const next = this.#node(number, ++this.#deaths, wait);
    this.nodes[number] = next;
    this.#dead.add(node.id);
    Object.assign(node, { started: false, dead: true });
    this.#faults.inherit(node, next, this.clock.now + wait);
    for (const page of this.pages) if (page.node === node) page.node = next;
    // nothing of it gets out; what it has left to do is dropped
    void as(node.line, () => node.longpoll.close());
  }

  /** Killed: Redis sees its connections end, and its pages go to the other nodes, or to the one that takes its place. */
  #die(number: number, back: number): void {
    const node = this.nodes[number] as Node;
    // one that starts would not end when it is refused meanwhile
    if (!node.started) return;
    const { line } = node;
    const mine = this.pages.filter(page => page.node === node);
    const there = mine.filter(page => page.since !== undefined);
    for (const page of there) page.leave();
    for (const connection of [...line.connections]) connection.abandon();
    line.silent.add('commands').add('subscriber');
    this.#replace(node, back);
    for (const page of mine) page.node = this.#random.pick(this.nodes);
    for (const page of there) this.#back(page, 50 + 2000 * this.#random.next());
  }

  #act(op: Op): void {
    if (op.kind === 'set') return this.#set(op);
    if (op.kind === 'arrive') return this.pages[op.page]?.arrive();
    if (op.kind === 'leave') return this.#leave(this.pages[op.page] as Page, op.back, op.elsewhere);
    if (op.kind === 'lose') {
      const page = this.pages[op.page];
      if (page) page.loses = true;
      return;
    }
    if (op.kind === 'die') return this.#die(op.node, op.back);
    if (isHarmless(op)) this.#lostAt = this.clock.now + ('ms' in op ? op.ms : 0);
    if (op.kind !== 'crowd') return this.#faults.begin(op);
    const crowd = this.pages.filter(page => page.node === this.nodes[op.node] && page.since !== undefined);
    for (const page of crowd) page.leave();
    for (const page of crowd)
      this.#back(page, op.within === 0 ? 0 : op.after + (op.within - op.after) * this.#random.next());
  }

  #leave(page: Page, back: number | undefined, elsewhere: boolean): void {
    if (page.since === undefined) return;
    page.leave();
    if (elsewhere) page.node = this.nodes.find(node => node !== page.node) ?? page.node;
    if (back !== undefined) this.#back(page, back);
  }

  #back(page: Page, after: number): void {
    if (after === 0) return page.arrive();
    this.#returning++;
    setTimeout(() => {
      this.#returning--;
      if (!this.closing) page.arrive();
    }, after);
  }

  #set({ node: number, key, final, retry }: Op & { kind: 'set' }): void {
    const node = this.nodes[number] as Node;
    const value = `v${++this.#sets}`;
    const receipt = this.#sets % 3 === 0 ? 2000 : undefined;
    const options = { ttl: 600_000, final, id: retry ? value : undefined, receipt };
    const attempt = (left: number): void => {
      if (!node.started) return;
      const stalled = node.line.stalledUntil - this.clock.now;
      if (stalled > 0) {
        setTimeout(() => attempt(left), stalled);
        return;
      }
      const page = this.#longHeld(key);
      const departures = page?.departures;
      const asked = this.clock.now;
      as(node.line, () => node.longpoll.set(key, value, options)).then(
        ({ watched, repeated, received }) => {
          if (received) this.received++;
          if (received && !this.proved.has(value))
            this.fail('receipt', `${key}: ${value} is said to be received, and no page has polled after it`);
          if (watched || repeated || !page || page.departures !== departures) return;
          if (this.#lostAt >= asked) return;
          // nothing has gone wrong since then, for however short a time
          if (page.node.goodSince <= asked)
            this.fail('watched', `${page.name} is there, and a set on ${node.id} says that nobody watches`);
        },
        (error: Error) => {
          if (error.name === 'Unavailable' && retry && left > 0) setTimeout(() => attempt(left - 1), 300);
        },
      );
    };
    attempt(5);
  }

  /** A page on the key that has been held for a while, by a node that nothing was wrong with. */
  #longHeld(key: string): Page | undefined {
    const long = this.clock.now - 6000;
    if (this.nodes.some(({ goodSince }) => goodSince > long)) return undefined;
    return this.pages.find(
      ({ key: its, ended, since = Number.POSITIVE_INFINITY, node }) =>
        its === key &&
        !ended &&
        since < long &&
        (node.lossAt.get(key) ?? Number.NEGATIVE_INFINITY) < this.clock.now - WHATEVER,
    );
  }

  #store(key: string, number: number, value: string): void {
    const entries = this.#stored.get(key) ?? [];
    this.#stored.set(key, entries);
    const text = JSON.parse(value) as string;
    if (entries.some(entry => entry.value === text)) this.fail('repeat', `${key}: ${value} is stored twice`);
    entries.push({ value: text, at: this.clock.now });
    if (entries.length !== number) this.fail('fake', `${key}: entry ${number} is the ${entries.length}th`);
  }

  #look(): void {
    const { now } = this.clock;
    for (const node of this.nodes) {
      if (!node.begun) continue;
      const { up, cause } = node.longpoll.store();
      const good = up && !node.line.deceives && !this.#faults.touch(node);
      if (!good) node.goodSince = Number.POSITIVE_INFINITY;
      else if (node.goodSince > now) node.goodSince = now;
      const reachable = this.#faults.reachableSince(node);
      if (!up && now > reachable + READY)
        this.fail(
          'ready',
          `${node.id} is not ready ${now - reachable} ms after Redis can be reached: ${cause}`,
        );
    }
    for (const page of this.pages) this.#lookAt(page, now);
  }

  #lookAt(page: Page, now: number): void {
    const { key, node, heard, since, ended } = page;
    const missing = this.stored(key)[heard];
    if (!missing || since === undefined || since > now || ended) return;
    const from = Math.max(missing.at, since);
    const lossy = (node.lossAt.get(key) ?? Number.NEGATIVE_INFINITY) > missing.at - WHATEVER;
    if (!lossy && now > Math.max(from, node.goodSince) + KNOWN_LOSS)
      this.fail('late', `${page.name} is at ${heard} and has not heard ${missing.value} of ${missing.at} ms`);
    if (now > Math.max(from, this.#faults.reachableSince(node)) + WHATEVER + LOOK)
      this.fail('deaf', `${page.name} is at ${heard} and has not heard ${missing.value} of ${missing.at} ms`);
  }

  /** Every node is ready, and every page is back and has heard everything, for the last time. */
  #isCaughtUp(): boolean {
    const { now } = this.clock;
    return (
      this.#returning === 0 &&
      this.nodes.every(({ goodSince }) => goodSince < now) &&
      this.pages.every(page => page.ended || page.since === undefined || this.#hasAll(page, now))
    );
  }

  /** A subscription that came after its node had unsubscribed is left until the next entry; a key that ended has none. */
  async #sayGoodbye(): Promise<void> {
    const late = new Set(this.nodes.flatMap(node => [...node.late]));
    if (late.size === 0 || !this.#leftovers()) return;
    for (const key of late)
      this.nodes[0]?.longpoll
        .set(key, 'late', { ttl: 600_000 })
        .catch(() => this.#act({ at: 0, kind: 'evict', keys: [key] }));
    await this.#until(this.clock.now + 3000, () => this.#leftovers() === undefined);
  }

  #hasAll = ({ key, heard, since = 0 }: Page, now: number) =>
    since <= now && heard === this.stored(key).length;

  /** What is held or watched; nobody is there any more. */
  #leftovers(): string | undefined {
    for (const { id, longpoll } of this.nodes) {
      const { watched } = longpoll.counts();
      if (longpoll.held > 0 || watched > 0) return `${id} holds ${longpoll.held} and watches ${watched}`;
    }
    for (const { store } of this.servers)
      for (const name of store.keys())
        if (name.includes(':w:') && !this.#isOfTheDead(store.get(name) ?? ''))
          return `${name} is left: ${store.get(name)}`;
    return undefined;
  }

  /** @param watchers as Redis keeps them: a position, and names with the end of their lease */
  #isOfTheDead(watchers: string): boolean {
    const [, names = ''] = watchers.split('|');
    const living = names.split(' ').filter(name => !this.#dead.has(name.split('@')[0] as string));
    return names !== '' && living.length === 0;
  }

  async #close(): Promise<void> {
    this.closing = true;
    const closed = this.nodes.filter(({ begun }) => begun).map(({ longpoll }) => longpoll.close());
    await this.clock.runUntil(this.clock.now + 7000);
    await Promise.all(closed);
    if (!this.failure && this.clock.pending > 0)
      this.fail('timers', `${this.clock.pending} timers are left after all is closed`);
  }
}
