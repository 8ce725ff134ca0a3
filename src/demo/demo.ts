/** The demo: a page that signs in by a scan, and the phone's page that its code leads to. */
import { randomBytes } from 'node:crypto';
import Router from '@koa/router';
import type { Context, Middleware } from 'koa';
import { asset } from '../assets.js';
import { readBytes } from '../wire/bytes.js';
import { isLoopback, originForPhones } from './address.js';
import { Backend, Unavailable } from './backend.js';
import { Logins, Refused, type Told, type Visitor } from './logins.js';
import { qrCode } from './qr.js';

export interface DemoOptions {
  /** the internal port, where it sets as any backend would */
  internalUrl: string;
  /** a set token, when they are asked for */
  token: string | undefined;
  /** whether pages need tickets */
  ticketed: boolean;
  /** where the public port listens: a phone cannot reach loopback */
  publicHost: string;
}

const STATUS: Record<Told, number> = {
  ...{ unknown: 404, expired: 410, taken: 409, unavailable: 503, forbidden: 403, wrong: 400 },
};
/** Who asks, on either side: a login can be redeemed, and a scan answered, by the browser that began it alone. */
const VISITOR = 'tagwait-demo';
const SESSION = 'tagwait-demo-session';
const COOKIE = { httpOnly: true, sameSite: 'strict', path: '/demo', overwrite: true } as const;

const read = (name: string) => asset(`src/demo/${name}`);

export function demoRoutes(options: DemoOptions): Middleware {
  const logins = new Logins(new Backend(options.internalUrl, options.token), options.ticketed);
  const [look, login, phone] = ['look.html', 'login.html', 'phone.html'].map(read) as [
    string,
    string,
    string,
  ];
  const router = new Router();

  router.use(async (ctx, next) => {
    ctx.set({
      'Cache-Control': 'no-store',
      'X-Content-Type-Options': 'nosniff',
      'Referrer-Policy': 'same-origin',
      'X-Frame-Options': 'DENY',
    });
    try {
      if (ctx.method === 'POST' && !fromOwnPage(ctx)) throw new Refused('forbidden');
      await next();
    } catch (error) {
      const told =
        error instanceof Refused ? error.told : error instanceof Unavailable ? 'unavailable' : undefined;
      if (told === undefined) throw error;
      ctx.status = STATUS[told];
      ctx.body = { told };
    }
  });

  router.get('/demo', ctx => {
    visitorOf(ctx);
    show(ctx, login, look, { name: logins.session(ctx.cookies.get(SESSION))?.name ?? '' });
  });
  router.get('/demo/phone', ctx => {
    visitorOf(ctx);
    show(ctx, phone, look, {});
  });
  router.post('/demo/new', async ctx => {
    const { key, seconds } = await fieldsOf(ctx);
    const begun = await logins.begin(visitorOf(ctx), key, seconds);
    // the key alone: whoever sees the code must not be able to watch
    const seen = ctx.get('Origin');
    const origin = originForPhones(URL.canParse(seen) ? seen : ctx.origin, options.publicHost);
    const link = `${origin}/demo/phone?key=${encodeURIComponent(begun.key)}`;
    ctx.body = { ...begun, link, qr: qrCode(link), unreachable: isLoopback(new URL(link).hostname) };
  });
  router.post('/demo/phone/:act', async ctx => {
    const { key, name } = await fieldsOf(ctx);
    const visitor = visitorOf(ctx);
    const { act } = ctx.params;
    if (act === 'scan') ctx.body = await logins.scan(visitor, key, name);
    else if (act === 'confirm') ctx.body = await logins.confirm(visitor, key, name);
    else if (act === 'refuse') ctx.body = await logins.refuse(visitor, key);
    else throw new Refused('unknown');
  });
  router.post('/demo/redeem', async ctx => {
    const { key, code } = await fieldsOf(ctx);
    const { session, name } = logins.redeem(visitorOf(ctx), key, code);
    ctx.cookies.set(SESSION, session, COOKIE);
    ctx.body = { name };
  });
  router.post('/demo/leave', ctx => {
    logins.leave(ctx.cookies.get(SESSION));
    ctx.cookies.set(SESSION, null, COOKIE);
    ctx.body = {};
  });
  return router.routes() as unknown as Middleware;
}

/** Browsers say where a request comes from: newer ones in one word, on secure origins; all by Origin, on a POST. */
function fromOwnPage(ctx: Context): boolean {
  const site = ctx.get('Sec-Fetch-Site');
  if (site) return site === 'same-origin';
  const origin = ctx.get('Origin');
  return URL.canParse(origin) && new URL(origin).host === ctx.host;
}

function visitorOf(ctx: Context): Visitor {
  let id = ctx.cookies.get(VISITOR);
  if (!id || !/^[\w-]{22}$/.test(id)) {
    id = randomBytes(16).toString('base64url');
    ctx.cookies.set(VISITOR, id, COOKIE);
  }
  return { id, address: ctx.ip, agent: ctx.get('User-Agent').slice(0, 512) };
}

async function fieldsOf(ctx: Context): Promise<Record<string, unknown>> {
  try {
    const fields: unknown = JSON.parse((await readBytes(ctx.req, 4096)).toString());
    if (typeof fields === 'object' && fields !== null) return { ...fields };
  } catch {}
  throw new Refused('wrong');
}

const ESCAPES: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};
const escapeHtml = (text: string) => text.replace(/[&<>"']/g, mark => ESCAPES[mark] as string);

/** Fills `{{name}}` with escaped text; `{{look}}` is ours and holds places of its own. */
function show(ctx: Context, page: string, look: string, texts: Record<string, string>): void {
  const nonce = randomBytes(16).toString('base64');
  const policy = [
    "default-src 'none'",
    // strict-dynamic: the client may add its script tags, text that got into the page may not
    `script-src 'nonce-${nonce}' 'strict-dynamic'`,
    `style-src 'nonce-${nonce}'`,
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
  ];
  ctx.set('Content-Security-Policy', policy.join('; '));
  ctx.type = 'html';
  const filled: Record<string, string> = { ...texts, nonce };
  ctx.body = page
    .replace('{{look}}', () => look)
    .replace(/\{\{(\w+)\}\}/g, (_, place: string) => escapeHtml(filled[place] ?? ''));
}
