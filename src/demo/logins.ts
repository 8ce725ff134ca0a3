/** The logins under way, as the backend of a real site would keep them: who asks, which phone scanned, what was said. */
import { randomBytes } from 'node:crypto';
import { type Backend, Conflict } from './backend.js';
import { Bounded } from './bounded.js';
import { approximate, browserOf, deviceOf, nameOf, sameNetwork } from './visitor.js';

/** One browser, on either side: its cookie, its address, its user agent. */
export interface Visitor {
  id: string;
  address: string;
  agent: string;
}

export type Told = 'unknown' | 'expired' | 'taken' | 'unavailable' | 'forbidden' | 'wrong';

/** What is told instead of an answer. */
export class Refused extends Error {
  constructor(readonly told: Told) {
    super(told);
  }
}

interface Login {
  key: string;
  proof: string | undefined;
  page: Visitor;
  asked: number;
  /** how long the code can be scanned, and then how long the phone may think, in seconds */
  seconds: number;
  until: number;
  state: 'waiting' | 'scanned' | 'confirmed' | 'refused';
  /** of the last set: the next one expects it */
  cursor: string;
  phone: string | undefined;
  name: string;
  /** redeemed once, by the browser that asked */
  code: string | undefined;
  turn: Promise<unknown>;
}

export interface Session {
  name: string;
}

const random = () => randomBytes(16).toString('base64url');
const MINUTES = 60_000;
/** The longest ones need, with what a refused phone still wants to read. */
const LIFE = 15 * MINUTES;
const SECONDS = { least: 1, usual: 120, most: 300 };

export class Logins {
  readonly #backend: Backend;
  readonly #ticketed: boolean;
  readonly #logins = new Bounded<Login>(1000, LIFE);
  readonly #sessions = new Bounded<Session>(1000, 60 * MINUTES);

  constructor(backend: Backend, ticketed: boolean) {
    this.#backend = backend;
    this.#ticketed = ticketed;
  }

  /** The login of this key while its code can be scanned or answered, or a new one. */
  async begin(page: Visitor, key: unknown, wanted: unknown) {
    const known = typeof key === 'string' ? this.#logins.get(key) : undefined;
    const login = known?.page.id === page.id && alive(known) ? known : await this.#create(page, wanted);
    return { key: login.key, proof: login.proof, seconds: secondsLeft(login), state: login.state };
  }

  async #create(page: Visitor, wanted: unknown): Promise<Login> {
    const given = typeof wanted === 'number' && Number.isFinite(wanted) ? wanted : SECONDS.usual;
    const seconds = Math.min(Math.max(given, SECONDS.least), SECONDS.most);
    const asked = Date.now();
    const ticket = this.#ticketed ? await this.#backend.ticket(seconds * 2 + 60) : undefined;
    const login: Login = {
      ...{ key: ticket?.key ?? random(), proof: ticket?.proof, page, asked, seconds, name: '' },
      ...{ until: asked + seconds * 1000, state: 'waiting', cursor: '', phone: undefined, code: undefined },
      turn: Promise.resolve(),
    };
    this.#logins.add(login.key, login);
    return login;
  }

  /** The phone has the code open: again after a reload, again with another name, never on a second phone. */
  scan(phone: Visitor, key: unknown, given: unknown) {
    return this.#asPhone(phone, key, async login => {
      const name = nameOf(given);
      const first = login.state === 'waiting';
      if (first || (login.state === 'scanned' && login.name !== name)) {
        const until = first ? Date.now() + login.seconds * 1000 : login.until;
        const seconds = Math.ceil((until - Date.now()) / 1000);
        const value = { state: 'scanned', phone: `${name}’s ${deviceOf(phone.agent)}`, seconds };
        await this.#set(login, value);
        Object.assign(login, { state: 'scanned', phone: phone.id, name, until });
      }
      return view(login, phone);
    });
  }

  /** The value carries a code, not a session: all pages that watch the key hear it, one browser can redeem it. */
  confirm(phone: Visitor, key: unknown, given: unknown) {
    return this.#asPhone(phone, key, async login => {
      if (login.state === 'scanned') {
        const name = nameOf(given);
        const code = random();
        // known before it is set: the page redeems it as soon as it hears it, maybe before the set is acknowledged
        Object.assign(login, { name, code, until: Math.max(login.until, Date.now() + MINUTES) });
        await this.#set(login, { state: 'confirmed', name, code }, true);
        login.state = 'confirmed';
      }
      return view(login, phone);
    });
  }

  refuse(phone: Visitor, key: unknown) {
    return this.#asPhone(phone, key, async login => {
      if (login.state === 'scanned') {
        await this.#set(login, { state: 'refused' }, true);
        login.state = 'refused';
      }
      return view(login, phone);
    });
  }

  /** @returns the id of a new session @throws {Refused} the code was used, ran out, or is another browser's */
  redeem(page: Visitor, key: unknown, code: unknown): { session: string; name: string } {
    const login = typeof key === 'string' ? this.#logins.get(key) : undefined;
    if (!login || login.page.id !== page.id || login.code === undefined || login.code !== code)
      throw new Refused('forbidden');
    login.code = undefined;
    if (login.until < Date.now()) throw new Refused('expired');
    const session = random();
    this.#sessions.add(session, { name: login.name });
    return { session, name: login.name };
  }

  session(id: string | undefined): Session | undefined {
    return id === undefined ? undefined : this.#sessions.get(id);
  }

  leave(id: string | undefined): void {
    if (id !== undefined) this.#sessions.delete(id);
  }

  /** One action after the other for each login: a phone that taps or reloads twice is not told that another took it. */
  async #asPhone<T>(phone: Visitor, key: unknown, act: (login: Login) => Promise<T>): Promise<T> {
    const login = typeof key === 'string' ? this.#logins.get(key) : undefined;
    if (!login) throw new Refused('unknown');
    const turn = login.turn.then(() => {
      if (login.phone !== undefined && login.phone !== phone.id) throw new Refused('taken');
      if (!alive(login) && !ended(login)) throw new Refused('expired');
      if (login.phone === undefined && login.state !== 'waiting') throw new Refused('taken');
      return act(login);
    });
    login.turn = turn.catch(() => {});
    return turn;
  }

  /** What decides between two phones is `expect`: it holds for backends on many machines too. */
  async #set(login: Login, value: object, final?: true): Promise<void> {
    try {
      const { key, cursor: expect, seconds: ttl } = login;
      const status = { key, value, expect, ttl: Math.max(ttl, 60), ...(final && { final }) };
      login.cursor = await this.#backend.set(status);
    } catch (error) {
      throw error instanceof Conflict ? new Refused('taken') : error;
    }
  }
}

const ended = ({ state }: Login) => state === 'confirmed' || state === 'refused';
const alive = (login: Login) => !ended(login) && login.until > Date.now();
const secondsLeft = ({ until }: Login) => Math.max(0, (until - Date.now()) / 1000);

/** What the phone shows before it answers: where this login happens. */
function view(login: Login, phone: Visitor) {
  const { page, asked, state, name } = login;
  const where = { browser: browserOf(page.agent), address: approximate(page.address), asked };
  return {
    state,
    name,
    seconds: secondsLeft(login),
    where: { ...where, near: sameNetwork(page.address, phone.address) },
  };
}
