/** The five calls of a scan login, in OpenAPI. */
import { STEPS, type Step } from '../../login/steps.js';
import { body, count, is, json, object, REFUSALS, receipt, ref, type Schema, text, ttl } from './schemas.js';

const key = ref('Key');
const words = (description: string, minLength = 1): Schema => ({
  type: 'string',
  minLength,
  maxLength: 256,
  description,
});
const phone = words("the backend's id of the phone's user");
const visitor = words("what the backend keeps in this visitor's cookie");
const time: Schema = { ...count, description: 'unix seconds' };

interface Description {
  summary: string;
  /** what it takes: required, and optional */
  takes: [Record<string, Schema>, Record<string, Schema>?];
  gives: Record<string, Schema>;
  /** what the answer may have in addition */
  may?: Record<string, Schema>;
  /** what is refused, beside what every call refuses */
  refused: number[];
}

const CALLS: Record<Step, Description> = {
  new: {
    summary: 'Begin a login',
    takes: [{ visitor }, { ttl, show: { description: 'any JSON: what the phone shows' } }],
    gives: { key, proof: text, expires: time },
    refused: [404],
  },
  scan: {
    summary: 'A phone scanned the code: the page hears it, and other phones are refused',
    takes: [{ key, phone }],
    gives: { show: ref('Value'), created: time, expires: time },
    refused: [404, 409, 410],
  },
  approve: {
    summary: 'The phone said yes: the page hears a one-time code, good for 60 seconds',
    takes: [{ key, phone, user: { description: 'any JSON: what redeem gives back' } }, { receipt }],
    gives: {},
    may: { received: { type: 'boolean' } },
    refused: [404, 409, 410],
  },
  deny: {
    summary: 'The phone said no: the page hears it',
    takes: [{ key, phone }],
    gives: {},
    refused: [404, 409, 410],
  },
  redeem: {
    summary: 'Exchange the code for the user, once',
    takes: [
      { key, code: words('as the page heard it', 0), visitor },
      {
        id: { type: ['string', 'null'], pattern: '^[\\x21-\\x7e]{1,64}$', description: 'makes a retry safe' },
      },
    ],
    gives: { user: ref('Value'), phone: text },
    refused: [404, 409, 410, 429],
  },
};

const MESSAGES: Record<number, string> = {
  403: 'forbidden',
  404: 'not found',
  409: 'conflict',
  410: 'expired',
  429: 'too many tries',
};
/** `reason` is that of the library's `LoginError`. */
const refused = (status: number) =>
  json(
    MESSAGES[status] as string,
    object(
      { code: is(status), message: is(MESSAGES[status]), detail: text },
      { reason: text, ...(status === 429 ? { retry: { ...count, description: 'ms' } } : {}) },
    ),
  );

export const loginPaths = Object.fromEntries(
  STEPS.map(step => {
    const { summary, takes, gives, may, refused: own } = CALLS[step];
    const post = {
      summary,
      requestBody: { ...body(object(...takes)), required: true },
      responses: {
        200: json('done', object({ code: is(0), ...gives }, may)),
        ...REFUSALS,
        ...Object.fromEntries([403, ...own].map(status => [status, refused(status)])),
      },
    };
    return [`/login/${step}`, { post }];
  }),
);
