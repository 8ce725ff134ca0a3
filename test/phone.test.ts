/** The phone's page of a scan login, in Chromium: what the user reads for each answer of the site. */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { launch } from './chromium.js';
import { listen, service, until } from './harness.js';

vi.setConfig({ testTimeout: 60_000 });

let browser: Browser;
let publicUrl: string;
beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());

type Answer = number | { status?: number; type: string; body: string };
/** A site that answers each POST with the status in `answers`, 200 by default, or with a body; and its page on a phone. */
async function phone(
  answers: Record<string, Answer>,
  show: object = {},
  attributes = '',
  { query = '?key=k1', before = '' } = {},
) {
  ({ publicUrl } = await service({ secret: ['0123456789abcdef0123456789abcdef'] }));
  const html = `<!doctype html><html lang="en"><head><title>Sign in</title>${before}</head><body><main id="ask"></main>
<script src="${publicUrl}/login/phone.js" data-scan="/scan" data-approve="/approve" data-deny="/deny" data-into="#ask" ${attributes}></script></body></html>`;
  const asked: string[] = [];
  const tokens: unknown[] = [];
  const server = createServer((request, response) => {
    const path = request.url as string;
    // the page of the sign-in does not ask: it would be sent on to itself for ever
    if (request.method === 'GET')
      return response
        .writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' })
        .end(path.startsWith('/signin') ? '<!doctype html><title>Sign in</title>' : html);
    asked.push(path);
    tokens.push(request.headers['x-csrf-token']);
    request.resume();
    const answer = answers[path] ?? 200;
    if (typeof answer === 'object')
      return response.writeHead(answer.status ?? 200, { 'Content-Type': answer.type }).end(answer.body);
    response.writeHead(answer).end(JSON.stringify({ show, created: 1_800_000_000 }));
  });
  const url = await listen(server);
  const page = await browser.newPage({ viewport: { width: 390, height: 800 } });
  onTestFinished(async () => {
    await page.close();
    server.closeAllConnections();
    server.close();
  });
  await page.goto(`${url}/here${query}`);
  return { page, url, asked, tokens };
}
const heading = (page: Page, text: string) =>
  page.getByRole('heading', { name: text, exact: true }).waitFor();

/** The function of the script by itself. */
const browserOf = new Function(
  `${readFileSync('client/login/phone.js', 'utf8').split('var own =')[0]}\nreturn browserOf`,
)() as (header: string) => string;
const CHROME = 'AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0';
test.each([
  [`Mozilla/5.0 (X11; Linux x86_64) ${CHROME} Safari/537.36`, 'Chrome (Linux)'],
  [`Mozilla/5.0 (Windows NT 10.0; Win64; x64) ${CHROME} Safari/537.36 Edg/140.0.0.0`, 'Edge (Windows)'],
  [`Mozilla/5.0 (Windows NT 10.0; Win64; x64) ${CHROME} Safari/537.36 OPR/124.0.0.0`, 'Opera (Windows)'],
  ['Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:143.0) Gecko/20100101 Firefox/143.0', 'Firefox (Mac)'],
  [
    'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 CriOS/140.0 Mobile/15E148 Safari/604.1',
    'Chrome (iPhone)',
  ],
  [
    `Mozilla/5.0 (Linux; Android 15; SM-S931B) AppleWebKit/537.36 SamsungBrowser/28.0 Chrome/130 Mobile Safari/537.36`,
    'Samsung (Android)',
  ],
  ['the till in the shop', 'the till in the shop'],
  ['Mozilla/5.0 (unheard of)', 'Mozilla/5.0 (unheard of)'],
])('the browser of %s is called %s', (header, name) => expect(browserOf(header)).toBe(name));

test('the question and the table name the browser as people do', async () => {
  const browser = `Mozilla/5.0 (X11; Linux x86_64) ${CHROME} Safari/537.36`;
  const { page } = await phone({}, { site: 'My shop', browser, place: 'Berlin' });
  await heading(page, 'Sign in to My shop on Chrome (Linux), Berlin?');
  expect(await page.locator('dd').allTextContents()).toContain('Chrome (Linux)');
});

test.each([
  ['Sign in', '/approve', 'Confirmed. Continue on the other screen.'],
  ['Decline', '/deny', 'Declined. Nobody was signed in.'],
])('still says what was decided when the page is loaded again after "%s"', async (button, path, text) => {
  const answers: Record<string, Answer> = {};
  const { page, asked } = await phone(answers);
  await page.getByRole('button', { name: button, exact: true }).click();
  await heading(page, text);
  expect(asked).toEqual(['/scan', path]);
  answers['/scan'] = 410;
  await page.reload();
  await heading(page, text);
});

const TAKEN = 'Another phone has scanned this code.';
test.each([
  ['Decline', '/deny', '{"reason":"approved"}', 'Confirmed. Continue on the other screen.'],
  ['Sign in', '/approve', '{"reason":"denied"}', 'Declined. Nobody was signed in.'],
  ['Sign in', '/approve', '{"reason":"taken"}', TAKEN],
  ['Decline', '/deny', '{"reason":["approved","toString"]}', TAKEN],
  ['Decline', '/deny', '{}', TAKEN],
  ['Sign in', '/approve', 'no JSON', TAKEN],
])('says what was decided elsewhere: "%s" where %s is 409 with %s', async (button, path, body, text) => {
  const answers: Record<string, Answer> = { [path]: { status: 409, type: 'application/json', body } };
  const { page } = await phone(answers);
  await page.getByRole('button', { name: button, exact: true }).click();
  await heading(page, text);
  const state = text === TAKEN ? 'taken' : text.slice(0, 4) === 'Conf' ? 'approved' : 'denied';
  expect(await page.getAttribute('.tagwait-ask', 'class')).toBe(`tagwait-ask tagwait-${state}`);
  // and again when the page is loaded again
  answers['/scan'] = 410;
  await page.reload();
  await heading(page, text === TAKEN ? 'Code expired. Scan the new one.' : text);
});

test('repeats a call three times without a good answer, and then offers to try again', async () => {
  const answers: Record<string, Answer> = { '/approve': 503 };
  const { page, asked } = await phone(answers);
  const yes = page.getByRole('button', { name: 'Sign in', exact: true });
  await yes.waitFor();
  await page.clock.install();
  await yes.click();
  await until(async () => {
    await page.clock.runFor(1000);
    return asked.length === 5;
  });
  await heading(page, 'That did not work.');
  answers['/approve'] = 200;
  await page.getByRole('button', { name: 'Try again' }).click();
  await heading(page, 'Confirmed. Continue on the other screen.');
  expect(asked).toEqual(['/scan', ...Array(5).fill('/approve')]);
});

test('counts the tries of each call by itself', async () => {
  const answers: Record<string, Answer> = { '/scan': 503, '/approve': 503 };
  const { page, asked } = await phone(answers);
  await until(() => asked.length === 3);
  answers['/scan'] = 200;
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await until(() => asked.filter(path => path === '/approve').length === 2);
  answers['/approve'] = 200;
  await heading(page, 'Confirmed. Continue on the other screen.');
});

test.each(['de', 'ru', 'fr', 'ar'])(
  'in %s nothing leaves a screen of 195 px: a phone with letters of twice the size',
  async lang => {
    const show = { 'Compare this number with the one on the page': '47 11' };
    const { page } = await phone({}, show, `data-lang="${lang}"`);
    await page.locator('.tagwait-asked').waitFor();
    await page.setViewportSize({ width: 195, height: 800 });
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(195);
    const value = await page.locator('dd').first().boundingBox();
    expect(value?.width).toBeGreaterThan(60);
  },
);

test('says that a code has expired when this tab has decided nothing', async () => {
  const { page } = await phone({ '/scan': 410 });
  await heading(page, 'Code expired. Scan the new one.');
});

test.each(['/scan', '/approve', '/deny'])(
  'goes to the sign-in with the way back when %s is answered 401',
  async path => {
    const { page, url, asked } = await phone({ [path]: 401 }, {}, 'data-signin="/signin?next={here}"');
    if (path !== '/scan')
      await page.getByRole('button', { name: path === '/deny' ? 'Decline' : 'Sign in', exact: true }).click();
    await page.waitForURL(`${url}/signin?next=%2Fhere%3Fkey%3Dk1`);
    expect(asked).toEqual(path === '/scan' ? [path] : ['/scan', path]);
  },
);

const ANSWER = {
  approve: ['Sign in', 'Confirmed. Continue on the other screen.'],
  deny: ['Decline', 'Declined. Nobody was signed in.'],
} as const;
const PAGE = '\n <!doctype html><title>Sign in</title><form></form>';

test.each(['scan', 'approve', 'deny'] as const)(
  'a sign-in page in place of an answer to %s is no answer: to the sign-in, or said so',
  async call => {
    for (const page of ['application/xhtml+xml', 'text/html'].map(type => ({ type, body: PAGE })))
      for (const signin of ['', 'data-signin="/signin?next={here}"']) {
        const stand = await phone({ [`/${call}`]: page }, {}, signin);
        if (call !== 'scan')
          await stand.page.getByRole('button', { name: ANSWER[call][0], exact: true }).click();
        if (signin) await stand.page.waitForURL(`${stand.url}/signin?next=%2Fhere%3Fkey%3Dk1`);
        else await heading(stand.page, 'That did not work.');
      }
  },
);

test.each(['approve', 'deny'] as const)(
  '%s may be answered with nothing, JSON or a word, of any type',
  async call => {
    for (const body of ['', '\n', '{"code":0}', 'true', 'OK']) {
      const { page } = await phone({ [`/${call}`]: { type: 'text/html', body } });
      await page.getByRole('button', { name: ANSWER[call][0], exact: true }).click();
      await heading(page, ANSWER[call][1]);
    }
  },
);

test.each([
  ['the cookie that is named', 'csrf=a%2Fb', 'a/b'],
  ['a cookie that cannot be decoded', 'csrf=ab%zz', 'ab%zz'],
  ['the tag, without such a cookie', 'other=1', 'of the tag'],
])('the token against forged requests is of %s', async (_, cookie, token) => {
  const before = `<script>document.cookie = '${cookie}';</script>`;
  const { page, tokens } = await phone({}, {}, 'data-csrf-cookie="csrf" data-csrf="of the tag"', { before });
  await page.locator('.tagwait-asked').waitFor();
  expect(tokens).toEqual([token]);
});

test('a key that cannot be decoded is asked for as it stands', async () => {
  const { page, asked } = await phone({ '/scan': 404 }, {}, '', { query: '?key=%E0%A4%A' });
  await heading(page, 'Code expired. Scan the new one.');
  expect(asked).toEqual(['/scan']);
});

test('a text of a visitor neither hides the buttons nor turns the question round', async () => {
  const turned = `evil\u202e\u0007\u200f ${'x'.repeat(1800)}`;
  const { page } = await phone({}, { site: 'My\u2066 shop', browser: turned, place: `P${'😀'.repeat(200)}` });
  await page.locator('.tagwait-asked').waitFor();
  const text = (await page.locator('h1').textContent()) as string;
  expect(text).toBe(`Sign in to My shop on evil ${'x'.repeat(55)}…, P${'😀'.repeat(29)}…?`);
  const rows = await page.locator('dd').allTextContents();
  expect(rows.slice(0, 2)).toEqual(['My shop', `evil ${'x'.repeat(195)}…`]);
  const button = await page.getByRole('button', { name: 'Decline' }).boundingBox();
  expect(button?.y).toBeLessThan(800);
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
});

test('what is filled in has a direction of its own where the page is read from the right', async () => {
  const { page } = await phone({}, { site: 'My shop', browser: 'Chrome (Linux)' }, 'data-lang="ar"');
  await page.locator('.tagwait-asked').waitFor();
  expect(await page.locator('h1').textContent()).toBe(
    'تسجيل الدخول إلى \u2068My shop\u2069 على \u2068Chrome (Linux)\u2069؟',
  );
  expect((await page.locator('dd').allTextContents()).slice(0, 2)).toEqual([
    '\u2068My shop\u2069',
    '\u2068Chrome (Linux)\u2069',
  ]);
});

test('the table has the texts and numbers of show, under their own names', async () => {
  const show = {
    site: 'S',
    constructor: 'c',
    ask: 'q',
    lang: 'l',
    amount: 0,
    yes: true,
    no: null,
    deep: { a: 1 },
    empty: '',
  };
  const { page } = await phone({}, show);
  await page.locator('.tagwait-asked').waitFor();
  const texts = await page.locator('dt, dd').allTextContents();
  expect(texts.slice(0, -1)).toEqual([
    ...['Site', 'S', 'constructor', 'c', 'ask', 'q', 'lang', 'l', 'amount', '0'],
    'Time',
  ]);
});

describe('the question is a whole sentence', () => {
  const { texts, questionOf } = new Function(
    `${['phone-texts', 'phone'].map(name => readFileSync(`client/login/${name}.js`, 'utf8').split('var own =')[0]).join('\n')}
return { texts: TEXTS, questionOf }`,
  )() as { texts: Record<string, string>; questionOf(texts: object, show: object): string };
  const questions = (show: object) =>
    Object.fromEntries(
      Object.entries(texts).map(([language, text]) => [
        language,
        questionOf({ ask: text.split('|')[0], dir: 'ltr' }, { site: 'S', ...show }),
      ]),
    );

  test('in every language, also without the browser or the place', () => {
    expect(questions({})).toEqual({
      en: 'Sign in to S?',
      zh: '要登录 S 吗？',
      es: '¿Iniciar sesión en S?',
      ar: 'تسجيل الدخول إلى S؟',
      pt: 'Entrar em S?',
      id: 'Masuk ke S?',
      fr: 'Se connecter à S ?',
      ja: 'S にログインしますか？',
      ru: 'Войти на S?',
      de: 'Bei S anmelden?',
      ko: 'S에 로그인할까요?',
      hi: 'S में साइन इन करें?',
    });
    expect(questions({ browser: 'B' })).toMatchObject({
      en: 'Sign in to S on B?',
      zh: '要在 B上登录 S 吗？',
      ja: 'Bで S にログインしますか？',
    });
    expect(questions({ place: 'P' })).toMatchObject({ en: 'Sign in to S, P?', ko: 'S에 로그인할까요?' });
    for (const text of Object.values(questions({ browser: 'B', place: 'P' })))
      expect(text).toMatch(/^(?=.*B)(?=.*P)[^[\]{}]+$/);
  });
});
