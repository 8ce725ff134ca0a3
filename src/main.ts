/** The main program, loaded by cli.ts: reads the settings, starts the service, handles signals and exit codes. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { CommanderError } from 'commander';
import { version } from './assets.js';
import { WrongStore } from './brokers/broker.js';
import { Misconfigured, readConfig } from './config.js';
import { originForPhones } from './demo/address.js';
import { readEnvironment } from './environment.js';
import { markInSteps } from './gc.js';
import { createLog, type Logger, newNodeId, throttleLog } from './log.js';
import { withoutBrackets } from './loopback.js';
import { output } from './output.js';
import type { Service, Siblings } from './service.js';
import type { Config } from './settings.js';
import { type Failure, OVERTIME, runWorker, STOP_SIGNALS } from './worker.js';
import { isWorker, settingsOfWorker, startWorkers, workersOf } from './workers.js';

const WORKER_TITLE = 'tagwait worker';

/** Writes the lines to stderr and exits. @param code 2 for invalid settings, 1 for any other failure */
function fail(lines: string[], code: number): never {
  for (const line of lines) output(2).write(`tagwait: ${line}\n`);
  process.exit(code);
}

function settings(): Config {
  try {
    return readConfig(process.argv.slice(2), process.env, version);
  } catch (error) {
    if (error instanceof Misconfigured) fail(error.faults, 2);
    if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? 0 : 2);
    throw error;
  }
}

/** A stopped worker keeps its ports when its primary is killed. Found on Linux only. */
function stoppedWorkers(): string {
  const read = (pid: string, file: string) => readFileSync(`/proc/${pid}/${file}`, 'utf8');
  const isOne = (pid: string) => {
    try {
      if (!read(pid, 'cmdline').startsWith(WORKER_TITLE)) return false;
      const [, parent] = /\) [Tt] (\d+)/.exec(read(pid, 'stat')) ?? [];
      return parent !== undefined && !read(parent, 'cmdline').startsWith('tagwait');
    } catch {
      return false;
    }
  };
  const pids = existsSync('/proc') ? readdirSync('/proc').filter(isOne) : [];
  return pids.length > 0 ? `; perhaps by a stopped worker of an earlier start: pid ${pids.join(', ')}` : '';
}

/** @param hostname of a failed lookup */
type ListenError = NodeJS.ErrnoException & { address?: string; port?: number; hostname?: string };

/** The setting of a port that cannot listen. */
function settingOf({ address, hostname, port }: ListenError, part: 'HOST' | 'PORT'): string {
  const { publicHost, publicPort, internalHost, internalPort } = config;
  const isAt = (host: string) => withoutBrackets(host) === (address ?? hostname);
  const byHost = port === undefined || publicPort === internalPort;
  // the internal port is the first to listen
  const isInternal = byHost ? isAt(internalHost) || !isAt(publicHost) : port === internalPort;
  return `TAGWAIT_${isInternal ? 'INTERNAL' : 'PUBLIC'}_${part}`;
}

/** Below it, Linux lets only root listen. */
const LOWEST_FREE_PORT = 1024;

function explain(error: ListenError): string {
  const { address = '', port = 0, hostname, path, message, syscall } = error;
  const where = `${address}:${port}`;
  switch (error.code) {
    case 'EADDRINUSE':
      return `${settingOf(error, 'PORT')}: port ${where} is taken by another program; give another, or 0 for a free one${stoppedWorkers()}`;
    case 'EACCES': {
      if (syscall !== 'listen') return `not allowed to read ${path}`;
      const help = port < LOWEST_FREE_PORT ? '; give a port from 1024 on, or CAP_NET_BIND_SERVICE' : '';
      return `${settingOf(error, 'PORT')}: not allowed to listen on ${where}${help}`;
    }
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `${settingOf(error, 'HOST')}: no address ${address || hostname} on this machine`;
    case 'ENOENT':
      return `cannot read ${path}; npm run build makes it`;
    default:
      return syscall === 'listen' ? `${settingOf(error, 'HOST')}: ${message}` : message;
  }
}

const failureOf = (error: Error): Failure => ({
  line: explain(error),
  code: error instanceof WrongStore ? 2 : 1,
});

function announce({ publicUrl, internalUrl }: Pick<Service, 'publicUrl' | 'internalUrl'>): void {
  output(1).write(`tagwait ${version} public ${publicUrl} internal ${internalUrl}\n`);
  if (config.demo)
    output(1).write(
      `\n  Open ${publicUrl}/demo and scan its code with a phone in the same network` +
        ` (it goes to ${originForPhones(publicUrl, config.publicHost)}).\n\n`,
    );
}

/** Loads the service, late: the primary and `--help` do not need it, and invalid settings are reported sooner. */
const loadService = () => import('./service.js');

/** Runs the service in this process. */
async function runSingle(): Promise<void> {
  let service: Service | undefined;
  let stopping = false;
  for (const signal of STOP_SIGNALS)
    process.on(signal, () => {
      // during the start; without a handler, process 1 of a container would not end
      if (!service) process.exit(0);
      if (stopping) process.exit(1);
      stopping = true;
      setTimeout(() => fail(['not stopped within the drain time'], 1), config.drain * 1000 + OVERTIME);
      service.stop().then(
        () => process.exit(0),
        error => fail([error.message], 1),
      );
    });
  try {
    const { startService } = await loadService();
    service = await startService(config, undefined, node);
  } catch (error) {
    const { line, code } = failureOf(error as Error);
    fail([line], code);
  }
  announce(service);
}

/** ioredis writes its warnings to the console: they become lines of the log, once a minute each. */
function logWarnings(log: Logger): void {
  const warn = throttleLog((warning, times) => log.warn({ warning, times }, 'a warning of a library'));
  console.warn = (text: unknown) => warn(String(text));
}

/** Logs variables that look like settings and have no effect. */
function warnOfVariables(log: Logger): void {
  for (const line of readEnvironment(process.env).warnings) log.warn(line);
}

// first of all, because the command line may contain secrets and every user of the machine can list it
process.title = isWorker ? WORKER_TITLE : 'tagwait';
// Output handles the errors of both streams, which would otherwise end the process
for (const fd of [1, 2] as const) output(fd);
const config = settings();
markInSteps();
const node = newNodeId();
const log = createLog(config.logLevel, workersOf(config) === 1 || isWorker ? node : `${node}-primary`);
logWarnings(log);
if (isWorker) {
  const { startService } = await loadService();
  const start = (siblings: Siblings) => startService(settingsOfWorker(config), siblings, node);
  await runWorker(start, failureOf, log);
} else if (workersOf(config) === 1) {
  warnOfVariables(log);
  await runSingle();
} else {
  warnOfVariables(log);
  startWorkers({
    config,
    log,
    explain: failureOf,
    ready: announce,
    ended: failure => (failure ? fail([failure.line], failure.code) : process.exit(0)),
  });
}
