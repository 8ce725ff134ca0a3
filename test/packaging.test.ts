/** What is depended on, and what is handed out: no more than is meant. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (path: string) => readFileSync(root + path, 'utf8');
const manifest = JSON.parse(read('package.json'));

interface Locked {
  dev?: boolean;
  integrity?: string;
  resolved?: string;
  hasInstallScript?: boolean;
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
  for (const [path, { dev, integrity, resolved }] of locked.slice(1)) {
    if (!dev) expect(integrity, path).toMatch(/^sha512-/);
    if (resolved) expect(resolved, path).toMatch(/^https:\/\/registry\.npmjs\.org\//);
  }
});

test('nothing runs when it is installed', () => {
  // fsevents, for who develops on a Mac: vite watches files with it
  const runs = locked.filter(([, { hasInstallScript, os }]) => hasInstallScript && !os?.includes('darwin'));
  expect(runs.map(([path]) => path)).toEqual([]);
  for (const script of ['preinstall', 'install', 'postinstall', 'prepare', 'prepublish'])
    expect(manifest.scripts).not.toHaveProperty(script);
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
    /^(dist\/.+\.(js|cjs|d\.ts|d\.cts)|src\/brokers\/\w+\.lua|src\/(demo|live)\/\w+\.html|package\.json|README\.md|CHANGELOG\.md|LICENSE)$/;
  expect(paths.filter(path => !meant.test(path))).toEqual([]);
  expect(paths).toEqual(
    expect.arrayContaining(['dist/cli.js', 'dist/index.js', 'dist/index.d.ts', 'LICENSE', 'README.md']),
  );
  expect(paths.filter(path => /test|\.env|\.map$/.test(path))).toEqual([]);
});
