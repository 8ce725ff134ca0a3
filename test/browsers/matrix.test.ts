import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { installed, missing, runAll } from './matrix.js';
import { scenarios } from './scenarios.js';

// Every scenario in every engine that is here. Chromium must be; `test/browsers/install.sh` brings the others.
const engines = installed();
const results = new Map<string, Map<string, string | undefined>>();

beforeAll(async () => {
  for (const { engine, faults } of await runAll(engines)) results.set(engine.name, faults);
}, 400_000);

afterAll(() => {
  const left = missing().map(engine => engine.name);
  if (left.length > 0) console.log(`browser matrix: left out, because not installed: ${left.join(', ')}`);
});

test('Chromium is here', () => expect(engines.map(engine => engine.name)).toContain('Chromium'));

describe.each(engines.map(engine => engine.name))('%s', name => {
  test.each(scenarios.map(scenario => scenario.name))('%s', scenario => {
    expect(results.get(name)?.get(scenario)).toBeUndefined();
  });
});
