/** Finds the settings among the `TAGWAIT_…` variables, and reports mistyped ones and those that Kubernetes makes. */
import { envOf, NAMES } from './settings.js';

const PREFIX = 'TAGWAIT_';
/** A variable counts as mistyped if its edit distance to a setting is at most this. */
const MAX_DISTANCE = 2;
/** Kubernetes sets such variables in every pod, for a Service whose name begins with `tagwait`. */
const SERVICE_LINK = /_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$/;
const SERVICE_URL = /^(tcp|udp|sctp):\/\//;

const isOfService = (name: string, value: string) =>
  SERVICE_LINK.test(name) || (name.endsWith('_PORT') && SERVICE_URL.test(value));

export interface Environment {
  /** the variables that are settings, as given */
  settings: Record<string, string>;
  /** mistyped variables, one line each */
  faults: string[];
  /** variables without effect, one line each */
  warnings: string[];
}

/** Sorts the variables of a process. Faults and warnings contain names and never values. */
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

/** @returns the setting with the smallest edit distance; undefined if it is larger than `MAX_DISTANCE` */
function nearest(name: string, known: ReadonlySet<string>): string | undefined {
  let best: { name: string; distance: number } | undefined;
  for (const candidate of known) {
    const distance = editDistance(name.toUpperCase(), candidate);
    if (distance <= MAX_DISTANCE && distance < (best?.distance ?? MAX_DISTANCE + 1))
      best = { name: candidate, distance };
  }
  return best?.name;
}

/** Damerau-Levenshtein distance: letters inserted, deleted, replaced, or swapped with the next one. */
function editDistance(one: string, other: string): number {
  if (Math.abs(one.length - other.length) > MAX_DISTANCE) return MAX_DISTANCE + 1;

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
