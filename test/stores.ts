/** The stores that the tests of the whole service run over. */
import type { Config } from '../src/settings.js';
import { redisServer } from './redis.js';

export interface Store {
  name: string;
  /** the settings of a node that uses it */
  settings(): Promise<Partial<Config>>;
}

export const stores: Store[] = [
  { name: 'the embedded store', settings: async () => ({}) },
  { name: 'Redis', settings: async () => ({ redisUrl: (await redisServer()).url }) },
];
