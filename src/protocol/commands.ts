/** The messages of a client on a WebSocket: `{"watch":"KEY","since":"","proof":""}` and `{"stop":"KEY"}`. */

export interface WatchCommand {
  watch: string;
  since: string;
  proof: string;
}

export const COMMANDS_ALLOWED = 'give {"watch":"KEY","since":"","proof":""} or {"stop":"KEY"}';

/** Unknown fields are ignored, and `null` counts as absent. @returns undefined: it is none of these messages */
export function commandOf(text: string): WatchCommand | { stop: string } | undefined {
  let given: unknown;
  try {
    given = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof given !== 'object' || given === null) return undefined;
  const { watch, stop, since, proof } = given as Record<string, unknown>;
  if (typeof stop === 'string') return watch === undefined ? { stop } : undefined;
  if (typeof watch !== 'string' || stop !== undefined) return undefined;
  const command = { watch, since: since ?? '', proof: proof ?? '' };
  return isWatch(command) ? command : undefined;
}

const isWatch = (command: Record<keyof WatchCommand, unknown>): command is WatchCommand =>
  typeof command.since === 'string' && typeof command.proof === 'string';
