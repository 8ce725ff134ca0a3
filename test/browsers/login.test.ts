/** The login box in every engine that is here: `test/browsers/install.sh` brings them. */
import { beforeAll, describe, expect, test } from 'vitest';
import { found, runLogin } from './login.js';

const engines = found();
const results = new Map<string, { reports: string[]; redeemed: string | undefined }>();

beforeAll(async () => {
  const left = [...engines];
  const lane = async () => {
    for (let engine = left.shift(); engine; engine = left.shift())
      results.set(engine.name, await runLogin(engine));
  };
  await Promise.all([lane(), lane()]);
}, 600_000);

describe.each(engines.map(({ name }) => name))('%s', name => {
  test('a login from the code to the redeem', () => {
    const { reports = [], redeemed } = results.get(name) ?? {};
    if (name === 'NetSurf') {
      // no XMLHttpRequest: the ticket came with the page, and the redeem is the next page
      expect(reports.map(report => report.replace(/ .*/, ''))).toEqual(['waiting', 'scanned', 'approved']);
      expect(redeemed).toBe('GET ?key=the-key&code=once');
    } else {
      const drawn = /KHTML|JScript/.test(name) ? 'table 841' : 'picture';
      expect(reports).toEqual(['loading', `waiting ${drawn}`, 'scanned', 'approved', 'done']);
      expect(redeemed).toBe('POST &key=the-key&code=once');
    }
  });
});
