/**
 * A run of a scan login in virtual time: two pages, three phones, two nodes and a store that fails, as one seed draws
 * them. Everyone repeats a call until it is answered. What was called and answered is written down for `checks.ts`.
 */

import { type Backlog, type Broker, Unavailable } from '../../src/brokers/broker.js';
import { MemoryBroker } from '../../src/brokers/memory.js';
import { type LoginStore, Logins } from '../../src/login/machine.js';
import { LoginError, type LoginReason, type Step } from '../../src/login/steps.js';
import type { Ticket } from '../../src/protocol/ticket.js';
import { Random } from '../chaos/random.js';
import { Clock } from '../twin/clock.js';
import { FaultyStore, pass } from './store.js';

export const TTL = 120;
const MINUTE = 60_000;
/** ms: the last login has ended, and its code too */
const END = 15 * MINUTE;
export const SECRET = 's'.repeat(32);

/** One try of a call. */
export interface Call {
  step: Step;
  /** page or phone */
  by: string;
  /** unix ms */
  from: number;
  /** when it was answered; undefined: it was not */
  at?: number;
  /** what it gave, when it was possible */
  given?: object;
  refused?: LoginReason;
  /** of redeem */
  claim?: { code: string; visitor: string; id: string | undefined };
}
export interface Heard {
  state: string;
  code?: string;
  final?: boolean;
}
export interface Log {
  calls: Call[];
  ticket: Ticket | undefined;
  /** unix ms */
  begun: number;
  /** what the page with the QR code heard, in order */
  heard: Heard[];
  /** it was there when its ticket ended */
  there: boolean;
  faults: string[];
}

/** How long a caller waits for an answer, ms. */
const PATIENCE = 5000;

/** @returns undefined: nothing came in time */
function within<T>(ms: number, answer: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(undefined), ms);
    answer.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

export type Create = (store: LoginStore) => Logins;

/** The store of all nodes, and what is set in it. */
export interface Stores {
  /** one for each node */
  nodes: Pick<Broker, 'set' | 'peek'>[];
  read(key: string, since: string): Backlog | Promise<Backlog>;
  /** Calls the listener whenever something is set for the key. */
  watch(key: string, listener: () => void): void;
}

export class World {
  readonly #random: Random;
  readonly #stores: Stores;
  readonly #scale: number;
  readonly #nodes: Logins[];
  readonly #actors: Promise<void>[] = [];
  readonly log: Log = { calls: [], ticket: undefined, begun: 0, heard: [], there: true, faults: [] };

  /** @param scale what is drawn as a second lasts so many seconds; below 1 no login comes to its end */
  constructor(random: Random, create: Create, stores: Stores, scale: number) {
    this.#random = random;
    this.#stores = stores;
    this.#scale = scale;
    const rate = random.pick([0, 0.03, 0.2]);
    const onSet = (key: string, value: string) => this.#look(key, value);
    this.#nodes = stores.nodes.map(node => create(new FaultyStore(node, random, { rate, scale, onSet })));
  }

  /** Resolves when all are done. */
  async play(): Promise<void> {
    const begun = await this.#until('new', 'page', node => node.new('visitor-one', TTL, '"SHOW"'));
    if (!begun) return;
    this.log.ticket = begun;
    this.log.begun = (this.log.calls.at(-1) as Call).from;
    const late = this.#chance(0.1);
    const end = this.#page(begun);
    this.#actors.push(this.#thief(begun));
    for (const phone of ['phone-1', 'phone-2', 'phone-3'])
      this.#actors.push(this.#phone(phone, begun.key, late));
    await this.#done();
    await end();
    await this.#done();
  }

  async #done(): Promise<void> {
    while (this.#actors.length > 0) await this.#actors.pop();
  }

  /**
   * The page with the QR code: hears what is set while it is there, and redeems the code, in one tab or two.
   * @returns lets it listen for the last time
   */
  #page({ key, expires }: Ticket): () => Promise<void> {
    const { log } = this;
    const away = this.#chance(0.3) ? this.#between(0, 130_000) : Number.POSITIVE_INFINITY;
    const back = away + this.#between(0, 90_000);
    const start = Date.now();
    const isThere = () => {
      const passed = (Date.now() - start) / this.#scale;
      return passed < away || passed >= back;
    };
    let since = '';
    let turn = Promise.resolve();
    let ended = false;
    const hear = async () => {
      if (ended || !isThere() || Date.now() >= expires * 1000) return;
      const { entries, cursor } = await this.#stores.read(key, since);
      since = cursor || since;
      for (const { value, final } of entries) {
        const heard = { ...(JSON.parse(value) as Heard), final };
        log.heard.push(heard);
        if (heard.code !== undefined) this.#actors.push(this.#redeem(key, heard.code));
      }
    };
    const listen = () => {
      turn = turn.then(hear);
      return turn;
    };
    const end = async () => {
      if (ended) return;
      log.there = isThere();
      await listen();
      ended = true;
    };
    this.#stores.watch(key, () => setTimeout(listen, this.#between(0, 50)));
    void listen();
    if (back < Number.POSITIVE_INFINITY) void this.#pass(back).then(listen);
    if (this.#scale === 1) void pass(expires * 1000 - Date.now() - 1).then(end);
    return end;
  }

  async #redeem(key: string, code: string): Promise<void> {
    await this.#pass(this.#chance(0.8) ? this.#between(0, 5000) : this.#between(0, 260_000));
    const tab = async (id: string | undefined) => {
      const claim = { code, visitor: 'visitor-one', id };
      await this.#until('redeem', 'page', node => node.redeem(key, code, claim.visitor, id), claim);
    };
    const tabs = [this.#chance(0.85) ? 'tab-1' : undefined];
    if (this.#chance(0.3)) tabs.push(this.#chance(0.5) ? 'tab-2' : undefined);
    if (this.#chance(0.2)) tabs.push(tabs[0]);
    await Promise.all(tabs.map(tab));
  }

  /** Another page with the same key and proof: it tries the code for itself, and guesses before and after. */
  async #thief({ key }: Ticket): Promise<void> {
    let tried = false;
    const attempt = (code: string, visitor: string, id?: string) =>
      this.#until('redeem', 'thief', node => node.redeem(key, code, visitor, id), { code, visitor, id });
    const listen = async () => {
      const code = await this.#codeOf(key);
      if (tried || code === undefined) return;
      tried = true;
      await this.#pass(this.#between(0, 3000));
      await attempt(code, 'visitor-two', this.#random.pick(['tab-1', 'own', undefined]));
      await attempt('guess', 'visitor-one', 'tab-1');
      if (this.#chance(0.05))
        for (let guess = 0; guess < 15; guess++) await attempt(`guess-${guess}`, 'visitor-two');
    };
    this.#stores.watch(key, () => this.#actors.push(listen()));
    await this.#pass(this.#between(0, 20_000));
    if (this.#chance(0.3)) await attempt('', 'visitor-one');
  }

  async #codeOf(key: string): Promise<string | undefined> {
    for (const { value } of (await this.#stores.read(key, '')).entries) {
      const { code } = JSON.parse(value) as Heard;
      if (code !== undefined) return code;
    }
    return undefined;
  }

  /** @param late it comes at the end of the login */
  async #phone(phone: string, key: string, late: boolean): Promise<void> {
    const approve = () =>
      this.#until('approve', phone, node => node.approve(key, phone, `"user of ${phone}"`));
    const deny = () => this.#until('deny', phone, node => node.deny(key, phone));
    const scan = () => this.#until('scan', phone, node => node.scan(key, phone));
    await this.#pass(late ? this.#between(90_000, 160_000) : this.#between(0, 20_000));
    if (this.#chance(0.95)) {
      const taps = this.#chance(0.2) ? 2 : 1;
      const scanned = await Promise.all(Array.from({ length: taps }, scan));
      if (!scanned.some(Boolean) && this.#chance(0.8)) return;
    }
    await this.#pass(this.#chance(0.8) ? this.#between(0, 15_000) : this.#between(0, 150_000));
    const yes = this.#chance(0.7);
    const taps = [yes ? approve : deny];
    if (this.#chance(0.25)) taps.push(this.#random.pick([approve, deny, scan]));
    await Promise.all(taps.map(tap => tap()));
    if (!this.#chance(0.4)) return;
    await this.#pass(this.#chance(0.8) ? this.#between(0, 120_000) : this.#between(100_000, 200_000));
    await this.#random.pick([approve, approve, deny, scan])();
  }

  /** Calls a node, and another, until one answers. @returns what it gave; undefined: it was refused, or nobody answered */
  async #until<T extends object>(
    step: Step,
    by: string,
    act: (node: Logins) => Promise<T>,
    claim?: Call['claim'],
  ): Promise<T | undefined> {
    for (let attempt = 0; attempt < 5; attempt++) {
      const call: Call = { step, by, from: Date.now(), ...(claim ? { claim } : {}) };
      this.log.calls.push(call);
      try {
        const given = await within(
          PATIENCE * Math.max(this.#scale, 0.1),
          act(this.#random.pick(this.#nodes)),
        );
        if (given) {
          call.at = Date.now();
          call.given = given;
          return given;
        }
      } catch (error) {
        if (error instanceof LoginError) {
          call.at = Date.now();
          call.refused = error.reason;
          return undefined;
        }
        if (!(error instanceof Unavailable)) this.log.faults.push(`${step} by ${by} failed: ${error}`);
      }
      await this.#pass(this.#between(0, 3000));
    }
    return undefined;
  }

  /** What is stored where a page could read it, and what is stored at all. */
  #look(key: string, value: string): void {
    if (value.includes('visitor-one')) this.log.faults.push(`the visitor is stored: ${value}`);
    if (key === this.log.ticket?.key && /user|phone|SHOW/.test(value))
      this.log.faults.push(`the page hears ${value}`);
  }

  /** @param ms as drawn */
  #pass(ms: number): Promise<void> {
    return pass(ms * this.#scale);
  }
  #chance(share: number): boolean {
    return this.#random.next() < share;
  }
  #between(least: number, most: number): number {
    return this.#random.between(least, most);
  }
}

export const create: Create = store => new Logins(store, [SECRET]);

/** A run in virtual time over the embedded store. @returns what happened in the run of this seed */
export async function play(seed: number): Promise<Log> {
  const random = new Random(seed);
  const clock = new Clock();
  clock.install(() => random.next());
  const broker = new MemoryBroker({ history: 1 });
  const listeners: (() => void)[] = [];
  await broker.start({
    entry() {
      for (const listener of listeners) listener();
    },
    gap() {},
    held: () => 0,
    drop() {},
    describe: () => ({ id: 'n', held: 0, version: '', uptime: 0 }),
  });
  const stores: Stores = {
    nodes: [broker, broker],
    read: (key, since) => broker.subscribe(key, since),
    watch: (_, listener) => listeners.push(listener),
  };
  const world = new World(random, create, stores, 1);
  try {
    void world.play();
    await clock.runUntil(END);
    await broker.close();
  } finally {
    clock.uninstall();
  }
  return world.log;
}
