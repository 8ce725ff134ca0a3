/** The text of `tagwait --help`: options in groups, examples, and where the documentation is. */
import { fileURLToPath } from 'node:url';
import { Command, Option } from 'commander';
import type { z } from 'zod';
import { envOf, flagOf, type Name, SETTINGS, type Setting } from './settings.js';

/** Every setting is in one group; a test compares. */
export const GROUPS: readonly (readonly [heading: string, names: readonly Name[]])[] = [
  ['Ports:', ['publicHost', 'publicPort', 'internalHost', 'internalPort']],
  [
    'Redis (without it, values are kept in the memory of one process):',
    [
      'redisUrl',
      'redisSentinels',
      'redisMaster',
      'redisSentinelPassword',
      'redisCluster',
      'redisNat',
      'redisPrefix',
      'redisWait',
    ],
  ],
  ['Values and holds:', ['ttl', 'hold', 'history', 'maxValueBytes']],
  ['Limits:', ['maxKeys', 'maxHeld', 'maxHeldPerKey', 'maxHeldPerIp', 'maxPollsPerIp']],
  ['Access:', ['trustProxy', 'origins', 'callbacks', 'setTokens', 'secret']],
  ['Process:', ['workers', 'drain', 'demo', 'logLevel']],
];

const README = fileURLToPath(new URL('../README.md', import.meta.url));

const EXAMPLES = `
Commands against a running service: tagwait set, watch, peek, new and check; tagwait set --help says more.

Each option can also be given as the environment variable in its description. Flags win.

Examples:
  tagwait --demo
  tagwait --redis-url redis://localhost:6379 --workers auto
  TAGWAIT_SECRET=… TAGWAIT_SET_TOKENS=… tagwait --internal-host 0.0.0.0

Documentation: ${README}`;

/** Text in parentheses after the help of an option: allowed values, default, variable. */
function detailsOf(name: Name): string {
  const { fallback, allowed } = SETTINGS[name] as Setting<z.ZodType>;
  return [allowed, fallback && `default ${fallback}`, envOf(name)].filter(Boolean).join('; ');
}

/** The command with an option for each setting. It throws a CommanderError instead of ending the process. */
export function commandOf(version: string): Command {
  const command = new Command('tagwait')
    .description(
      'Long polling for web pages: holds GET /status/get until a backend sets a value for the key, then answers with it.',
    )
    .version(version)
    .addHelpText('after', EXAMPLES)
    .allowUnknownOption()
    .allowExcessArguments()
    .exitOverride();
  for (const [heading, names] of GROUPS)
    for (const name of names)
      command.addOption(
        new Option(`${flagOf(name)} [value]`, `${SETTINGS[name].help} (${detailsOf(name)})`).helpGroup(
          heading,
        ),
      );
  return command;
}
