/**
 * The commands against a running service: `tagwait set`, `watch`, `peek`, `new` and `check`. They find it by the settings of
 * the service, or by `--url`. Answers go to stdout, one JSON object a line, and errors to stderr.
 */
import { Command, CommanderError } from 'commander';
import { version } from './assets.js';
import { check } from './check.js';
import { Misconfigured, readConfig } from './config.js';
import { reachable, withoutBrackets } from './loopback.js';
import type { CommandContext } from './output.js';
import type { Config } from './settings.js';
import { fieldsOf } from './subscribe/reply.js';
import { isServiceUrl } from './subscribe/request.js';
import { subscribe } from './subscribe/subscribe.js';

/** A failure that is said in one line. */
class Failed extends Error {}

const COMMANDS = ['set', 'watch', 'peek', 'new', 'check'];
const SECONDS = 'seconds';
const SINGLE_DASH =
  'options begin with two dashes; give a key or value that begins with a dash after --, as in: tagwait peek -- -key';
const EXAMPLES = `
Settings are read from the environment variables of the service: its ports, and the first of TAGWAIT_SET_TOKENS.

Examples:
  tagwait set login-4711 '{"state":"scanned"}' --expect ''
  tagwait watch login-4711
  tagwait check --redis-url redis://localhost:6379`;

/**
 * Runs a command.
 * @param args from the name of the command on
 * @returns the exit code: 0, 1 for a failure, and 2 for an unknown command, and for invalid settings at `check`
 */
export async function runCommand(args: readonly string[], context: CommandContext): Promise<number> {
  // the word is not repeated: it may be a secret
  if (!COMMANDS.includes(args[0] ?? '')) {
    context.err(`tagwait: not a command; there are ${COMMANDS.join(', ')}, and options: tagwait --help`);
    return 2;
  }
  let code = 0;
  const program = programOf(context, given => {
    code = given;
  });
  try {
    await program.parseAsync(args, { from: 'user' });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    const lines = error instanceof Misconfigured ? error.faults : [(error as Error).message];
    for (const line of lines) context.err(`tagwait: ${line}`);
    return 1;
  }
}

/** @param exit is given the exit code of `check` */
function programOf(context: CommandContext, exit: (code: number) => void): Command {
  const program = new Command('tagwait')
    .exitOverride()
    .addHelpText('after', EXAMPLES)
    .configureOutput({
      writeOut: text => context.out(text.trimEnd()),
      writeErr: text => context.err(text.trimEnd()),
      outputError: (text, write) => write(`tagwait: ${mistakeOf(text)}`),
    });
  const command = (usage: string, description: string, port: 'internal' | 'public') =>
    program
      .command(usage)
      .description(description)
      .option('--url <url>', `the ${port} port of the service; default: as the settings say`)
      .addHelpText('after', EXAMPLES);
  command(
    'set <key> <value>',
    'Store a value: JSON, or text. Give a key or value that begins with a dash after --.',
    'internal',
  )
    .option('--final', 'the key ends here')
    .option('--ttl <seconds>', `${SECONDS} the key is kept`)
    .option('--expect <cursor>', 'store only if this is the newest cursor; empty for "nothing set yet"')
    .option('--id <text>', 'makes a retry safe')
    .option('--receipt <seconds>', `${SECONDS} to wait until a page has the value`)
    .action((key, value, { url, ...options }) => set(context, url, { key, value, ...options }));
  command('watch <key>', 'Print each value of a key, until the last one.', 'public')
    .option('--since <cursor>', 'cursor of the last value that was seen')
    .option('--proof <proof>', 'of the ticket')
    .action((key, { url, ...options }) => watch(context, key, url, options));
  command('peek <key>', 'Print what is stored under a key, and how many wait for it.', 'internal').action(
    (key, { url }) => ask(context, url, `/status/peek?${new URLSearchParams({ key })}`),
  );
  command('new', 'Make a ticket: a key, and the proof to watch it.', 'internal')
    .option('--ttl <seconds>', `${SECONDS} the proof is valid`)
    .action(({ url, ttl }) => ask(context, url, '/status/new', ttl === undefined ? {} : { ttl }));
  program
    .command('check')
    .description(
      'Check the settings, given as for the service, and the store. Exit code 2: settings, 1: store.',
    )
    .addHelpText('after', EXAMPLES)
    .allowUnknownOption()
    .allowExcessArguments()
    .action(async (_, { args }: Command) => exit(await check(args, context)));
  return program;
}

/** What is wrong with the arguments, in one line. Does not repeat what may be a value. @param text of Commander */
function mistakeOf(text: string): string {
  if (/unknown option '-[^-]/.test(text)) return SINGLE_DASH;
  const withValue = /unknown option '(--[\w-]+)=/.exec(text)?.[1];
  if (withValue) return withValue === '--final' ? '--final: takes no value' : `unknown option '${withValue}'`;
  return text.replace('error: ', '').trimEnd().replaceAll('\n', ' ');
}

/** Runs the command of this process, and ends it. */
export async function main(): Promise<void> {
  process.title = 'tagwait';
  // the reader of a pipe may leave, as `head` does
  process.stdout.on('error', ({ code, message }: NodeJS.ErrnoException) => {
    if (code !== 'EPIPE') process.stderr.write(`tagwait: stdout: ${message}\n`);
    process.exit(1);
  });
  const code = await runCommand(process.argv.slice(2), {
    env: process.env,
    out: line => void process.stdout.write(`${line}\n`),
    err: line => void process.stderr.write(`${line}\n`),
  });
  process.exitCode = code;
}

/** The fields go as a form, so that the service decides what of a value is JSON and what is text. */
const set = (context: CommandContext, url: string | undefined, fields: Record<string, string | true>) =>
  ask(context, url, '/status/set', fields);

/** Makes one request to the internal port, and prints its answer. @param fields of a form; undefined: a GET */
async function ask(
  context: CommandContext,
  url: string | undefined,
  path: string,
  fields?: Record<string, string | true>,
): Promise<void> {
  const config = readConfig([], context.env, version);
  const target = `${baseOf('internal', url, config)}${path}`;
  const token = config.setTokens?.[0];
  const headers: Record<string, string> = token ? { Authorization: `Bearer ${token}` } : {};
  const body = new URLSearchParams(
    Object.entries(fields ?? {}).map(([name, value]): [string, string] => [name, String(value)]),
  );
  // not followed: a redirect makes a GET of a POST, and may lead the token elsewhere
  const redirect = 'manual';
  const response = await reach(target, { headers, redirect, ...(fields && { method: 'POST', body }) });
  context.out(await answerOf(response, target));
}

/** @returns the answer's text @throws {Failed} it is a refusal, or not an answer of tagwait */
async function answerOf(response: Response, target: string): Promise<string> {
  const { ok, status, headers } = response;
  const text = await response.text();
  const { code, message, ...more } = fieldsOf(text);
  if (ok && code === 0) return text;
  if (!ok && typeof code === 'number' && typeof message === 'string')
    throw new Failed(refusalOf(`${status} ${message}`, more));
  const { origin } = new URL(target);
  const location = headers.get('location');
  const elsewhere = location !== null && URL.canParse(location, target);
  const answer = elsewhere
    ? `${status} redirects to ${new URL(location, target).origin}`
    : `${status} with ${headers.get('content-type') ?? 'no content type'}`;
  throw new Failed(`no tagwait at ${origin}: ${answer}`);
}

/** @throws {Failed} when there is no answer */
const reach = (target: string, options: RequestInit = {}) =>
  fetch(target, options).catch(error => {
    throw new Failed(`no answer from ${new URL(target).origin}: ${reasonOf(error)}`);
  });

async function watch(
  context: CommandContext,
  key: string,
  url: string | undefined,
  options: { since?: string; proof?: string },
): Promise<void> {
  const base = baseOf('public', url, readConfig([], context.env, version));
  // later it waits for a service that is away; at the start that is more often a wrong URL
  await (await reach(`${base}/healthz`)).body?.cancel();
  const updates = subscribe(key, { url: base, ...options });
  for (;;) {
    const { done, value } = await updates.next();
    if (!done) context.out(JSON.stringify(value));
    else if (value === 'final') return;
    else throw new Failed('expired: the key or its ticket has ended');
  }
}

/**
 * The URL of a port of the service, without a slash at its end.
 * @param url as `--url` has it @throws {Failed} it is no URL, or the settings leave the port open
 */
function baseOf(port: 'internal' | 'public', url: string | undefined, config: Config): string {
  if (url !== undefined) {
    // the URL is not repeated: it may contain a password
    if (!isServiceUrl(url))
      throw new Failed(`--url: give the URL of the ${port} port, with http:// or https://`);
    const { origin, pathname, username, password } = new URL(url);
    if (/[?#]/.test(url) || username !== '' || password !== '')
      throw new Failed(`--url: give the URL of the ${port} port, without a user, a password, ? and #`);
    return `${origin}${pathname}`.replace(/\/$/, '');
  }
  const host = port === 'internal' ? config.internalHost : config.publicHost;
  const number = port === 'internal' ? config.internalPort : config.publicPort;
  if (number === 0) throw new Failed(`the ${port} port is 0, a free one: give --url`);
  return `http://${reachable(withoutBrackets(host))}:${number}`;
}

const reasonOf = ({ message, cause }: Error & { cause?: NodeJS.ErrnoException }) =>
  cause?.code ?? cause?.message ?? message;

/** One line for an answer that is no success. */
const refusalOf = (what: string, { detail, cursor }: Record<string, unknown>) =>
  [what, detail, cursor && `the newest cursor is ${cursor}`].filter(Boolean).join(': ');
