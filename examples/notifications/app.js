/** Notifications by EventSource, for pages that need no script of ours. Fastify, with tagwait in the same process. */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import Fastify from 'fastify';
import { createTagwait } from 'tagwait';

const { PORT = 3000, TAGWAIT_SECRET = randomUUID() } = process.env;
const DAY = 86_400;
const read = name => readFileSync(new URL(name, import.meta.url), 'utf8');
const [page, look] = [read('page.html'), read('../look.css')];
// the newest 16 of each user are kept for a day: a page that was away gets them when it is back
const tagwait = await createTagwait({ secret: [TAGWAIT_SECRET], ttl: DAY, history: 16, logLevel: 'warn' });
/** The ticket of each user: nobody else can read what is sent to them. */
const tickets = new Map();

function ticketOf(user) {
  const known = tickets.get(user);
  if (known && known.expires > Date.now() / 1000 + 60) return known;
  const ticket = tagwait.newTicket(DAY);
  tickets.set(user, ticket);
  return ticket;
}

const app = Fastify();
app.addHook('onRequest', (request, reply, done) => tagwait.publicListener(request.raw, reply.raw, done));
app.get('/look.css', (_, reply) => reply.type('text/css').send(look));
app.get('/', (_, reply) => reply.redirect('/inbox/ada'));
// your own sign-in belongs here: this app believes the address
app.get('/inbox/:user', ({ params: { user } }, reply) => {
  if (!['ada', 'grace'].includes(user)) return reply.code(404).send();
  const { key, proof } = ticketOf(user);
  return reply
    .type('text/html')
    .header('Cache-Control', 'no-store')
    .send(page.replace('{{events}}', `/status/events?key=${key}&proof=${proof}`));
});
app.post('/send', async ({ body: { to, text } = {} }, reply) => {
  if (!tickets.has(to)) return reply.code(404).send();
  await tagwait.set(ticketOf(to).key, { text: String(text).slice(0, 200), at: Date.now() });
  return reply.code(204).send();
});
await app.listen({ port: Number(PORT), host: '0.0.0.0' });
console.log(`Open http://localhost:${PORT}`);
