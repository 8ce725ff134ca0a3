/** Finds the settings among the variables, and reports mistyped ones and those that Kubernetes makes. */
import { nearest } from './nearest.js';
import { envOf, NAMES } from './settings.js';

const PREFIX = 'TAGWAIT_';
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
    if (!name.startsWith(PREFIX)) {
      const meant = nearest(name, known);
      if (meant) found.faults.push(`${name}: not a setting; did you mean ${meant}?`);
    } else if (isOfService(name, value)) {
      if (known.has(name))
        found.warnings.push(
          `${name}: made by Kubernetes for a Service, not used as the setting; give enableServiceLinks: false`,
        );
    } else if (known.has(name)) found.settings[name] = value;
    else {
      const meant = nearest(name, known);
      const longer = longerNames(name, known);
      if (meant) found.faults.push(`${name}: not a setting; ${longer ?? `did you mean ${meant}?`}`);
      else
        found.warnings.push(
          `${name}: not a setting, and has no effect; ${longer ?? 'tagwait --help lists them'}`,
        );
    }
  }
  return found;
}

/** The settings whose names end with this one's own part: TAGWAIT_HOST is a part of two, and only by chance near to TAGWAIT_HOLD. */
function longerNames(name: string, known: Iterable<string>): string | undefined {
  const end = `_${name.slice(PREFIX.length)}`;
  const names = [...known].filter(other => end !== '_' && other.endsWith(end));
  if (names.length === 0) return undefined;
  return `there ${names.length === 1 ? 'is' : 'are'} ${names.join(' and ')}`;
}
