/** What the tests of the docs' backends share: programs from a block of a page, browsers, and a line that loses answers. */
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { listen } from './harness.js';
import { type Owner, onTestFinished } from './owner.js';

export const SECRET = '0123456789abcdef0123456789abcdef';
export const TOKEN = 'a-token-of-the-backend';

/** A line to tagwait's internal port that can lose answers. */
export async function line(internalUrl: string, own: Owner = onTestFinished) {
  const state = { lose: 0, lost: 0 };
  const server = createServer(async (request, response: ServerResponse) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { authorization = '', 'content-type': type = '' } = request.headers;
    const answer = await fetch(`${internalUrl}${request.url}`, {
      method: 'POST',
      headers: { authorization, 'content-type': type },
      body: Buffer.concat(chunks),
    });
    const text = await answer.text();
    if (state.lose > 0) {
      state.lose--;
      state.lost++;
      response.destroy();
    } else response.writeHead(answer.status, { 'Content-Type': 'application/json' }).end(text);
  });
  const url = await listen(server);
  own(() => {
    server.closeAllConnections();
    server.close();
  });
  return Object.assign(state, { url });
}

/** A folder with these files, where the packages of this repository can be imported. */
export function folderOf(files: Record<string, string>, own: Owner = onTestFinished): string {
  const folder = mkdtempSync(join(tmpdir(), 'tagwait-backend-'));
  own(() => rmSync(folder, { recursive: true, force: true }));
  symlinkSync(join(import.meta.dirname, '../node_modules'), join(folder, 'node_modules'));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  return folder;
}

export interface Posted {
  status: number;
  body: Record<string, unknown>;
  /** the cookies that it sets */
  given: string;
}

/** Posts as a browser with these cookies. */
export async function post(url: string, fields: Record<string, string>, cookie = ''): Promise<Posted> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { cookie },
    body: new URLSearchParams(fields),
  });
  const text = await response.text();
  const body = text.startsWith('{') ? (JSON.parse(text) as Posted['body']) : {};
  const given = response.headers
    .getSetCookie()
    .map(text => text.split(';')[0])
    .join('; ');
  return { status: response.status, body, given };
}
