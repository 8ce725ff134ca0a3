/** Settings: what is allowed is what the text says, and a mistyped name is never passed over in silence. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { libraryConfigOf, Misconfigured, readConfig, weaknesses } from '../src/config.js';
import { readEnvironment } from '../src/environment.js';
import { GROUPS } from '../src/help.js';
import { Origins } from '../src/routes/origins.js';
import { envOf, flagOf, NAMES, type Name, SETTINGS, type Setting } from '../src/settings.js';
import { run, service, spawned, until } from './harness.js';

const of = (name: Name) => SETTINGS[name] as Setting<never>;
const read = (env: Record<string, string>, argv: string[] = []) => readConfig(argv, env, '1.0.0');
/** The lines of a refused configuration; none: it is accepted. */
function faultsOf(env: Record<string, string>, argv: string[] = []): string[] {
  try {
    read(env, argv);
    return [];
  } catch (error) {
    if (!(error instanceof Misconfigured)) throw error;
    return error.faults;
  }
}
/** Those that are about one setting alone. */
const faultsAbout = (name: Name, text: string) =>
  faultsOf({ [envOf(name)]: text }).filter(line => / is not allowed; give |: needs a value/.test(line));

test('--help has every setting in one group', () => {
  expect(GROUPS.flatMap(([, names]) => names).toSorted()).toEqual(NAMES.toSorted());
});

describe('the text says the bounds', () => {
  const ranges = NAMES.flatMap(name => {
    const [, min, max, unit] =
      /^([\d.]+)(?: \(no limit\))? to (\d+)( seconds| or auto|)$/.exec(of(name).allowed) ?? [];
    return min ? [[name, Number(min), Number(max), unit === ' seconds'] as const] : [];
  });

  test('of nearly all settings that are numbers', () => expect(ranges.length).toBeGreaterThanOrEqual(15));

  test.each(ranges)('%s: from %d to %d, and nothing beside', (name, min, max, fractions) => {
    const inside = fractions ? fc.double({ min, max, noNaN: true }) : fc.integer({ min, max });
    fc.assert(
      fc.property(fc.oneof(inside, fc.constantFrom(min, max)), number => {
        expect(faultsAbout(name, String(number))).toEqual([]);
      }),
    );
    const outside = fc.oneof(
      fc.double({ max: min, maxExcluded: true, noNaN: true }),
      fc.double({ min: max, minExcluded: true, noNaN: true }),
    );
    const noNumber = fc.constantFrom('0x10', '1_0', '1 0', '10s', '--1', '1e', 'Infinity', 'NaN', ' ', '１');
    fc.assert(
      fc.property(fc.oneof(outside.filter(number => number !== 0).map(String), noNumber), text => {
        expect(faultsAbout(name, text)).toEqual([
          `${envOf(name)}: ${JSON.stringify(text)} is not allowed; give ${of(name).allowed}`,
        ]);
      }),
    );
    if (!fractions) expect(faultsAbout(name, String(min + 0.5))).toHaveLength(1);
  });

  test.each(NAMES)('%s: any text is taken, or refused in words that say what is allowed', name => {
    const { fallback, allowed, secret } = of(name);
    if (fallback !== undefined) expect(faultsAbout(name, fallback)).toEqual([]);
    for (const choice of /^[\w*]+(?:, [\w*]+)* or [\w*]+$/.test(allowed) ? allowed.split(/, | or /) : [])
      expect(faultsAbout(name, choice), choice).toEqual([]);
    fc.assert(
      fc.property(fc.string({ minLength: 1, unit: 'binary' }), text => {
        const shown = secret ? 'this value' : JSON.stringify(text);
        for (const line of faultsAbout(name, text))
          expect(line).toBe(`${envOf(name)}: ${shown} is not allowed; give ${allowed}`);
      }),
    );
  });
});

describe('names', () => {
  test.each([
    ['TAGWAIT_REDIS_URI', 'TAGWAIT_REDIS_URL'],
    ['TAGWAIT_SECRETS', 'TAGWAIT_SECRET'],
    ['TAGWAIT_SECERT', 'TAGWAIT_SECRET'],
    ['TAGWAIT_SETTOKEN', 'TAGWAIT_SET_TOKENS'],
    ['TAGWAIT_secret', 'TAGWAIT_SECRET'],
    ['tagwait_secret', 'TAGWAIT_SECRET'],
    ['TAGWAT_SECRET', 'TAGWAIT_SECRET'],
    ['TAG_WAIT_HOLD', 'TAGWAIT_HOLD'],
    ['_TAGWAIT_SET_TOKENS', 'TAGWAIT_SET_TOKENS'],
  ])('%s is a fault that names %s, and does not repeat the value', (name, meant) => {
    expect(faultsOf({ [name]: 'hunter2' })).toEqual([`${name}: not a setting; did you mean ${meant}?`]);
  });

  test('of every setting, one or two letters off are a fault that names one that near', () => {
    const letter = fc.constantFrom(...'ABCDEFGHIJKLMNOPQRSTUVWXYZ_');
    const edit = fc.record({ at: fc.nat(), letter, kind: fc.constantFrom('add', 'drop', 'change', 'swap') });
    const known = new Set(NAMES.map(envOf));
    fc.assert(
      fc.property(
        fc.constantFrom(...NAMES),
        fc.array(edit, { minLength: 1, maxLength: 2 }),
        (name, edits) => {
          let text = envOf(name).slice('TAGWAIT_'.length);
          for (const { at: where, letter, kind } of edits) {
            const at = where % text.length;
            const after = {
              add: text.slice(at),
              drop: text.slice(at + 1),
              change: text.slice(at + 1),
              swap: text.slice(at + 2),
            };
            const put = { add: letter, drop: '', change: letter, swap: (text[at + 1] ?? '') + text[at] };
            text = text.slice(0, at) + put[kind] + after[kind];
          }
          const typed = `TAGWAIT_${text}`;
          // two letters that were swapped, with a third one in between, are three changes
          fc.pre(!known.has(typed) && (edits.length === 1 || edits.every(({ kind }) => kind !== 'swap')));
          expect(faultsOf({ [typed]: '1' })).toEqual([
            expect.stringMatching(/^\w+: not a setting; (did you mean|there (is|are)) TAGWAIT_[\w ]+\??$/),
          ]);
        },
      ),
    );
  });

  test.each([
    ['HOST', 'there are TAGWAIT_PUBLIC_HOST and TAGWAIT_INTERNAL_HOST'],
    ['PORT', 'there are TAGWAIT_PUBLIC_PORT and TAGWAIT_INTERNAL_PORT'],
    ['URL', 'there is TAGWAIT_REDIS_URL'],
    ['TOKENS', 'there is TAGWAIT_SET_TOKENS'],
  ])('TAGWAIT_%s is a part of longer names, which are named', (name, there) => {
    const { faults, warnings } = readEnvironment({ [`TAGWAIT_${name}`]: 'hunter2' });
    expect([...faults, ...warnings]).toEqual([
      expect.stringMatching(`^TAGWAIT_${name}: not a setting.*; ${there}$`),
    ]);
  });

  test('any other is a warning in the log, and the service runs', async () => {
    const { output } = await spawned({ TAGWAIT_IMAGE: 'hunter2', TAGWAIT_REDIS_PORT: '6379', SECRET: 'a' });
    expect(output.stderr).toContain('"msg":"TAGWAIT_IMAGE: not a setting, and has no effect');
    expect(output.stderr).toContain('"msg":"TAGWAIT_REDIS_PORT: not a setting, and has no effect');
    expect(output.stderr).not.toContain('hunter2');
    const lines = output.stderr
      .trim()
      .split('\n')
      .map(line => JSON.parse(line) as { node: string });
    expect(lines.length).toBeGreaterThan(3);
    expect(new Set(lines.map(({ node }) => node)).size, 'all lines name one node').toBe(1);
  });

  test.each<[string, string[], string[]]>([
    ['its value', ['--port', 'hunter2'], ['--port']],
    ['the values of two', ['--port', '1', '--bogus', '2'], ['--port', '--bogus']],
    ['a flag that there is', ['--port', '--hold', '1'], ['--port']],
    ['a word too many', ['--port=1', '2'], ['--port', 'an argument']],
    ['two words too many', ['1', '2'], ['an argument', 'an argument']],
  ])('an option that there is not is one fault, with %s', (_, words, named) => {
    expect(faultsOf({}, words)).toEqual(
      named.map(name => `${name}: not an option; tagwait --help lists them`),
    );
  });

  test.each([
    ['--hodl', '--hold'],
    ['--secert=hunter2', '--secret'],
    ['--publicport', '--public-port'],
    ['--hepl', '--help'],
  ])('%s is a fault that names %s, and does not repeat the value', (word, meant) => {
    const [flag] = word.split('=');
    expect(faultsOf({}, [word])).toEqual([`${flag}: not an option; did you mean ${meant}?`]);
  });

  test('in the library too: an option that is nearly one names it', () => {
    expect(() => libraryConfigOf({ hodl: 1 } as never)).toThrow('hodl: not an option; did you mean hold?');
    expect(() => libraryConfigOf({ bogus: 1 } as never)).toThrow(
      /^bogus: not an option; there are hold, |, hold, /,
    );
  });

  /** As the kubelet makes them for the Services of deploy/kubernetes/tagwait.yaml. */
  const linksOf = (name: string, port: number, portName: string) => ({
    [`${name}_SERVICE_HOST`]: '10.96.0.7',
    [`${name}_SERVICE_PORT`]: String(port),
    [`${name}_SERVICE_PORT_${portName}`]: String(port),
    [`${name}_PORT`]: `tcp://10.96.0.7:${port}`,
    [`${name}_PORT_${port}_TCP`]: `tcp://10.96.0.7:${port}`,
    [`${name}_PORT_${port}_TCP_PROTO`]: 'tcp',
    [`${name}_PORT_${port}_TCP_PORT`]: String(port),
    [`${name}_PORT_${port}_TCP_ADDR`]: '10.96.0.7',
  });

  test('variables that Kubernetes makes for a Service are ignored; one with the name of a setting is a warning', async () => {
    const env = {
      ...linksOf('TAGWAIT', 80, 'PUBLIC'),
      ...linksOf('TAGWAIT_INTERNAL', 11001, 'INTERNAL'),
      ...linksOf('TAGWAIT_REDIS', 6379, 'REDIS'),
    };
    expect(read(env).internalPort).toBe(11001);
    expect(readEnvironment(env)).toEqual({
      settings: {},
      faults: [],
      warnings: [
        expect.stringMatching(/^TAGWAIT_INTERNAL_PORT: made by Kubernetes.*enableServiceLinks: false$/),
      ],
    });
    expect(read({ ...env, TAGWAIT_PUBLIC_PORT: '8080' }).publicPort).toBe(8080);
    const { output } = run(['--public-port', '0', '--internal-port', '0'], env);
    await until(() => output.stdout !== '');
    expect(output.stderr).toContain('"msg":"TAGWAIT_INTERNAL_PORT: made by Kubernetes');
  });

  test.each(['secret', 'setTokens'] as const)(
    'an empty %s is a fault, from a variable, a flag and an object',
    name => {
      const line = `needs a value; give ${of(name).allowed}`;
      expect(faultsOf({ [envOf(name)]: '' })).toEqual([`${envOf(name)}: ${line}`]);
      expect(faultsOf({}, [flagOf(name), ''])).toEqual([`${flagOf(name)}: ${line}`]);
      expect(() => libraryConfigOf({ [name]: [] })).toThrow(`${name}: ${line}`);
      expect(() => libraryConfigOf({ [name]: null } as never)).toThrow('this value is not allowed');
    },
  );

  test.each(['secret', 'setTokens'] as const)(
    'a %s that is not ASCII, or has a space, is told what may be',
    name => {
      for (const text of ['é', 'a b', '\u00a0'])
        expect(faultsOf({ [envOf(name)]: text }).join()).toContain(
          'printable ASCII characters without spaces',
        );
      expect(faultsOf({ [envOf(name)]: '!~' })).toEqual([]);
    },
  );

  test('any other empty variable is one that is not set', () => {
    const others = NAMES.filter(name => name !== 'secret' && name !== 'setTokens');
    expect(read(Object.fromEntries(others.map(name => [envOf(name), ''])))).toEqual(read({}));
  });
});

describe('together', () => {
  test.each([
    [{ TAGWAIT_PUBLIC_PORT: '11001' }, 11001],
    [{ TAGWAIT_PUBLIC_PORT: '80', TAGWAIT_INTERNAL_PORT: '80', TAGWAIT_PUBLIC_HOST: '::' }, 80],
    [{ TAGWAIT_PUBLIC_PORT: '80', TAGWAIT_INTERNAL_PORT: '80', TAGWAIT_PUBLIC_HOST: '127.0.0.1' }, 80],
  ])('equal ports, %j: a fault before the second one fails to listen', async (env, port) => {
    const child = run([], env);
    expect(await child.ended).toBe(2);
    expect(child.output.stderr).toBe(
      `tagwait: TAGWAIT_PUBLIC_PORT and TAGWAIT_INTERNAL_PORT: both are ${port}; give two, or 0 for a free one\n`,
    );
  });

  test.each([
    ['localhost', '127.0.0.1'],
    ['127.0.0.1', 'LOCALHOST'],
    ['localhost', '::1'],
    ['[::1]', '::1'],
    ['::ffff:127.0.0.1', '127.0.0.1'],
    ['[::]', '127.0.0.1'],
  ])('equal ports on %s and %s: a fault', (publicHost, internalHost) => {
    const ports = { TAGWAIT_PUBLIC_PORT: '80', TAGWAIT_INTERNAL_PORT: '80' };
    const hosts = { TAGWAIT_PUBLIC_HOST: publicHost, TAGWAIT_INTERNAL_HOST: internalHost };
    expect(faultsOf({ ...ports, ...hosts })).toEqual([expect.stringMatching(/both are 80; give two/)]);
  });

  test('equal ports on two addresses, and two free ones, are allowed', () => {
    const two = { TAGWAIT_PUBLIC_HOST: '192.0.2.1', TAGWAIT_PUBLIC_PORT: '80', TAGWAIT_INTERNAL_PORT: '80' };
    expect(faultsOf(two)).toEqual([]);
    expect(faultsOf({ ...two, TAGWAIT_PUBLIC_HOST: '::1' })).toEqual([]);
    expect(faultsOf({ TAGWAIT_PUBLIC_PORT: '0', TAGWAIT_INTERNAL_PORT: '0' })).toEqual([]);
  });

  test('each fault names the settings as they were given: flags, variables, or options of the library', () => {
    expect(faultsOf({ TAGWAIT_REDIS_MASTER: 'm' }, ['--redis-wait', '1', '--workers', '2'])).toEqual([
      'TAGWAIT_REDIS_SENTINELS and TAGWAIT_REDIS_MASTER: one needs the other',
      '--redis-wait: needs a Redis; give TAGWAIT_REDIS_URL, or 0',
      '--workers: more than one process needs Redis; give TAGWAIT_REDIS_URL, or 1',
    ]);
    expect(() => libraryConfigOf({ redisWait: 1 })).toThrow('redisWait: needs a Redis; give redisUrl, or 0');
  });

  test.each(['publicHost', 'publicPort', 'internalHost', 'internalPort', 'workers', 'demo'] as const)(
    '%s does not apply in the library, which says so',
    name => {
      expect(() => libraryConfigOf({ [name]: of(name).fallback } as never)).toThrow(
        `${name}: does not apply in the library`,
      );
    },
  );
});

describe('secrets from files', () => {
  const SECRET = 's'.repeat(32);

  test('one line end behind a setting is dropped; inner and other space of a password stays', () => {
    const { redisUrl, secret, redisSentinelPassword, hold } = read({
      TAGWAIT_SECRET: `${SECRET}\n`,
      TAGWAIT_REDIS_SENTINELS: 'a:1\r\n',
      TAGWAIT_REDIS_MASTER: 'm\n',
      TAGWAIT_REDIS_SENTINEL_PASSWORD: ' two  words \r\n',
      TAGWAIT_HOLD: '10\n',
    });
    expect({ redisUrl, secret, redisSentinelPassword, hold }).toEqual({
      redisUrl: undefined,
      secret: [SECRET],
      redisSentinelPassword: ' two  words ',
      hold: 10,
    });
    expect(read({ TAGWAIT_REDIS_URL: 'redis://a\n' }).redisUrl).toBe('redis://a');
  });

  const quoted = (setting: string) => `${setting}: the quotes around it are part of it; env files keep them`;
  test.each<[Record<string, string>, string[]]>([
    [{ TAGWAIT_SECRET: `"${SECRET}"` }, [quoted('TAGWAIT_SECRET')]],
    [{ TAGWAIT_SET_TOKENS: `${SECRET},'${SECRET}'` }, [quoted('TAGWAIT_SET_TOKENS')]],
    [{ TAGWAIT_SET_TOKENS: `"${SECRET},${SECRET}"` }, [quoted('TAGWAIT_SET_TOKENS')]],
    [{ TAGWAIT_SECRET: `"${SECRET}'` }, []],
    [{ TAGWAIT_SECRET: `${SECRET}"` }, []],
  ])('quotes around %j: a warning', (env, warnings) => {
    expect(weaknesses(read(env))).toEqual(warnings);
  });

  test('a quoted password of Sentinels is one too', () => {
    const sentinels = { TAGWAIT_REDIS_SENTINELS: 'a:1', TAGWAIT_REDIS_MASTER: 'm' };
    const given = read({ ...sentinels, TAGWAIT_REDIS_SENTINEL_PASSWORD: "'a b'" });
    expect(weaknesses(given)).toEqual([quoted('TAGWAIT_REDIS_SENTINEL_PASSWORD')]);
  });
});

describe('TAGWAIT_ORIGINS', () => {
  const origins = (text: string) => read({ TAGWAIT_ORIGINS: text }).origins;

  test.each([
    ['https://Shop.Example', ['https://shop.example']],
    ['https://shop.example:443, HTTP://a.example:80', ['https://shop.example', 'http://a.example']],
    ['https://shop.example:8443', ['https://shop.example:8443']],
    ['https://*.Shop.example:443', ['https://*.shop.example']],
    ['https://münchen.example', ['https://xn--mnchen-3ya.example']],
    ['http://[0:0::1]:8080', ['http://[::1]:8080']],
    ['*', []],
  ])('%s is taken as a browser writes it', (text, normal) => expect(origins(text)).toEqual(normal));

  test.each([
    ...['shop.example', 'https://', 'https://shop.example/', 'https://shop.example/a', 'ftp://shop.example'],
    ...[
      'https://user@shop.example',
      'https://shop.example?a',
      'https://*',
      'https://*.*.example',
      'https://a.*.example',
    ],
    ...[
      'https://*shop.example',
      'https://shop.example:port',
      '*,https://shop.example',
      'https://shop.example,',
      'null',
    ],
  ])('%s is a fault', text => {
    expect(faultsOf({ TAGWAIT_ORIGINS: text })).toEqual([expect.stringContaining('TAGWAIT_ORIGINS: ')]);
  });

  test.each([
    ['https://a.example.com', true],
    ['https://a.b-c.example.com', true],
    ['https://one.example', true],
    ['https://example.com', false],
    ['https://.example.com', false],
    ['https://evilexample.com', false],
    ['https://a.example.com.evil.example', false],
    ['https://evil.example/.example.com', false],
    ['https://evil.example#.example.com', false],
    ['https://evil.example:80.example.com', false],
    ['http://a.example.com', false],
    ['https://a.example.com:8443', false],
    ['https://*.example.com', false],
    ['null', false],
    [`https://${'a.'.repeat(200)}example.com`, false],
  ])('https://*.example.com and one other: a page of %s: %s', (origin, allowed) => {
    expect(new Origins(origins('https://*.example.com,https://one.example')).allows(origin)).toBe(allowed);
  });

  test('a page of a subdomain is answered, and may read the answer; one of the domain itself is not', async () => {
    const { publicUrl } = await service({ origins: origins('https://*.Example.com:443') });
    const ask = async (method: string, headers: Record<string, string>) => {
      const { status, headers: given } = await fetch(`${publicUrl}/status/get?key=k&hold=0`, {
        method,
        headers,
      });
      return [status, given.get('access-control-allow-origin')];
    };
    for (const Origin of ['https://a.example.com', 'https://b.example.com', 'https://a.example.com']) {
      expect(await ask('GET', { Origin })).toEqual([200, Origin]);
      expect(await ask('OPTIONS', { Origin })).toEqual([204, Origin]);
    }
    for (const Origin of ['https://example.com', 'http://a.example.com']) {
      expect(await ask('GET', { Origin })).toEqual([403, null]);
      expect(await ask('OPTIONS', { Origin })).toEqual([204, null]);
    }
    expect(await ask('GET', {})).toEqual([200, null]);
  });
});
