/** The docs agree with the code: tables, links, figures, and code blocks, which are run. */
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { parse as parseScript } from 'acorn';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { parse as parseYaml } from 'yaml';
import { libraryReference } from '../docs/make/library.js';
import { faultsOf } from '../docs/make/prose.js';
import { fileOf, makeSite } from '../docs/make/site.js';
import { version } from '../src/assets.js';
import { ANSWERS } from '../src/protocol/answers.js';
import { assign, call } from '../src/protocol/jsonp.js';
import { proofOf } from '../src/protocol/ticket.js';
import { openapi } from '../src/routes/openapi/document.js';
import { envOf, flagOf, NAMES, SETTINGS } from '../src/settings.js';
import { type Block, blocksOf } from './blocks.js';
import { launch, site } from './chromium.js';
import { held, type Reply, service, set, until } from './harness.js';

const read = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');
const readme = read('README.md');

interface Body {
  schema: { properties: Record<string, unknown> };
}
interface Operations {
  get?: { parameters?: { name: string }[] };
  post?: { requestBody?: { content: Record<string, Body> } };
}

const NOTHING: Body = { schema: { properties: {} } };

/** The row of each setting in docs/configuration.md. */
const settingsTable = () =>
  NAMES.map(name => {
    const { fallback, allowed, help } = SETTINGS[name] as {
      fallback?: string;
      allowed: string;
      help: string;
    };
    const cells = [`\`${flagOf(name)}\``, `\`${envOf(name)}\``, fallback && `\`${fallback}\``, allowed, help];
    return `|${cells.map(cell => (cell ? ` ${cell} ` : ' ')).join('|')}|`;
  }).join('\n');

test('every setting is in the table, as the code has it', () => {
  const text = read('docs/configuration.md');
  expect(text).toContain(settingsTable());
  const named = new Set((text + readme).match(/TAGWAIT_[A-Z_]+/g));
  expect([...named].filter(env => !NAMES.map(envOf).includes(env))).toEqual([]);
});

test('the figures in the README are those of their last runs, rounded to the cautious side', () => {
  const of = (pattern: RegExp, text: string) => Number(pattern.exec(text)?.[1]);
  expect(readme).toContain('takes less than half the memory');
  const most = of(
    /memory per held request at 10,000, over node:http \| [\d.]+ \| [\d.]+–([\d.]+) \|/,
    read('bench/results.md'),
  );
  expect(most).toBeLessThan(0.5);
  expect(readme).toContain('costs Redis 0.007 commands per poll of 25 s');
  expect(read('docs/redis.md')).toContain('0.007 commands an idle poll of 25 s');
  const security = read('SECURITY.md');
  const earlier = of(/p99 with 10,000\s+attackers\s+was\s+at\s+most\s+(\d+\.\d) ms/, security);
  const last = of(/^\| and 10,000 attackers \| [\d.]+ \| \*\*(\d+\.\d)/m, security);
  expect(of(/set-to-page p99 was at most ([\d.]+) ms in eight runs/, readme)).toBe(
    Math.ceil(Math.max(earlier, last)),
  );
  expect(security).toContain('The last of eight runs');
});

test('the README is short, and shows code of a page early', () => {
  const words = (text: string) => text.split(/\s+/).filter(word => word !== '').length;
  expect(words(readme)).toBeLessThanOrEqual(1200);
  expect(words(readme.split('```html')[0] as string)).toBeLessThanOrEqual(150);
});

test("the client's size is at most what the README says", () => {
  const said = Number(/script of at most ([\d,]+) bytes/.exec(readme)?.[1]?.replace(',', ''));
  expect(gzipSync(read('dist/client/tagwait.js'), { level: 9 }).length).toBeLessThanOrEqual(said);
});

test('the README names as many scenarios and engines as the matrix has', () => {
  const rows = [...read('client/README.md').matchAll(/^\| .+ \| (\d+) of (\d+) \|$/gm)];
  const [, scenarios, engines] = /the same (\d+) scenarios in (\w+)\s+engines/.exec(readme) ?? [];
  expect(rows.map(([, passed, all]) => [passed, all])).toEqual(rows.map(() => [scenarios, scenarios]));
  expect(engines).toBe(['five', 'six', 'seven', 'eight'][rows.length - 5]);
});

const root = fileURLToPath(new URL('..', import.meta.url));
const PAGES = [
  ...['README.md', 'client/README.md', 'SECURITY.md', 'CONTRIBUTING.md', 'CHANGELOG.md'],
  ...readdirSync(`${root}docs`)
    .filter(name => name.endsWith('.md'))
    .map(name => `docs/${name}`),
];
const blocks = PAGES.flatMap(blocksOf);
const block = (file: string, language: string, part = '') =>
  blocks.find(one => one.file === file && one.language === language && one.text.includes(part))
    ?.text as string;

/** As GitHub makes them from a heading. */
const anchorsOf = (file: string) =>
  [...read(file).matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\w\s-]/g, '')
      .replaceAll(' ', '-'),
  );

test.each(PAGES)('%s: the files it names and links to are there', file => {
  const folder = new URL(`../${file}`, import.meta.url);
  for (const [, path = '', anchor = ''] of read(file).matchAll(/\]\((?!https?:)([^)#\s]*)#?([^)]*)\)/g)) {
    const target = path === '' ? folder : new URL(path, folder);
    expect(existsSync(target), path).toBe(true);
    if (anchor)
      expect(anchorsOf(fileURLToPath(target).slice(root.length)), `${path}#${anchor}`).toContain(anchor);
  }
  for (const [, path = ''] of read(file).matchAll(/`((?:src|test|docs|client|deploy|bench)\/[\w./-]*)`/g))
    expect(existsSync(root + path), path).toBe(true);
  const scripts = JSON.parse(read('package.json')).scripts as Record<string, string>;
  for (const [, name = ''] of read(file).matchAll(/\bnpm run ([\w:]+)/g))
    expect(scripts).toHaveProperty(name);
});

/** Every object given to `watch` has the options of the table, and no others. */
const OPTIONS = [...read('client/README.md').matchAll(/^\| `(\w+)(?:\([\w, ]*\))?` \|/gm)].map(
  match => match[1],
);
function checkScript(text: string, settings: { ecmaVersion: 3 | 2022; sourceType: 'script' | 'module' }) {
  const check = (node: unknown): void => {
    if (typeof node !== 'object' || node === null) return;
    // biome-ignore lint/suspicious/noExplicitAny: any node
    const { type, callee, arguments: given, ...more } = node as any;
    if (type === 'CallExpression' && (callee.property ?? callee).name === 'watch')
      for (const { key } of given[1]?.properties ?? []) expect(OPTIONS).toContain(key.name);
    for (const child of [callee, given, ...Object.values(more)].flat()) check(child);
  };
  check(
    parseScript(text, {
      ...settings,
      allowReserved: true,
      allowAwaitOutsideFunction: settings.ecmaVersion > 3,
    }),
  );
}

/** A shell block, where https://status.example.com and the ports are those of a service. */
async function shell(text: string, { publicUrl, internalUrl }: { publicUrl: string; internalUrl: string }) {
  const here = text
    .replaceAll('http://127.0.0.1:11001', internalUrl)
    .replaceAll(/http:\/\/127\.0\.0\.1:11000|https:\/\/status\.example\.com/g, publicUrl);
  // not synchronously: the service is in this process
  await promisify(execFile)(
    'bash',
    ['-e', '-o', 'pipefail', '-c', `curl() { command curl -fsS -m 60 "$@"; echo; }\n${here}`],
    { timeout: 60_000 },
  );
}

/**
 * Programs in these languages are run by scan-login.test.ts and ticket.test.ts, the first of each in their page, and by
 * login-frameworks.test.ts, which says what it does not run.
 */
const RUN_ELSEWHERE = ['python', 'php', 'java', 'go'];
/** Its programs are run by test/browsers/frameworks.test.ts. */
const FRAMEWORKS = 'docs/frameworks.md';
const CHECKS: Record<string, (one: Block) => unknown> = {
  js: ({ text }) => checkScript(text, { ecmaVersion: 2022, sourceType: 'module' }),
  // what a page of any age runs
  html: ({ text }) => {
    for (const [, script = ''] of text.matchAll(/<script(?: [^>]*)?>([\s\S]*?)<\/script>/g))
      checkScript(script, { ecmaVersion: 3, sourceType: 'script' });
    const opened = text.match(/<(?!\/)\w+/g)?.length;
    expect(text.match(/<\/\w+>/g)?.length, 'every tag is closed').toBe(opened);
  },
  json: ({ text }) => JSON.parse(text),
  // types as the compiler wrote them, and a program
  ts: ({ file }) => expect(['docs/library.md', FRAMEWORKS]).toContain(file),
  jsx: ({ file }) => expect(file).toBe(FRAMEWORKS),
  vue: ({ file }) => expect(file).toBe(FRAMEWORKS),
  yaml: ({ text }) => parseYaml(text),
  sh: async ({ text }) => {
    execFileSync('bash', ['-n', '-c', text]);
    if (/^curl/m.test(text)) {
      const secret = text.includes('/status/new') ? { secret: ['a-secret-of-the-tests'] } : {};
      await shell(text, await service({ demo: true, ...secret }));
    }
    for (const [, path = ''] of text.matchAll(/\bnode ([\w./]+\.js)/g))
      expect(path === 'dist/cli.js' || existsSync(root + path), path).toBe(true);
  },
  '': ({ text }) => expect(text, 'say which language it is').not.toMatch(/^(curl|npm|\{|import|const) /m),
};

// docs/proxies.md is a page of settings for other programs: deploy.test.ts reads those
const ours = blocks.filter(
  ({ file, language }) =>
    !RUN_ELSEWHERE.includes(language) && (file !== 'docs/proxies.md' || language in CHECKS),
);
test.each(ours.map(one => [`${one.where}, ${one.language || 'text'}`, one] as const))(
  '%s',
  async (_, one) => {
    const check = CHECKS[one.language];
    if (!check) throw new Error(`no check for ${one.language}`);
    await check(one);
  },
);

test('no program is shown beyond those that are run', () => {
  const shown = blocks.flatMap(({ file, language }) =>
    RUN_ELSEWHERE.includes(language) && file !== 'docs/login-frameworks.md' ? [`${file} ${language}`] : [],
  );
  const run = { 'docs/scan-login.md': 'scan-login', 'docs/tickets.md': 'ticket' };
  expect(shown.sort()).toEqual(
    Object.keys(run)
      .flatMap(file => RUN_ELSEWHERE.map(language => `${file} ${language}`))
      .sort(),
  );
  for (const [file, test] of Object.entries(run)) expect(read(`test/${test}.test.ts`)).toContain(`'${file}'`);
});

/** What a client does with an answer, as docs/protocol.md says it of its code. */
const DO: Record<keyof typeof ANSWERS, RegExp> = {
  success: /then `data`; ask again with `cursor`, unless `final`/,
  timeout: /^ask again at once with `cursor`/,
  expired: /^stop: the key has ended, or its ticket has run out/,
  busy: /^ask again after `retry` ms with the cursor you have/,
  badRequest: /^stop: asking again cannot help/,
  forbidden: /^stop: asking again cannot help/,
  moved: /^the node is closing: ask again after `retry` ms, on a new connection/,
  unavailable: /^ask again after `retry` ms with the cursor you have/,
};

test('docs/protocol.md: every code is in the table, with its message, its status and what to do', () => {
  const text = read('docs/protocol.md');
  const rows = [...text.matchAll(/^\| (-?\d) \| ([a-z ]+) \| .*\| (\d{3}) \| (.+) \|$/gm)];
  const known = Object.entries(ANSWERS) as [
    keyof typeof ANSWERS,
    { code: number; message: string; status: number },
  ][];
  expect(rows.map(([, ...cells]) => cells.slice(0, 3))).toEqual(
    known.map(([, { code, message, status }]) => [String(code), message, String(status)]),
  );
  for (const [row, [kind]] of known.entries()) expect(rows[row]?.[4], kind).toMatch(DO[kind]);
  expect(text).toContain(`| \`detail\` | with ${ANSWERS.badRequest.code}:`);
  expect(text).toContain(`The next poll would be answered ${ANSWERS.expired.code} `);
});

test.each(PAGES)('%s: codes and messages of answers belong together', file => {
  const messages = new Map<number, string>(
    Object.values(ANSWERS).map(({ code, message }) => [code, message]),
  );
  for (const [shown, code, message] of read(file).matchAll(/"code": ?(-\d+), ?"message": ?"([^"]+)"/g))
    expect(messages.get(Number(code)), shown).toBe(message);
  // rows as | `-3`, `-7` | `busy`, `unavailable` |
  for (const [row, codes = '', said = ''] of read(file).matchAll(/^\| (`-\d`(?:, `-\d`)*) \| (.*?)[;|]/gm))
    expect(said.match(/`[a-z ]+`/g), row).toEqual(
      codes.match(/-\d/g)?.map(code => `\`${messages.get(Number(code))}\``),
    );
});

describe('docs/protocol.md has what OpenAPI has', () => {
  const text = read('docs/protocol.md');
  const document: unknown = openapi({ version, hold: 25, guarded: false });
  const { paths } = document as { paths: Record<string, Operations> };
  const quoted = (cell = '') => [...cell.matchAll(/`(\w+)`/g)].map(([, name]) => name as string);
  /** The names in the first column of the table whose head begins with this word, from a heading on. */
  const rowsOf = (heading: string, head: string) => {
    const rest = text.slice(text.indexOf(`\n## ${heading}`));
    const [table = ''] = rest.slice(rest.indexOf(`\n| ${head} |`) + 1).split('\n\n');
    return table.split('\n').flatMap(row => quoted(row.split(' | ')[0]));
  };

  test('every parameter of a poll', () => {
    const names = paths['/status/get']?.get?.parameters?.map(({ name }) => name);
    expect(
      rowsOf('How do I poll?', 'parameter')
        .filter(name => name !== '_')
        .sort(),
    ).toEqual(names?.sort());
  });

  test('every field of the login calls', () => {
    // what `new` answers
    const fields = new Set(['proof']);
    for (const [, step, takes] of text.matchAll(/^\| `POST (\/login\/\w+)` \| ([^|]+) \|/gm)) {
      const { schema } = paths[step as string]?.post?.requestBody?.content['application/json'] ?? NOTHING;
      expect(quoted(takes), step).toEqual(Object.keys(schema.properties));
      for (const name of quoted(takes)) fields.add(name);
    }
    expect(rowsOf('Login by scan', 'field').sort()).toEqual([...fields].sort());
  });
});

describe('in a browser', () => {
  async function opened(html: string) {
    const started = await service();
    const browser = await launch();
    onTestFinished(() => browser.close());
    const page = await browser.newPage();
    await page.goto(await site(html.replaceAll('https://status.example.com', started.publicUrl)));
    const titled = (title: string) => until(async () => (await page.title()) === title);
    return { ...started, page, titled };
  }

  test("the README's tag hears what its curl lines set", async () => {
    const { titled, ...started } = await opened(block('README.md', 'html'));
    const [first, second] = block('README.md', 'sh', 'scanned').trim().split('\n') as [string, string];
    await held(started.internalUrl, 'login-4711', 1);
    await shell(first, started);
    await titled('scanned');
    await shell(second, started);
    await titled('final');
  });

  test('the one tag of client/README.md', async () => {
    const { internalUrl, titled } = await opened(block('client/README.md', 'html', 'data-onvalue'));
    await held(internalUrl, 'KEY', 1);
    await set(internalUrl, { key: 'KEY', value: { state: 'scanned' } });
    await titled('scanned');
  });

  test('the heart of a script-tag client in docs/protocol.md', async () => {
    const script = block('docs/protocol.md', 'js', 'createElement');
    const show = 'function show(value) { document.title += value; }';
    const { internalUrl, titled } = await opened(`<script>${show}${script}</script>`);
    for (const [number, title] of ['a', 'ab', 'abc'].entries()) {
      await set(internalUrl, { key: 'login-4711', value: title.at(-1), final: number === 2 });
      await titled(title);
    }
  });
});

describe('docs/protocol.md', () => {
  test('its client hears what was set before, between and last, and ends', async () => {
    // a hold below the default: a client that asks for 25 s would be refused
    const { publicUrl, internalUrl } = await service({ hold: 5 });
    const values = new Function(`${block('docs/protocol.md', 'js', 'function*')} return values;`)();
    for (const value of [1, 2]) await set(internalUrl, { key: 'a', value });
    const heard: unknown[] = [];
    for await (const value of values(publicUrl, 'a')) {
      heard.push(value);
      if (value === 2)
        for (const next of [3, 4]) await set(internalUrl, { key: 'a', value: next, final: next === 4 });
    }
    expect(heard).toEqual([1, 2, 3, 4]);
    await expect(values(publicUrl, 'no such key').next()).rejects.toThrow('key');
  });

  test('its answers are as they are written', () => {
    const shown = block('docs/protocol.md', 'js', 'app.heard').trim().split('\n');
    const text = '{"code":-1,"message":"timeout","cursor":"k3-2"}';
    expect(shown).toEqual([call('app.heard', text), assign('heard', text)]);
    const answer: Reply = JSON.parse(block('docs/protocol.md', 'json'));
    for (const field of Object.keys(answer).slice(2))
      expect(read('docs/protocol.md')).toContain(`\`${field}\``);
  });
});

test('docs/tickets.md: its line for OpenSSL makes a proof', () => {
  const env = { ...process.env, key: 'k', expires: '1900000000', secret: '0123456789abcdef0123456789abcdef' };
  const line = block('docs/tickets.md', 'sh', 'openssl dgst');
  const signature = execFileSync('bash', ['-c', line], { env, encoding: 'utf8' }).trim();
  expect(`1900000000.${signature}`).toBe(proofOf(env.secret, 'k', 1_900_000_000));
});

test('docs/operating.md: metrics, alerts and log lines are those of the code', async () => {
  const text = read('docs/operating.md');
  const { internalUrl } = await service();
  const scrape = await (await fetch(`${internalUrl}/metrics`)).text();
  const metrics = [...text.matchAll(/`((?:tagwait|nodejs|process)_\w+)`/g)].map(match => match[1] as string);
  expect(metrics.length).toBeGreaterThan(10);
  for (const name of metrics) expect(scrape).toContain(`# TYPE ${name} `);
  const own = [...scrape.matchAll(/^# TYPE (tagwait_\w+) /gm)].map(match => match[1] as string);
  expect(own.filter(name => !metrics.includes(name))).toEqual([]);
  const { groups } = parseYaml(read('deploy/alerts.yml')) as {
    groups: { rules: { alert: string; labels: { severity: string } }[] }[];
  };
  const rules = groups.flatMap(group => group.rules);
  const parts = [
    ...read('docs/alerts.md').matchAll(
      /^## (Tagwait\w+)\n\n.*Severity: `(\w+)`\.\n([\s\S]*?)(?=\n## |$(?![\s\S]))/gm,
    ),
  ];
  expect(parts.map(([, alert, severity]) => [alert, severity])).toEqual(
    rules.map(({ alert, labels }) => [alert, labels.severity]),
  );
  for (const [, alert, , part] of parts)
    expect(part, alert).toMatch(/\| users \|[\s\S]*\| look at \|[\s\S]*\| do \|/);
  const log = text.split('| `msg` | level | |')[1]?.split('\n\n')[0] ?? '';
  const sources = readdirSync(`${root}src`, { recursive: true, encoding: 'utf8' })
    .filter(name => name.endsWith('.ts'))
    .map(name => read(`src/${name}`))
    .join('\n');
  const written = [
    ...sources.matchAll(/\blog\??\.(debug|info|warn|error)\(\s*(?:\{[^}]*\},\s*)?'([^']+)'/g),
  ].map(([, level, message]) => `\`${message}\` | ${level} |`);
  expect(written.length).toBeGreaterThan(15);
  expect(written.filter(line => !log.includes(`\n| ${line}`))).toEqual([]);
  for (const [, message = '', level = ''] of log.matchAll(/^\| `(.+?)` \| (\w+) \|/gm)) {
    if (written.includes(`\`${message}\` | ${level} |`)) continue;
    const at = sources.indexOf(`'${message}'`);
    expect(at, message).toBeGreaterThan(0);
    expect(sources.slice(0, at).lastIndexOf(`.${level}(`), `${message} is ${level}`).toBeGreaterThan(
      at - 160,
    );
  }
});

test('docs/scaling.md: its table is what its figures make', () => {
  const text = read('docs/scaling.md');
  const number = (pattern: RegExp) => Number(pattern.exec(text)?.[1]?.replaceAll(',', ''));
  const polls = 100_000 / 25;
  expect(number(/\| polls \| ([\d,]+) a second/)).toBe(polls);
  expect(number(/([\d,]+) commands a second, 0\.007 a poll/)).toBe(Math.round(polls * 0.007));
  const [, watched, more] =
    /(\d+) bytes for a key that is watched, (\d+) more/.exec(read('docs/redis.md')) ?? [];
  expect(number(/([\d.]+) MB while watched/)).toBe((Number(watched) * 100_000) / 1e6);
  expect(number(/([\d.]+) MB more when/)).toBe((Number(more) * 100_000) / 1e6);
  const perConnection = Number(/16 \* 1024/.test(read('src/limits.ts')) && 16_384);
  expect(number(/([\d,]+) pages in a GiB/)).toBe(2 ** 30 / perConnection);
});

test('client/README.md: the version it shows is this one', () => {
  for (const [, shown] of read('client/README.md').matchAll(/client\/(\d+\.\d+\.\d+)\.js/g))
    expect(shown).toBe(version);
});

test('docs/how-we-test.md: every test that it names is there, and is run', () => {
  const rows = [...read('docs/how-we-test.md').matchAll(/^\| .+ \| `([\w/-]+)` › (.+) \|$/gm)];
  expect(rows.length).toBeGreaterThan(20);
  for (const [, file, name = ''] of rows) {
    const source = read(`test/${file}.test.ts`);
    const at = ["'", '"', '`']
      .map(quote => source.indexOf(`${quote}${name}${quote}`))
      .find(index => index > 0);
    expect(at, `${file} › ${name}`).toBeDefined();
    const call = source
      .slice(0, at)
      .match(/\b(?:test|describe)(?:\.\w+)*\(/g)
      ?.at(-1);
    expect(call, name).toBeDefined();
    expect(call, name).not.toMatch(/\.(?:skip|todo|fails)\b/);
  }
});

test('.github: the forms of issues are ones that GitHub reads', () => {
  for (const name of ['bug', 'feature']) {
    const form = parseYaml(read(`.github/ISSUE_TEMPLATE/${name}.yml`));
    expect(form).toMatchObject({ name: expect.any(String), description: expect.any(String) });
    const fields = form.body.filter(({ type }: { type: string }) => type !== 'markdown');
    for (const { type, id, attributes } of fields)
      expect([type, id, attributes.label]).toEqual([
        'textarea',
        expect.stringMatching(/^\w+$/),
        expect.any(String),
      ]);
  }
});

test('docs/library.md is made from the types; if not: npm run build && npm run docs:api', () => {
  expect(read('docs/library.md')).toBe(libraryReference());
});

test('npm run prose names words to avoid in pages, comments and names of tests, and passes code', () => {
  expect(faultsOf('a.md', 'Lest it be lost.\n```\nlest\n```\n`told`')).toEqual([
    expect.stringMatching(/^a.md:1: "Lest": write /),
  ]);
  const code = "const told = 1; // told\n/** whoever asks */\ntest('told', () => {});\n";
  expect(faultsOf('test/a.ts', code).map((fault: string) => fault.split(' ')[0])).toEqual([
    'test/a.ts:1:',
    'test/a.ts:2:',
    'test/a.ts:3:',
  ]);
  expect(faultsOf('src/a.ts', '// who asks')).toHaveLength(1);
  expect(faultsOf('a.md', 'For people who wait.')).toEqual([]);
});

describe('npm run docs', () => {
  const out = mkdtempSync(join(tmpdir(), 'tagwait-site-'));
  afterAll(() => rmSync(out, { recursive: true, force: true }));
  const { pages, copies } = makeSite(out);
  const html = (file: string) => readFileSync(join(out, file), 'utf8');

  test('every page is in the site, and every link leads to a page, a heading or a file of it', () => {
    for (const page of PAGES) expect(pages, page).toContain(fileOf(page));
    for (const copy of copies) expect(existsSync(join(out, copy)), copy).toBe(true);
    const ids = new Map(
      pages.map(file => [file, [...html(file).matchAll(/ id="([^"]+)"/g)].map(match => match[1])]),
    );
    for (const file of pages)
      for (const [, link = ''] of html(file).matchAll(/(?:href|src)="(?!https?:|data:)([^"]+)"/g)) {
        const [path = '', anchor] = link.split('#');
        expect(existsSync(join(out, path || file)), `${file}: ${link}`).toBe(true);
        if (anchor) expect(ids.get(path || file), `${file}: ${link}`).toContain(anchor);
      }
  });

  test('it opens from files, finds what is searched, and asks nothing of other hosts', async () => {
    const browser = await launch();
    onTestFinished(() => browser.close());
    const page = await browser.newPage();
    const asked: string[] = [];
    page.on('request', request => asked.push(new URL(request.url()).protocol));
    page.on('pageerror', error => expect.soft(String(error)).toBe('no error in the page'));
    await page.goto(pathToFileURL(join(out, 'index.html')).href);
    await page.fill('#search', 'sentinel password');
    await page.click('#results a');
    await page.waitForURL(/redis\.html#/);
    expect([...new Set(asked)].sort()).toEqual(expect.arrayContaining(['file:']));
    expect(asked.filter(protocol => !['file:', 'data:'].includes(protocol))).toEqual([]);
  });
});

/** It cannot be run here, and CONTRIBUTING.md says so: what it names is held against what is there. */
describe('.github/workflows/test.yml', () => {
  interface Store {
    name: string;
    from: string;
    version: string;
  }
  const job = parseYaml(read('.github/workflows/test.yml')).jobs.test as {
    strategy: { matrix: { node: string[]; store: Store[]; include: { node: string; store: Store }[] } };
    steps: { run?: string; uses?: string }[];
  };
  const { matrix } = job.strategy;

  test('tries every Node that package.json allows, and every store that docs/redis.md names', () => {
    expect(matrix.node).toEqual(['20', '22', '24', '26']);
    expect(JSON.parse(read('package.json')).engines.node).toBe('>=20');
    const stores = [...matrix.store, ...matrix.include.map(one => one.store)];
    const majors = stores.map(({ name, version: one }) => `${name} ${one.split('.').slice(0, 2).join('.')}`);
    expect(majors).toEqual(expect.arrayContaining(['redis 6.2', 'redis 7.0', 'redis 8.0', 'valkey 8.1']));
    expect(read('docs/redis.md')).toContain('Redis 6.2 or later, or Valkey');
    for (const { node } of matrix.include) expect(matrix.node).toContain(node);
  });

  test('its steps are ones that a shell and npm know', () => {
    const { scripts } = JSON.parse(read('package.json'));
    for (const { run, uses } of job.steps) {
      if (uses) expect(uses).toMatch(/^actions\/[\w-]+@v\d+$/);
      else execFileSync('bash', ['-n', '-c', (run as string).replace(/\$\{\{.*?\}\}/g, 'x')]);
      const [, script] = /^npm (?:run )?(check|test)$/.exec(run ?? '') ?? [];
      if (script) expect(scripts).toHaveProperty(script);
    }
    expect(job.steps.some(({ run }) => run === 'npm test')).toBe(true);
  });
});
