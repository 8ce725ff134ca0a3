/** Says what went wrong with a connection, in one line without the words of ioredis. */

/** Before its first command is answered, a server may refuse the connection: ioredis expects no answer then. */
const REFUSED_AT_ONCE = /^Command queue state error\..* Last error: /s;

/** Makes the message of an error safe to log: Redis repeats the arguments of an unknown command. */
export function cleanMessage(error: Error & { lastNodeError?: Error; errors?: Error[] }): void {
  if (error.lastNodeError) cleanMessage(error.lastNodeError);
  // AggregateError: the host name has several addresses and none of them answers
  error.message ||= (error.errors ?? []).map(({ message }) => message).join(', ') || error.name;
  error.message = error.message
    .replace(/,? with args beginning with.*/s, '')
    .replace(REFUSED_AT_ONCE, '')
    .replace(/.*Unknown RESP type.*/s, 'this is not a Redis server');
}
