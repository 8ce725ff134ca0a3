/** `TAGWAIT_…` variables that are not settings: mistyped names, and those that Kubernetes makes. */
import { envOf, NAMES } from './settings.js';

const PREFIX = 'TAGWAIT_';
/** Letters by which a variable may differ from a setting to count as mistyped. */
const NEAR = 2;
/** Kubernetes makes such variables in every pod for a Service whose name begins with `tagwait`. */
const SERVICE_LINK = /_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$/;
const SERVICE_URL = /^(tcp|udp|sctp):\/\//;

const isOfService = (name: string, value: string) =>
  SERVICE_LINK.test(name) || (name.endsWith('_PORT') && SERVICE_URL.test(value));

export interface Environment {
  /** the variables that are settings, as given */
  settings: Record<string, string>;
  /** one line each, naming the setting that was meant */
  faults: string[];
  /** one line each: variables that have no effect */
  warnings: string[];
}

/** Sorts the variables of a process. Faults and warnings name a variable and never repeat its value. */
export function readEnvironment(env: NodeJS.ProcessEnv): Environment {
  const known = new Set(NAMES.map(envOf));
  const found: Environment = { settings: {}, faults: [], warnings: [] };
  for (const [name, value = ''] of Object.entries(env)) {
    if (!name.startsWith(PREFIX)) continue;
    if (isOfService(name, value)) {
      if (known.has(name))
        found.warnings.push(
          `${name}: made by Kubernetes for a Service, not used as the setting; give enableServiceLinks: false`,
        );
    } else if (known.has(name)) found.settings[name] = value;
    else {
      const meant = nearest(name, known);
      if (meant) found.faults.push(`${name}: not a setting; did you mean ${meant}?`);
      else found.warnings.push(`${name}: not a setting, and has no effect; tagwait --help lists them`);
    }
  }
  return found;
}

/** @returns the setting that differs by the fewest letters; undefined when all differ by more than `NEAR` */
function nearest(name: string, known: ReadonlySet<string>): string | undefined {
  let best: { name: string; distance: number } | undefined;
  for (const candidate of known) {
    const distance = lettersBetween(name.toUpperCase(), candidate);
    if (distance <= NEAR && distance < (best?.distance ?? NEAR + 1)) best = { name: candidate, distance };
  }
  return best?.name;
}

/** Letters added, left out, exchanged, or swapped with the next one (Damerau and Levenshtein), between two names. */
function lettersBetween(one: string, other: string): number {
  if (Math.abs(one.length - other.length) > NEAR) return NEAR + 1;

  let before: number[] = [];
  let last = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (let i = 1; i <= one.length; i++) {
    const row = [i];
    for (let j = 1; j <= other.length; j++) {
      const swapped = j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1];
      row[j] = Math.min(
        (last[j - 1] as number) + (one[i - 1] === other[j - 1] ? 0 : 1),
        (last[j] as number) + 1,
        (row[j - 1] as number) + 1,
        swapped ? (before[j - 2] as number) + 1 : Number.POSITIVE_INFINITY,
      );
    }
    before = last;
    last = row;
  }
  return last[other.length] as number;
}
