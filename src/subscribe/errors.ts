/** Why a subscription cannot go on. */

export type TagwaitErrorCode =
  /** an argument, or a parameter that the service refuses; the message says what is allowed */
  | 'TAGWAIT_BAD_REQUEST'
  /** wrong or missing `proof`, or an origin that is not allowed */
  | 'TAGWAIT_FORBIDDEN'
  /** there is no tagwait at this URL */
  | 'TAGWAIT_NOT_FOUND';

export class TagwaitError extends Error {
  override readonly name = 'TagwaitError';
  constructor(
    readonly code: TagwaitErrorCode,
    message: string,
  ) {
    super(message);
  }
}
