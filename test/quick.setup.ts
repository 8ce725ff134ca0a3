/** Of the quick tests none starts a process, whatever the imports of its file say. */
import childProcess from 'node:child_process';
import { syncBuiltinESMExports } from 'node:module';

for (const name of ['spawn', 'spawnSync', 'exec', 'execSync', 'execFile', 'execFileSync', 'fork'] as const)
  childProcess[name] = (() => {
    throw new Error(
      `a quick test calls ${name}: a test that starts a process imports what does it by its own imports`,
    );
  }) as never;
syncBuiltinESMExports();
