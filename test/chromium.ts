/** Debian's Chromium, through playwright-core. */
import { createServer, type Server } from 'node:http';
import { type Browser, chromium } from 'playwright-core';
import { quiet } from './browsers/engines.js';
import { listen } from './harness.js';
import { shell } from './needs.js';
import { onTestFinished } from './owner.js';

/** Starts a browser for one test file, which closes it. It sends no requests to other machines. */
export const launch = (): Promise<Browser> =>
  chromium.launch({
    executablePath: shell() as string,
    args: quiet,
  });

/** Serves one HTML page on its own origin, and scripts by their path. @returns its URL */
export async function site(
  html: string,
  headers: Record<string, string> = {},
  scripts: Record<string, string> = {},
): Promise<string> {
  const server: Server = createServer(({ url = '' }, response) => {
    const type = `text/${url in scripts ? 'javascript' : 'html'}; charset=utf-8`;
    response.writeHead(200, { 'Content-Type': type, ...headers }).end(scripts[url] ?? html);
  });
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return `${await listen(server)}/`;
}
