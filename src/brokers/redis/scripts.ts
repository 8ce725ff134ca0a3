/** The Lua scripts as commands of ioredis clients. The head of each .lua file documents KEYS, ARGV and the reply. */
import type { Result } from 'ioredis';
import { asset } from '../../assets.js';
import { ENCODE_ENTRY_LUA } from '../messages.js';

const lua = (name: string) => asset(`src/brokers/redis/${name}.lua`);

const set = ENCODE_ENTRY_LUA + lua('set');

export const scripts = {
  tagwaitSet: { lua: set, numberOfKeys: 2 },
  tagwaitSetMany: { lua: set },
  tagwaitSubscribe: { lua: lua('subscribe') },
  tagwaitUnsubscribe: { lua: lua('unsubscribe') },
  tagwaitProve: { lua: lua('prove'), numberOfKeys: 1 },
  tagwaitPeek: { lua: lua('peek'), numberOfKeys: 1 },
  tagwaitHeartbeat: { lua: lua('heartbeat'), numberOfKeys: 1 },
  tagwaitRenew: { lua: lua('renew'), numberOfKeys: 0 },
};

type Reply = (string | number | null)[];
type Strings = (string | null)[];
declare module 'ioredis' {
  interface RedisCommander<Context> {
    tagwaitSet(entries: string, watchers: string, ...args: (string | number)[]): Result<Reply[], Context>;
    tagwaitSetMany(keys: number, ...keysAndArgs: (string | number)[]): Result<Reply[], Context>;
    tagwaitSubscribe(keys: number, ...keysAndArgs: (string | number)[]): Result<(Reply | null)[], Context>;
    tagwaitUnsubscribe(keys: number, ...keysAndArgs: string[]): Result<null, Context>;
    tagwaitProve(entries: string, position: string, channels: string, message: string): Result<null, Context>;
    tagwaitPeek(entries: string, limit: number, first: number): Result<Reply, Context>;
    tagwaitRenew(node: string, lease: number, ...watchers: string[]): Result<Strings, Context>;
    tagwaitHeartbeat(
      marker: string,
      ttl: number,
      channel: string,
      message: string,
    ): Result<[number, string], Context>;
  }
}
