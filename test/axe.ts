/** What axe finds wrong on a page: contrast, headings, names, roles. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Page } from 'playwright-core';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** @returns one line for each fault: its rule and the element */
export async function axeFaults(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  return page.evaluate(async () => {
    // biome-ignore lint/suspicious/noExplicitAny: axe is a global of the page now
    const { violations } = await (window as any).axe.run();
    // biome-ignore lint/suspicious/noExplicitAny: see above
    return violations.map((one: any) => `${one.id}: ${one.nodes[0].html}`);
  });
}
