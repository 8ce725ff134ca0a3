/** The demo: the login box on a page, the phone's page that its code leads to, and the backend behind both. */
import { randomBytes } from 'node:crypto';
import Router from '@koa/router';
import type { Context, Middleware, Next } from 'koa';
import { asset } from '../assets.js';
import type { LoginCalls } from '../login/calls.js';
import { LoginError } from '../login/steps.js';
import { withPalette } from '../palette.js';
import { loginStatus } from '../routes/login.js';
import { readBytes } from '../wire/bytes.js';
import { isLoopback, originForPhones } from './address.js';
import { Bounded } from './bounded.js';
import { approximate, browserOf, deviceOf, sameNetwork } from './visitor.js';

export interface DemoOptions {
  login: LoginCalls;
  /** where the public port listens: a phone cannot reach loopback */
  publicHost: string;
}

/** Names the browser, on the page's side and on the phone's. */
const VISITOR = 'tagwait-demo';
const SESSION = 'tagwait-demo-session';
const COOKIE = { httpOnly: true, sameSite: 'lax', path: '/demo', overwrite: true } as const;
/** Seconds of a code. */
const SECONDS = { min: 1, usual: 120, max: 300 };
const HOUR = 3_600_000;

/** What the phone shows of a login, and the address of its page. */
interface Show {
  site: string;
  browser: string;
  place: string;
  address: string;
}

/** A page, with the head that all pages share. It may contain places to fill. @param kind class of its body */
const read = (name: string, title: string, kind = '') =>
  asset(`src/demo/${name}`).replace('{{look}}', () =>
    withPalette(asset('src/demo/look.html')).replace('{{title}}', title).replace('{{kind}}', kind),
  );

export function demoRoutes({ login, publicHost }: DemoOptions): Middleware {
  const router = new Router();
  router.use(guarded);
  addLoginPage(router, login, publicHost);
  addPhonePage(router, login);
  return router.routes() as unknown as Middleware;
}

/** Sets the headers of all answers, refuses what another site posts, and answers a login's errors with their status. */
async function guarded(ctx: Context, next: Next): Promise<void> {
  ctx.set({
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'same-origin',
    'X-Frame-Options': 'DENY',
  });
  try {
    if (ctx.method !== 'POST' || fromOwnPage(ctx)) await next();
    else ctx.status = 403;
  } catch (error) {
    const status = loginStatus(error);
    if (status === undefined) throw error;
    ctx.status = status;
    ctx.body = error instanceof LoginError ? { reason: error.reason } : {};
  }
}

/** The page with the login box, and its backend. */
function addLoginPage(router: Router, login: LoginCalls, publicHost: string): void {
  const sessions = new Bounded<string>(1000, HOUR);
  const pages = { login: read('login.html', 'Sign in'), signed: read('signed.html', 'Signed in') };
  router.get('/demo', ctx => {
    visitorOf(ctx);
    const name = sessions.get(ctx.cookies.get(SESSION) ?? '');
    const seconds = /^\d{1,3}$/.exec(String(ctx.query.seconds))?.[0] ?? '';
    const hint = isLoopback(new URL(originForPhones(originOf(ctx), publicHost)).hostname)
      ? 'Other devices cannot reach this address.'
      : 'No phone at hand?';
    show(ctx, name ? pages.signed : pages.login, { name: name ?? '', seconds, hint });
  });
  router.post('/demo/new', async ctx => {
    const place = approximate(ctx.ip);
    const browser = browserOf(agentOf(ctx));
    const shown: Show = { site: 'the tagwait demo', browser, place, address: ctx.ip };
    const wanted = Number(ctx.query.seconds) || SECONDS.usual;
    const ttl = Math.min(Math.max(wanted, SECONDS.min), SECONDS.max);
    const ticket = await login.new({ visitor: visitorOf(ctx), ttl, show: shown });
    // without the proof: a person who photographs the code must not be able to poll its key
    const link = `${originForPhones(originOf(ctx), publicHost)}/demo/phone?key=${ticket.key}`;
    ctx.body = { ...ticket, link };
  });
  router.post('/demo/redeem', async ctx => {
    const { key, code } = await fieldsOf(ctx);
    const { user } = await login.redeem({ key, code, visitor: visitorOf(ctx), id: code });
    const session = randomBytes(16).toString('base64url');
    sessions.add(session, String(user));
    ctx.cookies.set(SESSION, session, COOKIE);
    ctx.body = {};
  });
  router.post('/demo/leave', ctx => {
    sessions.delete(ctx.cookies.get(SESSION) ?? '');
    ctx.cookies.set(SESSION, null, COOKIE);
    ctx.redirect('/demo');
    ctx.status = 303;
  });
}

/** The page that the code leads to, and its backend. */
function addPhonePage(router: Router, login: LoginCalls): void {
  const page = read('phone.html', 'Confirm sign-in', 'phone');
  router.get('/demo/phone', ctx => {
    visitorOf(ctx);
    show(ctx, page, {});
  });
  // on a real site the phone's user is signed in; here each browser is its own user
  router.post('/demo/phone/scan', async ctx => {
    const { key } = await fieldsOf(ctx);
    const { show: shown, created, expires } = await login.scan({ key, phone: visitorOf(ctx) });
    const { address, place, ...known } = shown as Show;
    const near = sameNetwork(address, ctx.ip) ? 'same network' : 'another network';
    ctx.body = { show: { ...known, place: `${place} (${near})` }, created, expires };
  });
  router.post('/demo/phone/approve', async ctx => {
    const { key } = await fieldsOf(ctx);
    ctx.body = await login.approve({ key, phone: visitorOf(ctx), user: deviceOf(agentOf(ctx)) });
  });
  router.post('/demo/phone/deny', async ctx => {
    const { key } = await fieldsOf(ctx);
    ctx.body = await login.deny({ key, phone: visitorOf(ctx) });
  });
}

/** Checks Sec-Fetch-Site, which newer browsers send on secure origins, or Origin, which all send on a POST. */
function fromOwnPage(ctx: Context): boolean {
  const site = ctx.get('Sec-Fetch-Site');
  if (site) return site === 'same-origin';
  const origin = ctx.get('Origin');
  return URL.canParse(origin) && new URL(origin).host === ctx.host;
}

/** The origin by the browser's own header: behind a proxy with TLS, this port does not know the scheme. */
function originOf(ctx: Context): string {
  const origin = ctx.get('Origin');
  return URL.canParse(origin) ? origin : `${ctx.protocol}://${ctx.host}`;
}

const agentOf = (ctx: Context) => ctx.get('User-Agent').slice(0, 512);

function visitorOf(ctx: Context): string {
  let id = ctx.cookies.get(VISITOR);
  if (!id || !/^[\w-]{22}$/.test(id)) {
    id = randomBytes(16).toString('base64url');
    ctx.cookies.set(VISITOR, id, COOKIE);
  }
  return id;
}

/** The fields of the form. */
async function fieldsOf(ctx: Context): Promise<{ key: string; code: string }> {
  const fields = new URLSearchParams((await readBytes(ctx.req, 4096)).toString());
  return { key: fields.get('key') ?? '', code: fields.get('code') ?? '' };
}

const ESCAPES: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};
const escapeHtml = (text: string) => text.replace(/[&<>"']/g, mark => ESCAPES[mark] as string);

/** Fills `{{name}}` with escaped text. */
function show(ctx: Context, page: string, texts: Record<string, string>): void {
  const nonce = randomBytes(16).toString('base64');
  const policy = [
    "default-src 'none'",
    // strict-dynamic: the box may add its script tags, text that got into the page may not
    `script-src 'nonce-${nonce}' 'strict-dynamic'`,
    `style-src 'nonce-${nonce}'`,
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    'trusted-types tagwait',
  ];
  ctx.set('Content-Security-Policy', policy.join('; '));
  ctx.type = 'html';
  const filled: Record<string, string> = { ...texts, nonce };
  ctx.body = page.replace(/\{\{(\w+)\}\}/g, (_, place: string) => escapeHtml(filled[place] ?? ''));
}
