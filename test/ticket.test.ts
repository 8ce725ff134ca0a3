/** Tickets: a client that only knows the QR code cannot poll its key. */
import { execFileSync, spawnSync } from 'node:child_process';
import crypto from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { newTicket, proofOf, verify } from '../src/protocol/ticket.js';
import { held, poll, service, set, until } from './harness.js';

const SECRET = 'a secret of more than 32 characters'.replaceAll(' ', '-');
const OLD = 'an older secret of over 32 characters'.replaceAll(' ', '-');

const now = () => Math.floor(Date.now() / 1000);

async function newOf(internalUrl: string, body: object = {}) {
  const response = await fetch(`${internalUrl}/status/new`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
  return { status: response.status, ...((await response.json()) as ReturnType<typeof newTicket>) };
}

test('no key of a ticket begins with a dash, which a command line takes for an option', () => {
  const keys = Array.from({ length: 2000 }, () => newTicket(SECRET, 60).key);
  expect(keys.filter(key => key.startsWith('-'))).toEqual([]);
  expect(keys.filter(key => Buffer.from(key, 'base64url').length !== 16)).toEqual([]);
});

describe('a poll', () => {
  test('with the proof of its key is held and hears; with none, or with one of another key, it is forbidden', async () => {
    const { publicUrl, internalUrl } = await service({ secret: [SECRET] });
    const { status, key, proof, expires } = await newOf(internalUrl, { ttl: 60 });
    expect(status).toBe(200);
    expect(Buffer.from(key, 'base64url').length).toBe(16);
    expect(Math.abs(expires - now() - 60)).toBeLessThanOrEqual(1);
    const other = await newOf(internalUrl);
    const forbidden = { code: -5, message: 'forbidden' };
    expect(await poll(publicUrl, { key })).toEqual(forbidden);
    expect(await poll(publicUrl, { key, proof: '' })).toEqual(forbidden);
    expect(await poll(publicUrl, { key, proof: other.proof })).toEqual(forbidden);
    expect(await poll(publicUrl, { key: other.key, proof })).toEqual(forbidden);
    const asked = poll(publicUrl, { key, proof });
    await held(internalUrl, key, 1);
    await set(internalUrl, { key, value: 'scanned' });
    expect(await asked).toMatchObject({ code: 0, data: 'scanned' });
  });

  test('says in every answer but `expired` how many seconds are left of its ticket', async () => {
    const { publicUrl, internalUrl } = await service({ secret: [SECRET] });
    const { key, proof } = await newOf(internalUrl, { ttl: 60 });
    const left = expect.closeTo(60, -1);
    expect(await poll(publicUrl, { key, proof, hold: '0' })).toMatchObject({ code: -1, left });
    await set(internalUrl, { key, value: 'scanned' });
    const heard = await poll(publicUrl, { key, proof });
    expect(heard).toMatchObject({ code: 0, data: 'scanned', left });
    // a millisecond later
    await until(
      async () => ((await poll(publicUrl, { key, proof })).left as number) < (heard.left as number),
    );
    await set(internalUrl, { key, value: 'confirmed', final: true });
    const { cursor = '' } = await poll(publicUrl, { key, proof });
    expect(await poll(publicUrl, { key, proof, since: cursor })).toEqual({ code: -2, message: 'expired' });
    const script = await fetch(`${publicUrl}/status/get?key=${key}&proof=${proof}&callback=cb`);
    expect(await script.text()).toMatch(/,"left":[\d.]+\}\);$/);
    // no ticket, no end
    const free = await service();
    expect(await poll(free.publicUrl, { key, proof, hold: '0' })).not.toHaveProperty('left');
  });

  test('with a wrong proof hears the same of a key that has a value and of one that was never heard of', async () => {
    const { publicUrl, internalUrl } = await service({ secret: [SECRET] });
    const { key } = await newOf(internalUrl);
    await set(internalUrl, { key, value: 'the one-time code' });
    const proof = proofOf(OLD, key, now() + 60);
    const answer = async (asked: string) => {
      const response = await fetch(`${publicUrl}/status/get?key=${asked}&proof=${proof}&callback=cb`);
      const headers = Object.fromEntries(response.headers);
      delete headers.date;
      return { status: response.status, headers, text: await response.text() };
    };
    const known = await answer(key);
    expect(known.text).toContain('"code":-5');
    expect(await answer('never-heard-of-it-1234')).toEqual(known);
    const peek = await (await fetch(`${internalUrl}/status/peek?key=${key}`)).json();
    expect(peek).toMatchObject({ waiters: {} });
  });

  test('ends with its ticket, on the second; afterwards nothing is handed over, and it is said so', async () => {
    const { publicUrl, internalUrl } = await service({ secret: [SECRET], hold: 25 });
    const expires = now() + 2;
    const proof = proofOf(SECRET, 'k', expires);
    expect(await poll(publicUrl, { key: 'k', proof })).toEqual({ code: -2, message: 'expired' });
    expect(Date.now() - expires * 1000).toBeGreaterThan(-400);
    // its hold is 25 s
    expect(Date.now() - expires * 1000).toBeLessThan(5000);
    await set(internalUrl, { key: 'k', value: 'too late' });
    expect(await poll(publicUrl, { key: 'k', proof })).toEqual({ code: -2, message: 'expired' });
    const stillGood = proofOf(SECRET, 'k', now() + 60);
    expect(await poll(publicUrl, { key: 'k', proof: stillGood })).toMatchObject({ data: 'too late' });
  });

  test('a ticket that outlives the hold is asked with again', async () => {
    const { publicUrl } = await service({ secret: [SECRET], hold: 0.1 });
    const proof = proofOf(SECRET, 'k', now() + 60);
    expect(await poll(publicUrl, { key: 'k', proof })).toMatchObject({ code: -1 });
  });

  test('without TAGWAIT_SECRET a proof changes nothing, and there are no tickets', async () => {
    const { publicUrl, internalUrl } = await service();
    expect(await poll(publicUrl, { key: 'k', hold: '0', proof: 'x' })).toMatchObject({ code: -1 });
    expect(await newOf(internalUrl)).toMatchObject({
      status: 400,
      detail: expect.stringContaining('TAGWAIT_SECRET'),
    });
  });
});

test('rotation: the first secret signs, all verify, and one that was taken away does not', async () => {
  const both = await service({ secret: [SECRET, OLD] });
  const one = await service({ secret: [SECRET] });
  const made = await newOf(both.internalUrl);
  expect(made.proof).toBe(proofOf(SECRET, made.key, made.expires));
  const old = proofOf(OLD, 'k', now() + 60);
  expect(await poll(both.publicUrl, { key: 'k', hold: '0', proof: old })).toMatchObject({ code: -1 });
  expect(await poll(one.publicUrl, { key: 'k', hold: '0', proof: old })).toMatchObject({ code: -5 });
});

describe('a proof', () => {
  const good = proofOf(SECRET, 'k', 1_900_000_000);
  const [, signature = ''] = good.split('.');
  test('is good as it was made', () => expect(verify([OLD, SECRET], 'k', good)).toBe(1_900_000_000));
  test.each([
    ['with a later expiry', `1900000001.${signature}`],
    ['with a zero in front', `01900000000.${signature}`],
    ['with a sign', `+1900000000.${signature}`],
    ['with a space', ` ${good}`],
    ['with padding', `${good}=`],
    ['cut short', good.slice(0, -1)],
    ['in plain Base64', `1900000000.${Buffer.from(signature, 'base64url').toString('base64').slice(0, 42)}/`],
    // two bits of the last character are not in the 32 bytes: a decoder would take four characters for one
    ['with idle bits set', good.slice(0, -1) + String.fromCharCode(good.charCodeAt(43 + 10) + 1)],
    ['without expiry', `.${signature}`],
    ['of nothing', ''],
  ])('%s is none', (_, proof) => expect(verify([SECRET], 'k', proof)).toBeUndefined());

  // counts and not times: a busy machine changes the times
  test.each([
    ['good by the first secret', good],
    ['good by the second secret', proofOf(OLD, 'k', 1_900_000_000)],
    ['with a wrong last character', good.replace(/.$/, '_')],
    ['with a wrong first character', good.replace('.', '._').slice(0, -1)],
    ['of another time', `1.${'A'.repeat(43)}`],
    ['of nothing', ''],
    ['too long', 'x'.repeat(128)],
  ])(
    '%s costs the same: for each secret one HMAC and one comparison of 43 bytes in constant time',
    (_, proof) => {
      const { createHmac, timingSafeEqual } = crypto;
      const work: unknown[] = [];
      onTestFinished(() => {
        Object.assign(crypto, { createHmac, timingSafeEqual });
        syncBuiltinESMExports();
      });
      crypto.createHmac = ((...given) => {
        work.push(`HMAC with ${given[1]}`);
        return createHmac(...given);
      }) as typeof createHmac;
      crypto.timingSafeEqual = (one, other) => {
        work.push([one.byteLength, other.byteLength]);
        return timingSafeEqual(one, other);
      };
      syncBuiltinESMExports();
      verify([SECRET, OLD], 'k', proof);
      expect(work).toEqual([`HMAC with ${SECRET}`, [43, 43], `HMAC with ${OLD}`, [43, 43]]);
    },
  );
});

describe('docs/tickets.md', () => {
  const text = readFileSync(fileURLToPath(new URL('../docs/tickets.md', import.meta.url)), 'utf8');
  const vectors = [...text.matchAll(/^\| `(.+?)` +\| `(.+?)` +\| `(\d+)` +\| `(.+?)` +\|$/gm)].map(
    ([, secret, key, expires, proof]) => ({ secret, key, expires, proof }) as Record<string, string>,
  ) as { secret: string; key: string; expires: string; proof: string }[];
  const program = (language: string) =>
    new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, 'ms').exec(text)?.[1] as string;
  const runs = (command: string, version = '--version') => {
    const here = spawnSync(command, [version]).status === 0;
    if (!here) console.log(`left out: docs/tickets.md in ${command}, which is not on this machine`);
    return here;
  };
  /** Runs a program of the page with a few lines more, which print the proof of every vector. */
  function output(command: string, file: string, source: string): string[] {
    const folder = mkdtempSync(join(tmpdir(), 'tagwait-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    writeFileSync(join(folder, file), source);
    return execFileSync(command, [...(command === 'go' ? ['run'] : []), join(folder, file)], {
      encoding: 'utf8',
    })
      .trim()
      .split('\n');
  }
  const each = (line: (vector: (typeof vectors)[0]) => string) => vectors.map(line).join('\n');
  const expected = vectors.map(vector => vector.proof);

  test('has vectors, and tagwait makes the same', () => {
    expect(vectors.length).toBe(4);
    expect(vectors.map(({ secret, key, expires }) => proofOf(secret, key, Number(expires)))).toEqual(
      expected,
    );
  });

  test('its program for Node makes the same', () => {
    const lines = each(
      ({ secret, key, expires }) => `console.log(proof('${secret}', '${key}', ${expires}));`,
    );
    expect(output(process.execPath, 'tickets.mjs', `${program('js')}\n${lines}`)).toEqual(expected);
  });

  test.runIf(runs('python3'))('its program for Python makes the same', () => {
    const lines = each(({ secret, key, expires }) => `print(proof('${secret}', '${key}', ${expires}))`);
    expect(output('python3', 'tickets.py', `${program('python')}\n${lines}`)).toEqual(expected);
  });

  test.runIf(runs('php'))('its program for PHP makes the same', () => {
    const lines = each(({ secret, key, expires }) => `echo proof('${secret}', '${key}', ${expires}), "\\n";`);
    expect(output('php', 'tickets.php', `${program('php')}\n${lines}`)).toEqual(expected);
  });

  test.runIf(runs('java'))('its program for Java makes the same', () => {
    const lines = each(
      ({ secret, key, expires }) => `System.out.println(Tickets.proof("${secret}", "${key}", ${expires}L));`,
    );
    const imports = program('java').match(/^import .*$/gm) as string[];
    const classes = program('java').replace(/^import .*$/gm, '');
    const main = `class Main { public static void main(String[] args) throws Exception { ${lines} } }`;
    expect(output('java', 'Main.java', `${imports.join('\n')}\n${main}\n${classes}`)).toEqual(expected);
  });

  test.runIf(runs('go', 'version'))('its program for Go makes the same', () => {
    const lines = each(({ secret, key, expires }) => `fmt.Println(proof("${secret}", "${key}", ${expires}))`);
    expect(output('go', 'main.go', `${program('go')}\nfunc main() {\n${lines}\n}`)).toEqual(expected);
  });
});
