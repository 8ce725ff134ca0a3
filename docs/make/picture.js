/** `npm run build && node docs/make/picture.js`: makes docs/demo.png, the moving picture of the README, from the real demo. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { quiet } from '../../test/browsers/engines.js';
import { chromium as found } from '../../test/needs.js';
import { apng } from './apng.js';

const here = path => fileURLToPath(new URL(path, import.meta.url));
const MAX_BYTES = 300_000;
const PHONE =
  'Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36';
/** A transition of the page, ms. */
const SETTLE = 700;

const env = { TAGWAIT_PUBLIC_PORT: '0', TAGWAIT_INTERNAL_PORT: '0', TAGWAIT_LOG_LEVEL: 'silent' };
const service = spawn(process.execPath, [here('../../dist/cli.js'), '--demo'], {
  env: { ...process.env, ...env },
  stdio: ['ignore', 'pipe', 'inherit'],
});
const browser = await chromium.launch({ executablePath: found(), args: quiet });
try {
  const [line] = await once(createInterface(service.stdout), 'line');
  const frames = await film(/public (\S+)/.exec(line)[1].replace('0.0.0.0', '127.0.0.1'));
  const picture = apng(frames);
  if (picture.length > MAX_BYTES)
    throw new Error(`${picture.length} bytes; at most ${MAX_BYTES} are allowed`);
  writeFileSync(here('../demo.png'), picture);
  console.log(`docs/demo.png: ${frames.length} frames, ${picture.length} bytes`);
} finally {
  await browser.close();
  service.kill();
}

/** The scenes of a login. @returns `{ png, ms }` for each frame */
async function film(url) {
  const open = async (width, height, more = {}) =>
    (await browser.newContext({ viewport: { width, height }, ...more })).newPage();
  const [desktop, phone, stage] = [
    await open(880, 532),
    await open(300, 500, { userAgent: PHONE }),
    await open(980, 500),
  ];
  const frames = [];
  const shoot = async (ms, caption, screen) => {
    await desktop.waitForTimeout(SETTLE);
    const page = await desktop.screenshot();
    await stage.setContent(stageHtml(image(page), screen, caption));
    await stage.waitForFunction(() => [...document.images].every(one => one.complete));
    frames.push({ png: await stage.screenshot(), ms });
  };
  const state = name => desktop.waitForSelector(`#main[data-state=${name}]`, { state: 'attached' });
  const handheld = async () => image(await phone.screenshot());

  await desktop.goto(`${url}/demo`);
  await state('waiting');
  await shoot(1800, 'The login page shows a code and waits.', '');
  const code = await desktop.locator('.tagwait-card').screenshot();
  await shoot(1800, 'A phone scans it.', `<b>${image(code)}</b>`);
  const link = new URL(await desktop.getAttribute('.tagwait-code', 'href'));
  await phone.goto(`${url}${link.pathname}${link.search}`);
  await phone.waitForSelector('.tagwait-asked');
  await state('scanned');
  await shoot(2600, 'The page hears of it at once. The phone asks.', await handheld());
  const button = phone.getByRole('button', { name: 'Sign in' });
  await button.scrollIntoViewIfNeeded();
  const { x, y, width, height } = await button.boundingBox();
  const finger = `<i style="left:${x + width / 2}px;top:${y + height / 2}px"></i>`;
  await shoot(900, 'One tap …', `${await handheld()}${finger}`);
  await button.click();
  await phone.waitForSelector('.tagwait-approved');
  await state('signed');
  await shoot(3000, '… and the page is signed in.', await handheld());
  return frames;
}

function image(png) {
  return `<img src="data:image/png;base64,${png.toString('base64')}">`;
}

function stageHtml(page, screen, caption) {
  return `<!doctype html><style>
    * { box-sizing: border-box; margin: 0 }
    body { background: #fff; font: 600 20px/1.4 system-ui, "DejaVu Sans", sans-serif; color: #121a16 }
    .desktop { position: absolute; left: 14px; top: 14px; width: 662px; height: 424px; border: 1px solid #c3cdc6; border-radius: 12px; overflow: hidden; background: #dfe6e1 }
    .desktop::before { content: ""; position: absolute; left: 12px; top: 7px; width: 9px; height: 9px; border-radius: 50%; background: #b5c1b9; box-shadow: 15px 0 #b5c1b9, 30px 0 #b5c1b9 }
    .desktop img { display: block; width: 660px; margin-top: 23px }
    .phone { position: absolute; right: 14px; top: 14px; width: 262px; height: 424px; border: 9px solid #1a231e; border-radius: 30px; overflow: hidden; background: #0c120f }
    .phone > div { zoom: .8133; position: relative }
    .phone img { display: block }
    .phone b { position: absolute; left: 40px; top: 130px; width: 220px; height: 220px; border: 4px solid #54d39e; border-radius: 26px; padding: 18px }
    .phone b img { width: 100%; border-radius: 8px }
    .phone i { position: absolute; width: 60px; height: 60px; margin: -30px; border-radius: 50%; background: #0006; border: 4px solid #fff }
    p { position: absolute; left: 0; right: 0; bottom: 18px; text-align: center }
  </style><div class="desktop">${page}</div><div class="phone"><div>${screen}</div></div><p>${caption}</p>`;
}
