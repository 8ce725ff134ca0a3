/**
 * Encodes and decodes the messages between nodes. Each is one line of text, except entries: one line per entry.
 *
 *   e\n<key> <cursor> <prev> <flags> <at> <value>\n…   to one node: new entries of keys that it is subscribed to; flags: 1
 *                                                     for the final entry, r if its set waits for a receipt
 *   g <key>                                           to one node: entries of this key were not sent, it reads the key
 *   b <node> <server> <count>                         to all: heartbeat number `count`, sent through that Redis server
 *   h <node>                                          to one node: greeting, answers the first heartbeat of an unknown node
 *   x <node>                                          to all: goodbye, the node is closing
 *   q <node> <id> <key>                               to all: survey `id`, reply to `node`; `key` may be empty
 *   w <key> <position>                                to one node: a set waits for a receipt of this earlier entry
 *   p <key> <position>                                to one node: a page has proved that it has taken this entry
 *   d <key> <name> <from>                             to all: drop this poll, its page has stopped watching
 *   r <id> <JSON of { info, held }>                   to one node: reply to a survey
 */
import type { Entry, NodeInfo } from './broker.js';
import { nodesOf } from './shapes.js';

/** The reply of one node to a survey. */
export interface Reply {
  info: NodeInfo;
  /** requests held for the survey's key */
  held: number;
}

/** A message between nodes. */
export type Message =
  | { kind: 'entries'; entries: [key: string, entry: Entry][] }
  | { kind: 'gap'; key: string }
  | { kind: 'heartbeat'; node: string; server: string; count: number }
  | { kind: 'greeting'; node: string }
  | { kind: 'goodbye'; node: string }
  | { kind: 'survey'; node: string; id: string; key: string }
  | { kind: 'receipt'; key: string; position: string; state: 'wanted' | 'proved' }
  | { kind: 'drop'; key: string; name: string; from: string }
  | { kind: 'reply'; id: string; reply: Reply };

/** The text of a message. No node and no key may contain a space or the end of a line, and no value the end of a line. */
export function encode(message: Message): string {
  switch (message.kind) {
    case 'entries':
      return `e${message.entries.map(([key, entry]) => encodeEntry(key, entry)).join('')}`;
    case 'gap':
      return `g ${message.key}`;
    case 'heartbeat':
      return `b ${message.node} ${message.server} ${message.count}`;
    case 'greeting':
      return `h ${message.node}`;
    case 'goodbye':
      return `x ${message.node}`;
    case 'survey':
      return `q ${message.node} ${message.id} ${message.key}`;
    case 'receipt':
      return `${message.state === 'wanted' ? 'w' : 'p'} ${message.key} ${message.position}`;
    case 'drop':
      return `d ${message.key} ${message.name} ${message.from}`;
    case 'reply':
      return `r ${message.id} ${JSON.stringify(message.reply)}`;
  }
}

const encodeEntry = (key: string, { cursor, prev, final, receipt, at, value }: Entry) =>
  `\n${key} ${cursor} ${prev} ${final ? '1' : ''}${receipt ? 'r' : ''} ${at ?? ''} ${value}`;

/** `encodeEntry` in Lua, for scripts that publish what they store; `flags` is "", "1", "r" or "1r". */
export const ENCODE_ENTRY_LUA = `local function encode_entry(key, cursor, prev, flags, at, value)
  return '\\n' .. key .. ' ' .. cursor .. ' ' .. prev .. ' ' .. flags .. ' ' .. at .. ' ' .. value
end
`;

/** @returns undefined for an unknown or malformed message: nodes of another version may run beside this one */
export function decode(text: string): Message | undefined {
  if (text.startsWith('e\n')) return { kind: 'entries', entries: text.slice(2).split('\n').map(decodeEntry) };
  const [kind, first = '', second = '', third = ''] = text.split(' ', 4);
  switch (kind) {
    case 'g':
      return { kind: 'gap', key: first };
    case 'b':
      return { kind: 'heartbeat', node: first, server: second, count: Number(third) };
    case 'h':
      return { kind: 'greeting', node: first };
    case 'x':
      return { kind: 'goodbye', node: first };
    case 'q':
      return { kind: 'survey', node: first, id: second, key: third };
    case 'w':
      return { kind: 'receipt', key: first, position: second, state: 'wanted' };
    case 'p':
      return { kind: 'receipt', key: first, position: second, state: 'proved' };
    case 'd':
      return { kind: 'drop', key: first, name: second, from: third };
    case 'r':
      return decodeReply(first, text.slice(`r ${first} `.length));
    default:
      return undefined;
  }
}

function decodeReply(id: string, json: string): Message | undefined {
  try {
    const { info, held } = JSON.parse(json) as Reply;
    const [node] = nodesOf([info]);
    return node && Number.isFinite(held) ? { kind: 'reply', id, reply: { info: node, held } } : undefined;
  } catch {
    return undefined;
  }
}

function decodeEntry(line: string): [string, Entry] {
  const [key = '', cursor = '', prev = '', flags = '', at = ''] = line.split(' ', 5);
  const value = line.slice(key.length + cursor.length + prev.length + flags.length + at.length + 5);
  const entry: Entry = {
    value,
    cursor,
    prev,
    final: flags.startsWith('1'),
    at: at === '' ? undefined : Number(at),
  };
  if (flags.endsWith('r')) entry.receipt = true;
  return [key, entry];
}
