// Makes sure of what the tests need beyond npm: redis-server and Chromium, no more. Missing ones are installed
// on Debian and Ubuntu as root; elsewhere one line says what to install and how.
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

const needs = [
  { names: ['redis-server'], debian: 'redis-server', fedora: 'redis', brew: 'redis' },
  {
    names: ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'],
    debian: 'chromium',
    fedora: 'chromium',
    brew: '--cask chromium',
  },
];

/** The path of the first of these programs, or nothing. */
export function find(names) {
  for (const name of names)
    for (const folder of (process.env.PATH ?? '').split(delimiter)) {
      const path = join(folder, name);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {}
    }
}

export const chromium = () => process.env.CHROMIUM ?? find(needs[1].names);
/** The same engine without a browser's windows, where it is installed: a start costs a fifth. It has no hidden tabs. */
export const shell = () => process.env.CHROMIUM ?? find(['chromium-headless-shell']) ?? chromium();

const missing = () => needs.filter(need => !find(need.names) && !(need === needs[1] && process.env.CHROMIUM));
const run = (command, ...args) =>
  spawnSync(command, args, { stdio: 'inherit', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } })
    .status === 0;

if (process.argv[1] === import.meta.filename && missing().length > 0) {
  if (existsSync('/etc/debian_version') && process.getuid?.() === 0) {
    const packages = missing().map(need => need.debian);
    console.log(`tests need ${packages.join(' and ')}: installing with apt-get`);
    run('apt-get', 'update', '-qq');
    run('apt-get', 'install', '-y', '-qq', '--no-install-recommends', ...packages);
  }
  const left = missing();
  if (left.length > 0) {
    const names = system => left.map(need => need[system]).join(' ');
    console.error(
      `tests need ${left.map(need => need.names[0]).join(' and ')}. Debian, Ubuntu: sudo apt-get install ${names('debian')}; ` +
        `Fedora: sudo dnf install ${names('fedora')}; macOS: brew install ${names('brew')}; a Chromium elsewhere: CHROMIUM=/its/path.`,
    );
    process.exit(1);
  }
}
