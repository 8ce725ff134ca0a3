/**
 * The scan login: five calls over `set` and `peek`, and nothing else of the store, so it works with every broker.
 *
 * A login is two keys. Its own key is what the page watches: it hears that the code was scanned, then the one-time code
 * or that the user said no. The record is kept under a key of its own that only a node with the secret can name: its
 * newest entry is the whole login, and each step is a `set` that expects the entry it was made from. So one of two steps
 * at the same time is stored, on any node, and the other one is tried again on what was stored.
 *
 * The record is stored before the page hears of it. A call that ends in between has not been answered; its repeat finds
 * the record changed already and tells the page then.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { Conflict, type Peek, type Receipt, type SetOptions, Unavailable } from '../brokers/broker.js';
import { render } from '../protocol/jsonp.js';
import { type Ticket, ticketUntil } from '../protocol/ticket.js';
import { type ApprovedLogin, approve, deny, type Login, LoginError, redeem, scan } from './steps.js';
import { Tries } from './tries.js';

/** What a login needs of the store: `LongPoll` has it. */
export interface LoginStore {
  setRendered(key: string, value: string, options: SetOptions): Promise<Receipt>;
  /** @param waiters false: how many requests wait is not asked */
  peek(key: string, waiters: boolean): Promise<Peek>;
}

/** Whether a step had been taken before, by the same caller: it was answered as the first time. */
interface Repeatable {
  repeated: boolean;
}

/** How long a code can be redeemed after the last `approve`, ms. */
const CODE_TTL = 60_000;
/** A record is kept for at least so long after its end, ms, so that a late step hears `expired` and not `unknown`. */
const MIN_KEPT = 60_000;
/** Each attempt that fails means that another step was stored: there are five, and repeats. */
const ATTEMPTS = 20;

interface Found {
  /** the one that the login was made with */
  secret: string;
  recordKey: string;
  login: Login;
  cursor: string;
}

export class Logins {
  readonly #store: LoginStore;
  readonly #secrets: readonly string[];
  readonly #tries = new Tries();

  /** @param secrets the first makes logins, all find them; none: every call is refused as `off` */
  constructor(store: LoginStore, secrets: readonly string[] = []) {
    this.#store = store;
    this.#secrets = secrets;
  }

  /** @param ttl seconds @param show JSON text @throws {LoginError} off @throws {Unavailable} */
  async new(visitor: string, ttl: number, show: string): Promise<Ticket> {
    const [secret] = this.#secrets;
    if (secret === undefined) throw new LoginError('off');
    const created = Date.now();
    const ends = created + ttl * 1000;
    const ticket = ticketUntil(secret, Math.ceil(ends / 1000));
    const visitorHash = hash(secret, ticket.key, visitor);
    const login: Login = { state: 'waiting', visitor: visitorHash, show, created, ends };
    await this.#set(recordKeyOf(secret, ticket.key), login, { ttl: ttlOf(login, created) });
    return ticket;
  }

  /** @returns `show` as JSON text; `created` and `ends` in unix ms @throws {LoginError} @throws {Unavailable} */
  async scan(key: string, phone: string): Promise<Pick<Login, 'show' | 'created' | 'ends'> & Repeatable> {
    const { login, repeated } = await this.#advance(key, found => scan(found, phone, Date.now()));
    await this.#tell(key, login, 'scanned');
    const { show, created, ends } = login;
    return { show, created, ends, repeated };
  }

  /**
   * @param user JSON text @param receipt ms to wait for the page's proof that it has heard of it; undefined: not at all
   * @returns with `receipt` also `received` @throws {LoginError} @throws {Unavailable}
   */
  async approve(
    key: string,
    phone: string,
    user: string,
    receipt?: number,
  ): Promise<Repeatable & { received: boolean | undefined }> {
    const code = randomBytes(16).toString('base64url');
    const { login, repeated } = await this.#advance(key, found => {
      const now = Date.now();
      return approve(found, phone, { user, code, until: now + CODE_TTL }, now);
    });
    const told = await this.#tell(key, login, 'approved', receipt);
    return { repeated, received: receipt === undefined ? undefined : (told.received ?? false) };
  }

  /** @throws {LoginError} @throws {Unavailable} */
  async deny(key: string, phone: string): Promise<Repeatable> {
    const { login, repeated } = await this.#advance(key, found => deny(found, phone, Date.now()));
    await this.#tell(key, login, 'denied');
    return { repeated };
  }

  /** @param id names this call @returns `user` as JSON text @throws {LoginError} @throws {Unavailable} */
  async redeem(
    key: string,
    code: string,
    visitor: string,
    id: string | undefined,
  ): Promise<Pick<ApprovedLogin, 'user' | 'phone'> & Repeatable> {
    // without an id a random one, so that a set which a driver sends twice counts as this call
    const redeemer = id ?? randomBytes(16).toString('base64url');
    const { login, repeated } = await this.#advance(key, (found, secret) =>
      redeem(
        found,
        approved => same(approved.code, code) && same(approved.visitor, hash(secret, key, visitor)),
        redeemer,
        Date.now(),
      ),
    ).catch(error => {
      throw error instanceof LoginError && error.reason === 'wrong' ? this.#wrong(key, error) : error;
    });
    return { user: login.user, phone: login.phone, repeated };
  }

  #wrong(key: string, error: LoginError): LoginError {
    const retry = this.#tries.wrong(key, performance.now());
    return retry > 0 ? new LoginError('tries', Math.ceil(retry)) : error;
  }

  /** Stores what a step makes of a login, or of what another step has made of it meanwhile. */
  async #advance<To extends Login>(
    key: string,
    step: (login: Login, secret: string) => To,
  ): Promise<{ login: To } & Repeatable> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const { secret, recordKey, login, cursor } = await this.#find(key);
      const next = step(login, secret);
      const repeated = next.state === login.state;
      const options = { ttl: ttlOf(next, Date.now()), expect: cursor };
      if (next === login || (await this.#set(recordKey, next, options))) return { login: next, repeated };
    }
    throw new Unavailable('too many steps of this login at the same time: try again');
  }

  /** @throws {LoginError} off, unknown */
  async #find(key: string): Promise<Found> {
    if (this.#secrets.length === 0) throw new LoginError('off');
    for (const secret of this.#secrets) {
      const recordKey = recordKeyOf(secret, key);
      const { entries, cursor } = await this.#store.peek(recordKey, false);
      const newest = entries.at(-1);
      if (newest) return { secret, recordKey, login: JSON.parse(newest.value) as Login, cursor };
    }
    throw new LoginError('unknown');
  }

  /**
   * Tells the page of a step, once: a repeat of the id stores nothing, also after a final value.
   * @throws {LoginError} decided: the page had its final value, from a later step or from a set of the backend
   */
  async #tell(
    key: string,
    login: Login,
    state: 'scanned' | 'approved' | 'denied',
    receipt?: number,
  ): Promise<Receipt> {
    const value = 'code' in login ? { state, code: login.code } : { state };
    const options = { ttl: ttlOf(login, Date.now()), final: state !== 'scanned', id: `login-${state}` };
    const told = await this.#set(key, value, receipt === undefined ? options : { ...options, receipt });
    if (!told) throw new LoginError('decided');
    return told;
  }

  /** @returns undefined: something else was stored before */
  async #set(key: string, value: object, options: SetOptions): Promise<Receipt | undefined> {
    try {
      return await this.#store.setRendered(key, render(value), options);
    } catch (error) {
      if (error instanceof Conflict) return undefined;
      throw error;
    }
  }
}

/** What is signed begins with a slash: no key does, so it is never the text of a ticket's proof. */
const sign = (secret: string, text: string) =>
  createHmac('sha256', secret).update(`/${text}`).digest('base64url');

/** The key of a login's record: 256 bits that nobody without the secret can name. */
const recordKeyOf = (secret: string, key: string) => sign(secret, `login\n${key}`);

/** Half of a surrogate pair. In UTF-8, which is hashed, every such half becomes U+FFFD. */
const LONE_SURROGATE = /\p{Cs}/u;

/**
 * The visitor as it is stored: another text for each login, and one that cannot be guessed without the secret. Of a text
 * with lone surrogates, the JSON is hashed, which escapes them: two such texts are not the same visitor.
 */
const hash = (secret: string, key: string, visitor: string) =>
  LONE_SURROGATE.test(visitor)
    ? sign(secret, `visitor-json\n${key}\n${JSON.stringify(visitor)}`)
    : sign(secret, `visitor\n${key}\n${visitor}`);

/** Compares in a time that does not depend on where two texts differ. */
function same(one: string, other: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(one), digest(other));
}

/** For how long a login is kept from now on, ms: for another `ttl` after its end and that of its code. */
function ttlOf(login: Login, now: number): number {
  const end = 'until' in login ? Math.max(login.ends, login.until) : login.ends;
  return end - now + Math.max(login.ends - login.created, MIN_KEPT);
}
