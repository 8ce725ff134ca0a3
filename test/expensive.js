/**
 * The most expensive requests known, as bytes: at most 16 KiB each. `breed.test.ts` starts from them and compares the cost
 * of each with that of a plain poll; `npm run attack` sends them.
 */

export const MOST_BYTES = 16 * 1024;
const LINES = 'Host: localhost\r\n';
const FORM = 'application/x-www-form-urlencoded';

/** @param {string} unit @param {number} bytes @returns {string} the unit again and again, in so many bytes at most */
export const fill = (unit, bytes) => unit.repeat(Math.max(0, Math.floor(bytes / unit.length)));

/** @param {string} target @param {string} [lines] more header lines @param {string} [method] @param {string} [body] */
const request = (target, lines = '', method = 'GET', body = '') =>
  `${method} ${target} HTTP/1.1\r\n${LINES}${lines}${method === 'POST' ? `Content-Length: ${body.length}\r\n` : ''}Connection: close\r\n\r\n${body}`;
/** @param {string} type @param {string} body */
const set = (type, body) => request('/status/set', `Content-Type: ${type}\r\n`, 'POST', body);
/** @param {string} unit */
const chunks = unit => `${fill(`${unit.length.toString(16)}\r\n${unit}\r\n`, 15_000)}0\r\n\r\n`;

const POLL = '/status/get?key=poll&hold=0';
const LONG = 15_800;
/** The same field twice, which the fast path leaves to Node's HTTP. */
const TWICE = 'Referer: a\r\nReferer: b\r\n';

/** @type {{ name: string, port: 'public' | 'internal', packets: string[] }[]} */
export const EXPENSIVE = [
  { name: 'a plain poll', port: 'public', packets: [request(POLL)] },
  { name: 'a plain poll, read by Node', port: 'public', packets: [request(POLL, TWICE)] },
  { name: 'health', port: 'public', packets: [request('/healthz')] },
  { name: 'peek', port: 'internal', packets: [request('/status/peek?key=c')] },
  { name: 'a set', port: 'internal', packets: [set('application/json', '{"key":"c","value":1}')] },
  { name: 'a poll with broken escapes', port: 'public', packets: [request(`${POLL}&${fill('%=&', LONG)}`)] },
  {
    name: 'a poll with one broken parameter many times',
    port: 'public',
    packets: [request(`/status/get?${fill('key=%&', 2000)}`)],
  },
  {
    name: 'a poll with escaped names',
    port: 'public',
    packets: [request(`/status/get?${fill('%6b%65%79=%41&', 2000)}`)],
  },
  { name: 'a poll with many names', port: 'public', packets: [request(`/status/get?${fill('a&', 2000)}`)] },
  { name: 'a poll with many headers', port: 'public', packets: [request(POLL, fill('a:\r\n', LONG))] },
  {
    name: 'a poll with many headers of known length',
    port: 'public',
    packets: [request(POLL, fill('hosu:\r\n', LONG))],
  },
  {
    name: 'a poll with one long header',
    port: 'public',
    packets: [request(POLL, `Cookie: ${fill('a', LONG)}\r\n`)],
  },
  {
    name: 'a poll with many addresses',
    port: 'public',
    packets: [request(POLL, `X-Forwarded-For: ${fill(',', LONG)}\r\n`)],
  },
  {
    name: 'a poll with a long address',
    port: 'public',
    packets: [request(POLL, `X-Forwarded-For: ${fill('0:', LONG)}\r\n`)],
  },
  {
    name: 'a poll with a long Referer',
    port: 'public',
    packets: [request(`${POLL}&callback=cb`, `Referer: http://xn--${fill('a9', LONG)}/\r\n`)],
  },
  {
    name: 'a poll with a long callback',
    port: 'public',
    packets: [request(`${POLL}&callback=${fill('a.', 1900)}`)],
  },
  {
    name: 'broken escapes, read by Node',
    port: 'public',
    packets: [request(`${POLL}&${fill('%=&', 15_700)}`, TWICE)],
  },
  {
    name: 'many headers, read by Node',
    port: 'public',
    packets: [request(POLL, TWICE + fill('a:\r\n', 15_700))],
  },
  {
    name: 'many equal headers, read by Node',
    port: 'public',
    packets: [request(POLL, fill('Referer:\r\n', LONG))],
  },
  {
    name: 'many empty chunks',
    port: 'public',
    packets: [`${request('/healthz', 'Transfer-Encoding: chunked\r\n')}${chunks('a')}`],
  },
  {
    name: 'a poll with many chunks',
    port: 'public',
    packets: [`${request(POLL, 'Transfer-Encoding: chunked\r\n')}${chunks('a')}`],
  },
  {
    name: 'a target that is no path',
    port: 'public',
    packets: [request(`*${fill('"', LONG)}`, 'Content-Type: application/json\r\n', 'POST')],
  },
  { name: 'an absolute URL', port: 'public', packets: [request(`http://a/${fill('"', LONG)}`)] },
  {
    name: 'an absolute URL with a long host',
    port: 'public',
    packets: [request(`http://${fill('a.', LONG)}/`)],
  },
  { name: 'a target that is no path', port: 'internal', packets: [request(`*${fill('"', LONG)}`)] },
  { name: 'an absolute URL', port: 'internal', packets: [request(`http://localhost/${fill('"', LONG)}`)] },
  { name: 'a long path', port: 'internal', packets: [request(`/${fill('%2e/', LONG)}`)] },
  { name: 'a long path', port: 'public', packets: [request(`/${fill('%2e/', LONG)}`)] },
  {
    name: 'a script with many validators',
    port: 'public',
    packets: [request('/client.js', `If-None-Match: ${fill(',', LONG)}\r\n`)],
  },
  {
    name: 'a preflight with many headers',
    port: 'public',
    packets: [request(POLL, `Access-Control-Request-Headers: ${fill('a,', LONG)}\r\n`, 'OPTIONS')],
  },
  {
    name: 'a poll in 256 packets',
    port: 'public',
    packets: pieces(request(POLL, `Cookie: ${fill('a', LONG)}\r\n`), 256),
  },
  {
    name: 'peek with broken escapes',
    port: 'internal',
    packets: [request(`/status/peek?key=c&${fill('%=&', LONG)}`)],
  },
  { name: 'peek of many keys', port: 'internal', packets: [request(`/status/peek?${fill('key=a&', LONG)}`)] },
  {
    name: 'health with broken escapes',
    port: 'internal',
    packets: [request(`/healthz?${fill('%=&', LONG)}`)],
  },
  { name: 'a set of many fields', port: 'internal', packets: [set(FORM, fill('%=&', LONG))] },
  {
    name: 'a set of many escaped fields',
    port: 'internal',
    packets: [
      set(
        FORM,
        Array.from({ length: 1300 }, (_, field) => `%41${field}=%41`)
          .join('&')
          .slice(0, LONG),
      ),
    ],
  },
  { name: 'a set of spaces', port: 'internal', packets: [set(FORM, `key=c&value=${fill('+', LONG)}`)] },
  { name: 'a set of escapes', port: 'internal', packets: [set(FORM, `key=c&value=${fill('%c3%a9', LONG)}`)] },
  {
    name: 'a set of nested lists',
    port: 'internal',
    packets: [set('application/json', `{"key":"c","value":${fill('[', LONG)}`)],
  },
  {
    name: 'a set of deep lists',
    port: 'internal',
    packets: [set('application/json', `{"key":"c","value":${fill('[', 7800)}${fill(']', 7800)}}`)],
  },
  {
    name: 'a set of many objects',
    port: 'internal',
    packets: [set('application/json', `{"key":"c","value":[${fill('{},', LONG)}{}]}`)],
  },
  {
    name: 'a set of many keys',
    port: 'internal',
    packets: [set('application/json', `{${fill('"a":1,', LONG)}"key":"c"}`)],
  },
  {
    name: 'a set of many unknown fields',
    port: 'internal',
    packets: [
      set(
        'application/json',
        `{${Array.from({ length: 1600 }, (_, field) => `"${field}":1,`).join('')}"key":"c"}`,
      ),
    ],
  },
  {
    name: 'a set of large numbers with large exponents',
    port: 'internal',
    packets: [set('application/json', `{"key":"c","value":[${fill('1e300,', LONG)}1]}`)],
  },
  {
    name: 'a set of large integers',
    port: 'internal',
    packets: [set('application/json', `{"key":"c","value":[${fill('9007199254740992,', LONG)}1]}`)],
  },
  {
    name: 'a set of long integers',
    port: 'internal',
    packets: [set('application/json', `{"key":"c","value":[${fill('100000000000000000000,', LONG)}1]}`)],
  },
  {
    name: 'a set of numbers as no one prints them',
    port: 'internal',
    packets: [set('application/json', `{"key":"c","value":[${fill('10e22,', LONG)}1]}`)],
  },
  {
    name: 'a set of one very long number',
    port: 'internal',
    packets: [set('application/json', `{"key":"c","value":1${fill('0', 300)}.${fill('0', 15_000)}}`)],
  },
  {
    name: 'a set of one number of many digits',
    port: 'internal',
    packets: [set('application/json', `{"key":"c","value":0.${fill('123456789', 15_000)}}`)],
  },
  {
    name: 'a set in many chunks',
    port: 'internal',
    packets: [
      `${request('/status/set', 'Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n', 'PUT').replace('PUT', 'POST')}${chunks('a')}`,
    ],
  },
  {
    name: 'a ticket of many fields',
    port: 'internal',
    packets: [request('/status/new', `Content-Type: ${FORM}\r\n`, 'POST', fill('%=&', LONG))],
  },
];

/** @param {string} text @param {number} parts @returns {string[]} */
export function pieces(text, parts) {
  const length = Math.ceil(text.length / parts);
  return Array.from({ length: Math.ceil(text.length / length) }, (_, part) =>
    text.slice(part * length, (part + 1) * length),
  );
}
