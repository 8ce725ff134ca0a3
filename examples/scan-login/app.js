/** A login by QR code in an Express app, with tagwait in the same process. */
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import express from 'express';
import session from 'express-session';
import { createTagwait } from 'tagwait';

const { PORT = 3000, TAGWAIT_SECRET = randomUUID() } = process.env;
const tagwait = await createTagwait({ secret: [TAGWAIT_SECRET], logLevel: 'warn' });
const file = name => fileURLToPath(new URL(name, import.meta.url));
const app = express();
app.use(tagwait.publicListener); // login.js, phone.js, and what the pages ask
app.use(express.urlencoded());
app.use(
  session({ secret: randomUUID(), resave: false, saveUninitialized: false, cookie: { sameSite: 'lax' } }),
);
app.use(({ session }, _, next) => {
  session.visitor ??= randomUUID(); // only this browser can use the code
  next();
});

app.get('/look.css', (_, response) => response.sendFile(file('../look.css')));
app.get('/', ({ session }, response) =>
  response.sendFile(file(session.user ? 'signed-in.html' : 'page.html')),
);
const headers = { 'Content-Security-Policy': "frame-ancestors 'none'" }; // one press approves
app.get('/scan', (_, response) => response.sendFile(file('phone.html'), { headers }));

// your own sign-in belongs here: every phone is signed in as Ada
const phone = 'ada';
const calls = {
  async new(request) {
    const place = request.ip.replace('::ffff:', '');
    const show = { site: 'Example', browser: request.get('User-Agent'), place };
    const ticket = await tagwait.login.new({ visitor: request.session.visitor, show });
    return { ...ticket, link: `http://${request.get('Host')}/scan?key=${ticket.key}` };
  },
  async redeem({ body: { key, code } = {}, session }) {
    const { user } = await tagwait.login.redeem({ key, code, visitor: session.visitor, id: code });
    session.user = user; // an app of yours calls session.regenerate() here
  },
  scan: ({ body: { key } = {} }) => tagwait.login.scan({ key, phone }),
  approve: ({ body: { key } = {} }) => tagwait.login.approve({ key, phone, user: 'Ada' }),
  deny: ({ body: { key } = {} }) => tagwait.login.deny({ key, phone }),
};
const STATUSES = { unknown: 404, expired: 410, decided: 410, wrong: 403, tries: 429, TypeError: 400 };
for (const [name, call] of Object.entries(calls))
  app.post(`/login/${name}`, async (request, response) => {
    try {
      response.json((await call(request)) ?? {});
    } catch (error) {
      const status = STATUSES[error.reason ?? error.name] ?? (error.reason ? 409 : 503);
      response.status(status).json({ reason: error.reason });
    }
  });
app.listen(PORT, error => {
  if (error) throw error;
  console.log(`Open http://localhost:${PORT}`);
});
