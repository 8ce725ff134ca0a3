/** What is said of an error of a connection to Redis. */
import { expect, test } from 'vitest';
import { cleanMessage } from '../../src/brokers/redis/error-text.js';

const QUEUE = 'Command queue state error. If you can reproduce this, please report it. Last error: ';

test.each([
  ['ECONNREFUSED 127.0.0.1:6379', 'ECONNREFUSED 127.0.0.1:6379'],
  ['ERR unknown command `x`, with args beginning with: `a secret`\n`more`', 'ERR unknown command `x`'],
  ['ERR unknown command `x` with args beginning with: `a secret`', 'ERR unknown command `x`'],
  [`${QUEUE}ERR max number of clients reached`, 'ERR max number of clients reached'],
  [
    `Command queue state error.\nLast error: ERR two\nlines`,
    'Command queue state error.\nLast error: ERR two\nlines',
  ],
  [`Command queue state error.\n Last error: ERR two\nlines`, 'ERR two\nlines'],
  ['Protocol error, got "H".\nUnknown RESP type H\nplease report', 'this is not a Redis server'],
])('%j', (message, clean) => {
  const error = new Error(message);
  cleanMessage(error);
  expect(error.message).toBe(clean);
});

test('without a text: those of each address, or the name', () => {
  const several = Object.assign(new AggregateError([new Error('one'), new Error('two')]), { message: '' });
  cleanMessage(several);
  expect(several.message).toBe('one, two');
  const none = Object.assign(new RangeError(), { message: '' });
  cleanMessage(none);
  expect(none.message).toBe('RangeError');
});

test('the error of the last server that a Cluster asked is cleaned too', () => {
  const lastNodeError = new Error(`${QUEUE}ERR max number of clients reached`);
  cleanMessage(Object.assign(new Error('none of them'), { lastNodeError }));
  expect(lastNodeError.message).toBe('ERR max number of clients reached');
});
