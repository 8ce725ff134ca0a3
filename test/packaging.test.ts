/** What is depended on, and what is handed out: no more than is meant. */
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'acorn';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { missing } from '../release/check.js';
import { notesOf } from '../release/notes.js';
import { blocksOf } from './blocks.js';
import { poll, set } from './harness.js';
import { program } from './program.js';
import { redisServer } from './redis.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (path: string) => readFileSync(root + path, 'utf8');
const manifest = JSON.parse(read('package.json'));

interface Locked {
  dev?: boolean;
  integrity?: string;
  resolved?: string;
  hasInstallScript?: boolean;
  /** a package of this repository */
  link?: boolean;
  os?: string[];
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}
const locked = Object.entries(JSON.parse(read('package-lock.json')).packages as Record<string, Locked>);

test('every dependency has its reason in SECURITY.md, and no other has', () => {
  const table = read('SECURITY.md').split('\n## Dependencies\n')[1]?.split('\n## ')[0] ?? '';
  const named = [...table.matchAll(/^\| `([^`]+)`/gm)].map(match => match[1]);
  expect(named.sort()).toEqual(Object.keys(manifest.dependencies).sort());
});

test('the lock holds every package of every system, with the hash of what is installed to run', () => {
  const paths = new Set(locked.map(([path]) => path));
  for (const [path, { dependencies, optionalDependencies }] of locked)
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      let folder = path;
      while (!paths.has(`${folder && `${folder}/`}node_modules/${name}`) && folder !== '')
        folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/node_modules/')));
      expect(paths, `${path} needs ${name}`).toContain(`${folder && `${folder}/`}node_modules/${name}`);
    }
  const ours = new Set(locked.flatMap(([path, { link, resolved = '' }]) => (link ? [path, resolved] : [])));
  expect([...ours]).toEqual(['node_modules/@tagwait/client', 'client/package']);
  for (const [path, { dev, integrity, resolved }] of locked.slice(1)) {
    if (ours.has(path)) continue;
    if (!dev) expect(integrity, path).toMatch(/^sha512-/);
    if (resolved) expect(resolved, path).toMatch(/^https:\/\/registry\.npmjs\.org\//);
  }
});

test('nothing runs when it is installed', () => {
  // fsevents, for development on a Mac: vite watches files with it
  const runs = locked.filter(([, { hasInstallScript, os }]) => hasInstallScript && !os?.includes('darwin'));
  expect(runs.map(([path]) => path)).toEqual([]);
  for (const script of ['preinstall', 'install', 'postinstall', 'prepare', 'prepublish'])
    expect(manifest.scripts).not.toHaveProperty(script);
});

test('npm publish stops while an address, the author or the date of the version is missing', () => {
  const complete = {
    version: '1.2.3',
    author: { name: 'Ada' },
    repository: { url: 'git+https://code.test/ada/tagwait.git' },
    homepage: 'https://code.test/ada/tagwait#readme',
    bugs: { url: 'https://code.test/ada/tagwait/issues' },
  };
  const log = '# Changelog\n\n## 1.2.3 (2026-12-01)\n\n- New.\n\n## 1.2.2 (2026-11-01)\n\n- Old.\n';
  expect(missing(complete, log)).toEqual([]);
  for (const field of ['repository', 'homepage', 'bugs', 'author'])
    expect(missing({ ...complete, [field]: undefined }, log), field).toEqual([
      expect.stringContaining(field),
    ]);
  expect(missing({ ...complete, homepage: 'https://example.com/tagwait' }, log)).toHaveLength(1);
  expect(missing({ ...complete, version: '1.2.4' }, log)).toEqual([expect.stringContaining('1.2.4')]);
  expect(missing(complete, log.replace('2026-12-01', 'unreleased'))).toHaveLength(1);
  expect(missing({ ...complete, bugs: undefined }, log, 'client/package/package.json')).toEqual([
    expect.stringMatching(/^client\/package\/package.json: bugs/),
  ]);
  expect(notesOf('1.2.3', log)).toBe('- New.');
  expect(notesOf('1.2', log)).toBeUndefined();
  expect(notesOf(manifest.version, read('CHANGELOG.md'))).toMatch(/^- /);
});

test.each(['.', 'client/package'])('what npm publish runs first in %s looks at both packages', folder => {
  const { scripts } = JSON.parse(read(`${folder}/package.json`));
  const [command = '', ...args] = scripts.prepublishOnly.split(' ');
  const { status, stderr } = spawnSync(command, args, { cwd: join(root, folder), encoding: 'utf8' });
  const complete = ['package.json', 'client/package/package.json'].every(
    path => missing(JSON.parse(read(path)), read('CHANGELOG.md'), path).length === 0,
  );
  expect(status).toBe(complete ? 0 : 1);
  for (const path of complete ? [] : ['package.json', 'client/package/package.json'])
    expect(stderr).toContain(`- ${path}: repository must be an https address`);
});

test('the package holds what is meant, and nothing else', () => {
  const output = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const [{ files }] = JSON.parse(output) as [{ files: { path: string }[] }];
  const paths = files.map(file => file.path);
  const meant =
    /^(dist\/.+\.(js|cjs|d\.ts|d\.cts)|docs\/([\w-]+\.md|demo\.png)|(deploy|examples)\/[\w./-]+|bench\/(README\.md|results\.(md|svg)|storm\.svg)|client\/README\.md|(client\/(many\/)?)?package\.json|[A-Z]+\.md|LICENSE)$/;
  expect(paths.filter(path => !meant.test(path))).toEqual([]);
  expect(paths).toEqual(
    expect.arrayContaining(['dist/cli.js', 'dist/index.js', 'dist/index.d.ts', 'LICENSE', 'README.md']),
  );
  // errors and the README point to them
  expect(paths.filter(path => /^docs\/.+\.md$/.test(path))).toHaveLength(
    readdirSync(join(root, 'docs')).filter(name => name.endsWith('.md')).length,
  );
  expect(
    paths.filter(path => /^test|\/test|\.env|\.map$/.test(path) && path !== 'docs/how-we-test.md'),
  ).toEqual([]);
  // a link in a packed page is dead when its file is not packed; an address of the project may not be known yet
  const dead = paths
    .filter(path => path.endsWith('.md'))
    .flatMap(page =>
      [...read(page).matchAll(/\]\((?!https?:|#)([^)#\s]+)[^)]*\)/g)].map(([, link = '']) => [
        page,
        new URL(link, `file:///${page}`).pathname.slice(1),
      ]),
    )
    .filter(
      ([, path = '']) =>
        !paths.some(packed => packed === path || (path.endsWith('/') && packed.startsWith(path))),
    );
  expect(dead).toEqual([]);
});

/** As its users have it: packed, and installed into an empty folder with its dependencies, and with nothing else of ours. */
describe('installed from the packed file', () => {
  let home: string;
  let packed: string;
  /** downloaded from npm while the other tests run */
  let old: Promise<{ stderr: string; code: unknown }>;
  const bin = (name: string) => join(root, 'node_modules/.bin', name);
  /** Runs a program there; its output, or what it wrote when it failed. */
  const there = (command: string, ...args: string[]) => {
    try {
      return execFileSync(command, args, { cwd: join(home, 'app'), encoding: 'utf8', stdio: 'pipe' });
    } catch (error) {
      const { stdout, stderr } = error as { stdout: string; stderr: string };
      throw new Error(`${command} ${args.join(' ')}: ${stdout}${stderr}`);
    }
  };
  const write = (name: string, text: string) => writeFileSync(join(home, 'app', name), text);

  beforeAll(() => {
    home = mkdtempSync(join(tmpdir(), 'tagwait-packed-'));
    mkdirSync(join(home, 'app'));
    execFileSync('npm', ['pack', '--ignore-scripts', '--pack-destination', home], {
      cwd: root,
      stdio: 'pipe',
    });
    packed = join(home, readdirSync(home).find(name => name.endsWith('.tgz')) as string);
    write('package.json', '{"private":true}');
    there('npm', 'install', '--prefer-offline', '--no-audit', '--no-fund', packed);
    const command = ['--package=node@18.20.8', '--', 'node', 'node_modules/tagwait/dist/cli.js'];
    old = new Promise(resolve =>
      execFile('npm', ['exec', '--yes', ...command], { cwd: join(home, 'app') }, (error, _, stderr) =>
        resolve({ stderr, code: error?.code }),
      ),
    );
  }, 300_000);
  afterAll(() => rmSync(home, { recursive: true, force: true }));

  test('npx tagwait says its version, and runs', async () => {
    expect(there('npx', 'tagwait', '--version').trim()).toBe(manifest.version);
    const env = { TAGWAIT_PUBLIC_PORT: '0', TAGWAIT_INTERNAL_PORT: '0', TAGWAIT_PUBLIC_HOST: '127.0.0.1' };
    const service = program('npx', ['tagwait'], { cwd: join(home, 'app'), env });
    const [, publicUrl = '', internalUrl = ''] = await service.said(/public (\S+) internal (\S+)/);
    await set(internalUrl, { key: 'a', value: 'scanned' });
    expect(await poll(publicUrl, { key: 'a' })).toMatchObject({ code: 0, data: 'scanned' });
    expect(await (await fetch(`${publicUrl}/client.js`)).text()).toContain('tagwait');
    expect(await (await fetch(internalUrl)).text()).toContain('<html');
  });

  test('an app that is bundled into one file needs nothing beside it: page script, Lua, version', async () => {
    write(
      'bundled.mjs',
      `import { createTagwait, version } from 'tagwait';
      const tagwait = await createTagwait({ redisUrl: process.env.REDIS, logLevel: 'warn' });
      await tagwait.set('a', 'bundled');
      const { entries } = await tagwait.peek('a');
      console.log(version, entries[0].value);
      await tagwait.close();`,
    );
    there(bin('rolldown'), 'bundled.mjs', '--platform', 'node', '-o', join(home, 'alone/app.mjs'));
    const { url } = await redisServer();
    const options = {
      cwd: join(home, 'alone'),
      env: { ...process.env, REDIS: url },
      encoding: 'utf8',
    } as const;
    const output = execFileSync(process.execPath, ['app.mjs'], options);
    expect(output.trim()).toBe(`${manifest.version} "bundled"`);
  }, 60_000);

  test('import and require give the same, of each entry', () => {
    write(
      'all.mjs',
      `import { createRequire } from 'node:module';
      import * as server from 'tagwait';
      import client, { watch } from 'tagwait/client';
      import * as subscription from 'tagwait/subscribe';
      import * as kit from 'tagwait/broker-kit';
      const require = createRequire(import.meta.url);
      const old = require('tagwait/client');
      console.log(JSON.stringify({
        server: Object.keys(server).sort(),
        required: process.features.require_module ? Object.keys(require('tagwait')).sort() : 'too old',
        one: !process.features.require_module || require('tagwait').Conflict === server.Conflict &&
          require('tagwait/subscribe').TagwaitError === subscription.TagwaitError &&
          require('tagwait/broker-kit').StoreBroker === kit.StoreBroker,
        kit: Object.keys(kit).sort(),
        subscription: Object.keys(subscription).sort(),
        client: [watch, client.watch, old.watch, old.default.watch].map(given => typeof given),
      }));`,
    );
    const { server, required, one, client, subscription, kit } = JSON.parse(
      there(process.execPath, 'all.mjs'),
    );
    expect(server).toEqual([
      ...[
        'Conflict',
        'LoginError',
        'Misconfigured',
        'Unavailable',
        'WrongStore',
        'createTagwait',
        'startService',
        'version',
      ],
    ]);
    if (required === 'too old') console.log('left out: require of tagwait, which needs Node 20.19 or later');
    else expect(required).toEqual(server);
    expect(one, 'an error of one is an error of the other').toBe(true);
    expect(client).toEqual(['function', 'function', 'function', 'function']);
    expect(subscription).toEqual(['TagwaitError', 'subscribe']);
    expect(kit).toEqual([
      ...['InOrder', 'KeyState', 'StoreBroker', 'Survey', 'decode', 'encode'],
      ...['nodesIn', 'outdated', 'waitersIn'],
    ]);
  });

  test('the contract for brokers is there, and finds what a broker does not keep', () => {
    write(
      'broker.mjs',
      `import { brokerContract, HISTORY } from 'tagwait/broker-contract';
      const silent = { lease: 1000, start: async () => {}, status: () => ({ up: true, reconnects: 0 }), close: async () => {},
        set: async () => ({ cursor: 'a-1', watched: false }), subscribe: () => ({ entries: [], lost: 0, cursor: '', final: false }),
        unsubscribe() {}, prove() {}, verify: async () => [], peek: async () => ({ entries: [], cursor: '', final: false, ttl: 0, waiters: {} }),
        nodes: async () => [] };
      const results = await Promise.allSettled(brokerContract(1).map(({ run }) => run(() => silent)));
      console.log(HISTORY, results.filter(({ status }) => status === 'rejected').length, results.length);`,
    );
    const [history, failed, all] = there(process.execPath, 'broker.mjs').trim().split(' ').map(Number);
    expect(history).toBe(4);
    expect(all).toBeGreaterThan(15);
    expect(failed, 'a broker that keeps nothing passes what asks for nothing').toBe((all as number) - 2);
  });

  /** What an app has that may have nothing, in every option; under `exactOptionalPropertyTypes` that is not to leave it out. */
  const WATCH = `
    type Nothing<Given> = Record<keyof NonNullable<Given>, undefined>;
    declare const all: Nothing<Parameters<typeof watch>[1]>;
    watch('k', all);
    // @ts-expect-error: no number
    watch('k', { ...all, hold: 'a' });
    declare const saved: {
      since: string | undefined; proof: string | undefined; hold: number | undefined; signal: AbortSignal | undefined };
    watch('k', saved);`;
  const USE = `
    async function use(): Promise<string> {
      const part: Tagwait = await createTagwait({ hold: 5, maxHeld: 10 });
      // @ts-expect-error: no such option
      await createTagwait({ hodl: 5 });
      const { cursor, watched }: Receipt = await part.set('k', { state: 'scanned' }, { expect: '' });
      const routes: Routes = part.publicRoutes;
      const watching = watch<{ state: string }>('k', { onvalue: (value, info) => [value.state, info.cursor] });
      watching.stop();
      for await (const { value, final } of subscribe<string>('k', { url: 'http://a', proof: 'p' })) if (final) return value;
      try { return cursor + watched + version + routes.length; }
      catch (error) { return error instanceof Conflict ? error.cursor : (error as Unavailable).message; }
    }
    void use;
    class Part extends StoreBroker {
      state: KeyState = new KeyState();
      async connect(signal: AbortSignal) { signal.throwIfAborted(); }
      async heartbeat() { await this.call(Promise.resolve(this.events.describe())); }
      async leave() {}
    }
    // @ts-expect-error: not an interval
    new Part({ name: 'Store', interval: '1 s' });
    ${WATCH}
    async function leaveOut(part: Tagwait, settings: Nothing<Parameters<typeof createTagwait>[0]>, how: Nothing<Parameters<Tagwait['set']>[2]>) {
      await createTagwait(settings);
      await part.set('k', 1, how);
      const { key } = await part.login.new({ visitor: 'v', ttl: saved.hold });
      await part.login.approve({ key, phone: 'p', user: 1, receipt: saved.hold });
      await part.login.redeem({ key, code: 'c', visitor: 'v', id: saved.since });
      subscribe(key, { url: 'http://a', since: saved.since, proof: saved.proof, signal: saved.signal });
      new Part({ name: 'Store', interval: 1000, timeout: saved.hold });
    }
    void leaveOut;`;
  const NAMES = 'Conflict, createTagwait, version, type Receipt, type Routes, type Tagwait, type Unavailable';
  const FILES: Record<string, string> = {
    'esm.mts': `import { ${NAMES} } from 'tagwait'; import { watch } from 'tagwait/client';
      import { subscribe } from 'tagwait/subscribe'; import { KeyState, StoreBroker } from 'tagwait/broker-kit';${USE}`,
    'common.cts': `import tagwait = require('tagwait'); import client = require('tagwait/client');
      import subscription = require('tagwait/subscribe'); const { subscribe } = subscription;
      import kit = require('tagwait/broker-kit'); const { KeyState, StoreBroker } = kit; type KeyState = kit.KeyState;
      const { Conflict, createTagwait, version } = tagwait; const { watch } = client;
      type Receipt = tagwait.Receipt; type Routes = tagwait.Routes; type Tagwait = tagwait.Tagwait;
      type Unavailable = tagwait.Unavailable;${USE}`,
  };
  const STRICT = [
    ...['--strict', '--exactOptionalPropertyTypes', '--noEmit'],
    ...['--skipLibCheck', 'false', '--target', 'es2022'],
  ];
  test.each([
    ['node16', 'node16', ['esm.mts', 'common.cts']],
    ['nodenext', 'nodenext', ['esm.mts', 'common.cts']],
    ['esnext', 'bundler', ['esm.mts']],
  ])('types hold, without those of Koa: module %s, resolution %s', (module, resolution, files) => {
    for (const file of files) write(file, FILES[file] as string);
    const types = ['--types', 'node', '--typeRoots', join(root, 'node_modules/@types')];
    there(bin('tsc'), ...STRICT, ...types, '--module', module, '--moduleResolution', resolution, ...files);
  });

  test('types of the page hold in the resolution of old, node10, of a TypeScript that has it', () => {
    const clients = { one: 'tagwait/client', many: 'tagwait/client/many' };
    for (const [name, from] of Object.entries(clients))
      write(`${name}.ts`, `import { watch } from '${from}';${WATCH}`);
    const tsc = createRequire(join(root, 'node_modules/@arethetypeswrong/core/package.json')).resolve(
      'typescript/lib/tsc.js',
    );
    const old = ['--module', 'commonjs', '--moduleResolution', 'node10'];
    there(process.execPath, tsc, ...STRICT, ...old, ...Object.keys(clients).map(name => `${name}.ts`));
  });

  test('docs/embedding.md mounts it in a Koa app', async () => {
    const example = blocksOf('docs/embedding.md').find(block => block.text.includes('new Koa()'));
    const listening = `listen(0, '127.0.0.1', function () {
      console.log('at http://127.0.0.1:' + this.address().port + ' ');
    })`;
    const here = example?.text.replace(/listen\(11000\)|listen\(11001, '127.0.0.1'\)/g, listening);
    write('app.mjs', `${here}\nconsole.log(cursor, watched);`);
    const app = program(process.execPath, ['app.mjs'], { cwd: join(home, 'app') });
    const [, publicUrl = '', internalUrl = ''] = await app.said(/at (\S+) [\s\S]*at (\S+) /);
    expect(await poll(publicUrl, { key: 'login-4711' })).toMatchObject({ data: { state: 'scanned' } });
    await set(internalUrl, { key: 'b', value: 1 });
    expect(await poll(publicUrl, { key: 'b' })).toMatchObject({ data: 1 });
    expect((await fetch(`${publicUrl}/status/set`, { method: 'POST' })).status).toBe(404);
  });

  test('publint and Are the Types Wrong find nothing', () => {
    there(bin('publint'), 'run', '--strict', packed);
    // node10: a resolution that knows no "exports", and that TypeScript has given up
    there(bin('attw'), '--profile', 'node16', packed);
  });

  test('tagwait/client is found by resolution that knows no "exports": TypeScript node10, webpack 4, browserify', () => {
    there(bin('attw'), '--entrypoints', './client', './client/many', '--profile', 'strict', packed);
    write(
      'old.cjs',
      `const { join } = require('node:path');
      for (const name of ['client', 'client/many']) {
        const folder = join(__dirname, 'node_modules/tagwait', name);
        const manifest = require(join(folder, 'package.json'));
        console.log(typeof require(join(folder, manifest.main)).watch, typeof require(folder).watch);
      }`,
    );
    expect(there(process.execPath, 'old.cjs').trim()).toBe('function function\nfunction function');
  });

  test('on Node 18, the real one, it says what it needs', async () => {
    const { stderr, code } = await old;
    expect(stderr).toBe('tagwait needs Node 20 or later; this is v18.20.8\n');
    expect(code).toBe(1);
  });
});

describe('@tagwait/client, installed from the packed file into an empty folder', () => {
  const own = JSON.parse(read('client/package/package.json'));
  let home: string;
  const run = (command: string, ...args: string[]) =>
    execFileSync(command, args, { cwd: home, encoding: 'utf8', stdio: 'pipe' });

  beforeAll(() => {
    home = mkdtempSync(join(tmpdir(), 'tagwait-client-'));
    const pack = ['pack', '--ignore-scripts', '--workspace', '@tagwait/client', '--pack-destination', home];
    execFileSync('npm', pack, { cwd: root, stdio: 'pipe' });
    writeFileSync(join(home, 'package.json'), '{"private":true}');
    const [packed = ''] = readdirSync(home).filter(name => name.endsWith('.tgz'));
    run('npm', 'install', '--offline', '--no-audit', '--no-fund', `./${packed}`);
  });
  afterAll(() => rmSync(home, { recursive: true, force: true }));
  const installed = (name: string) => readFileSync(join(home, 'node_modules/@tagwait/client', name), 'utf8');

  test('it is what tagwait/client is, of the same version, and depends on nothing', () => {
    expect(own.version).toBe(manifest.version);
    expect(readdirSync(join(home, 'node_modules'))).toEqual(['.package-lock.json', '@tagwait']);
    const modules = ['index', 'index-many'].flatMap(name =>
      ['js', 'cjs', 'd.ts', 'd.cts'].map(kind => `${name}.${kind}`),
    );
    for (const name of [...modules, 'tagwait.js']) expect(installed(name)).toBe(read(`dist/client/${name}`));
    expect(installed('tagwait-many.js')).toBe(read('dist/client/many.js'));
    for (const name of ['LICENSE', 'README.md', 'package.json']) expect(installed(name)).not.toBe('');
  });

  test('import and require work, and watching where there is no document does nothing', () => {
    writeFileSync(
      join(home, 'all.mjs'),
      `import { createRequire } from 'node:module';
      import client, { watch } from '@tagwait/client';
      import { watch as many } from '@tagwait/client/many';
      const old = createRequire(import.meta.url)('@tagwait/client');
      const watches = [watch, client.watch, old.watch, old.default.watch, many].map(one => one('key', {}));
      for (const watching of watches) watching.stop();
      console.log(await Promise.all(watches.map(watching => watching.ended)).then(String));`,
    );
    expect(run(process.execPath, 'all.mjs').trim()).toBe('stopped,stopped,stopped,stopped,stopped');
  });

  test('its syntax is that of 2009, and its types hold in every resolution, node10 too', () => {
    for (const name of ['index', 'index-many']) {
      parse(installed(`${name}.cjs`), { ecmaVersion: 5 });
      parse(installed(`${name}.js`).replace(/^export .*$/gm, ''), { ecmaVersion: 5 });
    }
    const [packed = ''] = readdirSync(home).filter(name => name.endsWith('.tgz'));
    run(join(root, 'node_modules/.bin/attw'), '--entrypoints', '.', './many', '--profile', 'strict', packed);
    run(join(root, 'node_modules/.bin/publint'), 'run', '--strict', packed);
  });
});
