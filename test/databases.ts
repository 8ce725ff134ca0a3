/** PostgreSQL and ZooKeeper of Debian, on free ports of this machine, for the brokers of examples/. Ended with the test. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { find } from './needs.js';
import type { Owner } from './owner.js';
import { freePort } from './redis.js';
import { until } from './wait.js';

const VERSIONS = '/usr/lib/postgresql';
const [version] = existsSync(VERSIONS) ? readdirSync(VERSIONS).sort().reverse() : [];
const bin = version && join(VERSIONS, version, 'bin');
/** PostgreSQL refuses to run as root: then it runs as this user. */
const nobody = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};
const JAR = '/usr/share/java/zookeeper.jar';

export const hasPostgres = bin !== undefined && existsSync(join(bin, 'postgres'));
export const hasZookeeper = existsSync(JAR) && find(['java']) !== undefined;

function folder(name: string, own: Owner): string {
  const path = mkdtempSync(join(tmpdir(), `tagwait-${name}-`));
  own(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Waits until a server answers. Ends it with the test. */
async function started(
  child: ChildProcess,
  signal: NodeJS.Signals,
  own: Owner,
  answers: () => Promise<boolean>,
) {
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', text => {
      output += text;
    });
  const ended = once(child, 'close');
  own(async () => {
    child.kill(signal);
    await ended;
  });
  await until(() => {
    if (child.exitCode !== null) throw new Error(`the server ended: ${output}`);
    return answers();
  });
}

/** A database cluster that does not sync to disk. @returns its URL */
export async function postgresServer(own: Owner): Promise<string> {
  const path = folder('postgres', own);
  const data = join(path, 'data');
  mkdirSync(data);
  if (nobody.uid !== undefined) for (const each of [path, data]) chownSync(each, nobody.uid, nobody.gid);
  const make = [
    '-D',
    data,
    '-U',
    'tagwait',
    '-A',
    'trust',
    '-N',
    '--no-instructions',
    '-E',
    'UTF8',
    '--locale=C',
  ];
  execFileSync(join(bin as string, 'initdb'), make, { ...nobody, stdio: 'pipe' });
  const port = await freePort();
  const settings = [
    'fsync=off',
    'synchronous_commit=off',
    'full_page_writes=off',
    `unix_socket_directories=${path}`,
  ];
  const args = ['-D', data, '-p', `${port}`, '-h', '127.0.0.1', ...settings.flatMap(text => ['-c', text])];
  // SIGQUIT: it has nothing to keep
  await started(spawn(join(bin as string, 'postgres'), args, nobody), 'SIGQUIT', own, async () => {
    const ready = join(bin as string, 'pg_isready');
    const asked = spawn(ready, ['-h', '127.0.0.1', '-p', `${port}`], { stdio: 'ignore' });
    return (await once(asked, 'exit'))[0] === 0;
  });
  return `postgres://tagwait@127.0.0.1:${port}/postgres`;
}

/** One server that does not sync to disk. @returns its address */
export async function zookeeperServer(own: Owner): Promise<string> {
  const path = folder('zookeeper', own);
  const port = await freePort();
  const config = [`dataDir=${path}`, `clientPort=${port}`, 'clientPortAddress=127.0.0.1', 'tickTime=2000'];
  const more = [
    'admin.enableServer=false',
    '4lw.commands.whitelist=ruok',
    'forceSync=no',
    'maxClientCnxns=0',
  ];
  writeFileSync(join(path, 'zoo.cfg'), [...config, ...more].join('\n'));
  const java = ['-Xmx128m', '-XX:TieredStopAtLevel=1', '-Dzookeeper.jmx.log4j.disable=true', '-cp', JAR];
  const main = 'org.apache.zookeeper.server.quorum.QuorumPeerMain';
  await started(spawn('java', [...java, main, join(path, 'zoo.cfg')]), 'SIGKILL', own, () => imok(port));
  return `127.0.0.1:${port}`;
}

/** Whether a ZooKeeper answers its command `ruok`. */
function imok(port: number): Promise<boolean> {
  return new Promise(resolve => {
    let text = '';
    const socket = connect(port, '127.0.0.1', () => socket.write('ruok'));
    socket.setTimeout(1000, () => socket.destroy());
    socket.on('data', data => {
      text += data;
    });
    socket.on('error', () => resolve(false));
    socket.on('close', () => resolve(text === 'imok'));
  });
}
