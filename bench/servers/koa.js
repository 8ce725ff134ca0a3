/** A first implementation of long polling with Koa: a router, and a promise per hold. */
import Router from '@koa/router';
import Koa from 'koa';

const held = new Map();
const router = new Router();

router.get('/status/get', async ctx => {
  const { key, callback, hold = 300 } = ctx.query;
  const data = await new Promise(resolve => {
    const timer = setTimeout(() => resolve({ code: -1 }), hold * 1000);
    const done = value => {
      clearTimeout(timer);
      resolve({ code: 0, data: value });
    };
    held.set(key, done);
    ctx.req.on('close', () => {
      clearTimeout(timer);
      if (held.get(key) === done) held.delete(key);
    });
  });
  ctx.type = 'text/javascript';
  ctx.body = `${callback}(${JSON.stringify(data)});`;
});

router.post('/status/set', async ctx => {
  let body = '';
  for await (const text of ctx.req.setEncoding('utf8')) body += text;
  const { key, value } = JSON.parse(body);
  const done = held.get(key);
  held.delete(key);
  done?.(value);
  ctx.body = { code: 0 };
});

new Koa()
  .use(router.routes())
  .use(router.allowedMethods())
  .listen(Number(process.env.PORT), '127.0.0.1', () => console.log('ready'));
