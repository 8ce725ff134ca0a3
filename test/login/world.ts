/**
 * A run of a scan login in virtual time: two pages, three phones, two nodes and a store that fails, as one seed draws
 * them. Everyone repeats a call until it is answered. What was called and answered is written down for `checks.ts`.
 */

import { Unavailable } from '../../src/brokers/broker.js';
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
const END = 8 * MINUTE;
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

export class World {
  readonly #random: Random;
  readonly #broker = new MemoryBroker({ history: 1 });
  readonly #nodes: Logins[];
  readonly #listeners: (() => void)[] = [];
  readonly log: Log = { calls: [], ticket: undefined, begun: 0, heard: [], there: true, faults: [] };

  constructor(random: Random, create: Create) {
    this.#random = random;
    const rate = random.pick([0, 0.03, 0.2]);
    const onSet = (key: string, value: string) => this.#look(key, value);
    this.#nodes = [0, 1].map(() => create(new FaultyStore(this.#broker, random, rate, onSet)));
  }

  async play(): Promise<void> {
    await this.#broker.start({
      entry: () => {
        for (const listener of this.#listeners) listener();
      },
      gap() {},
      held: () => 0,
      describe: () => ({ id: 'n', held: 0, version: '', uptime: 0 }),
    });
    const begun = await this.#until('new', 'page', node => node.new('visitor-one', TTL, '"SHOW"'));
    if (!begun) return;
    this.log.ticket = begun;
    this.log.begun = (this.log.calls.at(-1) as Call).from;
    void this.#page(begun);
    void this.#thief(begun);
    for (const phone of ['phone-1', 'phone-2', 'phone-3']) void this.#phone(phone, begun.key);
  }

  close(): Promise<void> {
    return this.#broker.close();
  }

  /** The page with the QR code: hears what is set while it is there, and redeems the code, in one tab or two. */
  async #page({ key, expires }: Ticket): Promise<void> {
    const { log } = this;
    const away = this.#chance(0.3) ? this.#between(0, 130_000) : Number.POSITIVE_INFINITY;
    const back = away + this.#between(0, 90_000);
    const start = Date.now();
    const isThere = () => Date.now() - start < away || Date.now() - start >= back;
    let since = '';
    const listen = () => {
      if (!isThere() || Date.now() >= expires * 1000) return;
      const { entries, cursor } = this.#broker.subscribe(key, since);
      since = cursor || since;
      for (const { value } of entries) {
        const heard = JSON.parse(value) as Heard;
        log.heard.push(heard);
        if (heard.code !== undefined) void this.#redeem(key, heard.code);
      }
    };
    this.#listeners.push(() => setTimeout(listen, this.#between(0, 50)));
    listen();
    if (back < Number.POSITIVE_INFINITY) setTimeout(listen, back);
    setTimeout(
      () => {
        log.there = isThere();
        listen();
      },
      expires * 1000 - Date.now() - 1,
    );
  }

  async #redeem(key: string, code: string): Promise<void> {
    await pass(this.#chance(0.8) ? this.#between(0, 5000) : this.#between(0, 200_000));
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
      const code = this.#codeOf(key);
      if (tried || code === undefined) return;
      tried = true;
      await pass(this.#between(0, 3000));
      await attempt(code, 'visitor-two', this.#random.pick(['tab-1', 'own', undefined]));
      await attempt('guess', 'visitor-one', 'tab-1');
      if (this.#chance(0.05))
        for (let guess = 0; guess < 15; guess++) await attempt(`guess-${guess}`, 'visitor-two');
    };
    this.#listeners.push(() => void listen());
    await pass(this.#between(0, 20_000));
    if (this.#chance(0.3)) await attempt('', 'visitor-one');
  }

  #codeOf(key: string): string | undefined {
    for (const { value } of this.#broker.subscribe(key, '').entries) {
      const { code } = JSON.parse(value) as Heard;
      if (code !== undefined) return code;
    }
    return undefined;
  }

  async #phone(phone: string, key: string): Promise<void> {
    const approve = () =>
      this.#until('approve', phone, node => node.approve(key, phone, `"user of ${phone}"`));
    const deny = () => this.#until('deny', phone, node => node.deny(key, phone));
    const scan = () => this.#until('scan', phone, node => node.scan(key, phone));
    await pass(this.#chance(0.85) ? this.#between(0, 20_000) : this.#between(0, 150_000));
    if (this.#chance(0.95)) {
      const taps = this.#chance(0.2) ? 2 : 1;
      const scanned = await Promise.all(Array.from({ length: taps }, scan));
      if (!scanned.some(Boolean) && this.#chance(0.8)) return;
    }
    await pass(this.#chance(0.8) ? this.#between(0, 15_000) : this.#between(0, 150_000));
    const yes = this.#chance(0.7);
    const taps = [yes ? approve : deny];
    if (this.#chance(0.25)) taps.push(this.#random.pick([approve, deny, scan]));
    await Promise.all(taps.map(tap => tap()));
    if (!this.#chance(0.4)) return;
    await pass(this.#between(0, 120_000));
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
        const given = await within(PATIENCE, act(this.#random.pick(this.#nodes)));
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
      await pass(this.#between(0, 3000));
    }
    return undefined;
  }

  /** What is stored where a page could read it, and what is stored at all. */
  #look(key: string, value: string): void {
    if (value.includes('visitor-one')) this.log.faults.push(`the visitor is stored: ${value}`);
    if (key === this.log.ticket?.key && /user|phone|SHOW/.test(value))
      this.log.faults.push(`the page hears ${value}`);
  }

  #chance(share: number): boolean {
    return this.#random.next() < share;
  }
  #between(least: number, most: number): number {
    return this.#random.between(least, most);
  }
}

/** @returns what happened in the run of this seed */
export async function play(
  seed: number,
  create: Create = store => new Logins(store, [SECRET]),
): Promise<Log> {
  const random = new Random(seed);
  const clock = new Clock();
  clock.install(() => random.next());
  const world = new World(random, create);
  try {
    void world.play();
    await clock.runUntil(END);
    await world.close();
  } finally {
    clock.uninstall();
  }
  return world.log;
}
