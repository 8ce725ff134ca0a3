/** The five calls of a scan login: routes `POST /login/…` of the internal port, and functions for programs. */
import type { Middleware } from 'koa';
import { Unavailable } from '../brokers/broker.js';
import type { LoginCalls } from '../login/calls.js';
import type { Logins } from '../login/machine.js';
import { LoginError, type LoginReason, type Step } from '../login/steps.js';
import type { LoginResult, Metrics } from '../metrics.js';
import { render } from '../protocol/jsonp.js';
import { HttpExchange } from '../wire/http.js';
import { checkLogin, Refusal, readBody, renderWithin } from './body.js';
import { ConcurrencyLimit } from './concurrency.js';
import { asLibrary } from './library.js';

export interface LoginOptions {
  /** max size of `show` and of `user`, bytes of JSON in UTF-8 */
  maxValueBytes: number;
  /** limit of calls that wait for the store; further ones are refused */
  maxConcurrent: number;
}

/** Default time within which a login can be scanned and decided, seconds. */
const TTL = 120;

type Answer<S extends Step> = Awaited<ReturnType<LoginCalls[S]>>;
interface Done<S extends Step> {
  answer: Answer<S>;
  repeated: boolean;
  /** JSON of a field of the answer, as it is stored */
  stored?: { [field in keyof Answer<S>]?: string };
}

const STATUS: Record<LoginReason, 403 | 404 | 409 | 410 | 429> = {
  unknown: 404,
  off: 404,
  expired: 410,
  decided: 410,
  taken: 409,
  unscanned: 409,
  approved: 409,
  denied: 409,
  redeemed: 409,
  wrong: 403,
  tries: 429,
};
const MESSAGES = {
  403: 'forbidden',
  404: 'not found',
  409: 'conflict',
  410: 'expired',
  429: 'too many tries',
};
const RESULTS = { 403: 'wrong', 404: 'unknown', 409: 'conflict', 410: 'expired', 429: 'limited' } as const;
/** The field of a call that takes any JSON and may be large. */
const LARGE: Partial<Record<Step, string>> = { new: 'show', approve: 'user' };

export class LoginRoutes {
  readonly #logins: Logins;
  readonly #metrics: Pick<Metrics, 'login'>;
  readonly #options: LoginOptions;
  readonly #waiting: ConcurrencyLimit;

  constructor(logins: Logins, metrics: Pick<Metrics, 'login'>, options: LoginOptions) {
    this.#logins = logins;
    this.#metrics = metrics;
    this.#options = options;
    this.#waiting = new ConcurrencyLimit(
      options.maxConcurrent,
      'too many logins wait for the store: try again',
    );
  }

  /** The calls for programs, with the errors of the library. */
  readonly calls: LoginCalls = {
    new: options => asLibrary(() => this.#called('new', options)),
    scan: options => asLibrary(() => this.#called('scan', options)),
    approve: options => asLibrary(() => this.#called('approve', options)),
    deny: options => asLibrary(() => this.#called('deny', options)),
    redeem: options => asLibrary(() => this.#called('redeem', options)),
  };

  /** The route of a call. @param bearer checks the token */
  route(step: Step, bearer: Middleware): Middleware[] {
    const { maxValueBytes } = this.#options;
    return [
      async (_, next) => {
        try {
          await next();
        } catch (error) {
          if (error instanceof Refusal)
            this.#metrics.login(step, error.status === 401 ? 'unauthorized' : 'refused');
          throw error instanceof LoginError ? refusal(error) : error;
        }
      },
      bearer,
      async ctx => {
        const body = await readBody(new HttpExchange(ctx.req, ctx.res), maxValueBytes, LARGE[step]);
        const done = await this.#call(step, body);
        ctx.type = 'json';
        ctx.body = jsonOf(done);
      },
    ];
  }

  async #called<S extends Step>(step: S, body: unknown): Promise<Answer<S>> {
    try {
      return (await this.#call(step, body)).answer;
    } catch (error) {
      if (error instanceof Refusal) this.#metrics.login(step, 'refused');
      throw error;
    }
  }

  async #call<S extends Step>(step: S, body: unknown): Promise<Done<S>> {
    try {
      const done = await this.#waiting.run(() => this.#steps[step](body));
      this.#metrics.login(step, done.repeated ? 'repeated' : 'ok');
      return done;
    } catch (error) {
      const result = resultOf(error);
      if (result) this.#metrics.login(step, result);
      throw error;
    }
  }

  readonly #steps: { [S in Step]: (body: unknown) => Promise<Done<S>> } = {
    new: async body => {
      const { visitor, ttl = TTL, show = null } = checkLogin('new', body);
      const answer = await this.#logins.new(visitor, ttl, this.#render('show', show));
      return { answer, repeated: false };
    },
    scan: async body => {
      const { key, phone } = checkLogin('scan', body);
      const { show, created, ends, repeated } = await this.#logins.scan(key, phone);
      const times = { created: Math.floor(created / 1000), expires: Math.ceil(ends / 1000) };
      return { answer: { show: JSON.parse(show), ...times }, repeated, stored: { show } };
    },
    approve: async body => {
      const { key, phone, user, receipt } = checkLogin('approve', body);
      const wait = receipt === undefined ? undefined : receipt * 1000;
      const { repeated, received } = await this.#logins.approve(key, phone, this.#render('user', user), wait);
      return { answer: received === undefined ? {} : { received }, repeated };
    },
    deny: async body => {
      const { key, phone } = checkLogin('deny', body);
      const { repeated } = await this.#logins.deny(key, phone);
      return { answer: {}, repeated };
    },
    redeem: async body => {
      const { key, code, visitor, id } = checkLogin('redeem', body);
      const { user, phone, repeated } = await this.#logins.redeem(key, code, visitor, id);
      return { answer: { user: JSON.parse(user), phone }, repeated, stored: { user } };
    },
  };

  #render(field: string, value: unknown): string {
    return renderWithin(field, value, this.#options.maxValueBytes);
  }
}

/** The answer of the route. Takes JSON as it is stored: it may have as many levels as a value may, and all digits. */
function jsonOf<S extends Step>({ answer, stored = {} }: Done<S>): string {
  const texts: Record<string, string | undefined> = stored;
  const fields = Object.entries(answer).map(([name, value]) => `,"${name}":${texts[name] ?? render(value)}`);
  return `{"code":0${fields.join('')}}`;
}

/** The metric's result of a call that failed; undefined: it is counted elsewhere, or it is a bug. */
function resultOf(error: unknown): LoginResult | undefined {
  if (error instanceof LoginError) return RESULTS[STATUS[error.reason]];
  return error instanceof Unavailable ? 'unavailable' : undefined;
}

function refusal({ reason, message, retry }: LoginError): Refusal {
  const status = STATUS[reason];
  return new Refusal(status, MESSAGES[status], { reason, ...(retry ? { retry } : {}), detail: message });
}

/** The HTTP status for an error of a call; undefined for other errors. */
export function loginStatus(error: unknown): number | undefined {
  if (error instanceof LoginError) return STATUS[error.reason];
  if (error instanceof TypeError && 'code' in error && error.code === 'TAGWAIT_BAD_REQUEST') return 400;
  return error instanceof Unavailable ? 503 : undefined;
}
