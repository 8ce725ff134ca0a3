/** A page in Chromium that includes both scripts of the page, and hears by tags. */
import { launch, site } from '../chromium.js';
import { type Owner, onTestFinished } from '../owner.js';
import { type Heard, Log } from './log.js';

/** Hosts of this machine that a page spreads its watches over: a browser opens six connections to each. */
const HOSTS = 4;

/**
 * Opens the page. @param port of the service @param single keys that have a poll each @param several keys that share polls
 * @returns `read` gets what it has heard since the last time
 */
export async function openPage(
  port: number,
  single: readonly string[],
  several: readonly string[],
  own: Owner = onTestFinished,
) {
  const browser = await launch();
  own(() => browser.close());
  const page = await browser.newPage();
  const url = `http://127.0.0.1:${port}`;
  const logs = { single: new Log(), several: new Log() };
  page.on('pageerror', error => logs.single.faults.push(String(error)));
  await page.goto(
    await site(`<!doctype html><title>ways</title><script>
var heard = [];
function watchAll(name, keys) {
  for (var i = 0; i < keys.length; i++) watch(name, keys[i], 'http://127.0.0.' + (1 + i % ${HOSTS}) + ':${port}');
}
function watch(name, key, url) {
  tagwait.watch(key, { url: url,
    onvalue: function (value, info) {
      heard.push([name, key, { value: value, lost: info.lost, final: info.final, at: Date.now() }]);
    },
    onend: function (reason) { if (reason !== 'final') throw new Error(key + ': ' + reason); }
  });
}
</script>
<script src="${url}/client.js"></script>
<script>watchAll('single', ${JSON.stringify(single)});</script>
<script src="${url}/client/many.js"></script>
<script>watchAll('several', ${JSON.stringify(several)});</script>`),
  );
  const read = async () => {
    const heard = (await page.evaluate('heard.splice(0)')) as ['single' | 'several', string, Heard][];
    for (const [name, key, one] of heard) logs[name].put(key, [one]);
  };
  return { ...logs, read };
}
