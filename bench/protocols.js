/**
 * The protocol of each server under test, in bytes: the requests of pages and backends, and what pages read in an answer.
 *
 *     ask(page)            the page's next request
 *     read(page, answer)   reads the cursor or the session from an answer
 *     set(key, value)      the request of a backend
 *
 * `numberIn` finds the value's number in the answers of all servers.
 */
const get = (path, more = '') => `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n${more}\r\n`;
const post = (path, body, more = '') =>
  `POST ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n${more}Content-Length: ${body.length}\r\n\r\n${body}`;
const postSet = (key, value) => post('/status/set', `{"key":"${key}","value":{"n":${value}}}`);

/** The number in an answer, with or without quotes; undefined: a timeout or a handshake. */
export function numberIn(answer) {
  const found = /"n\\*":(\d+)/.exec(answer);
  return found ? Number(found[1]) : undefined;
}

export const protocols = {
  tagwait: {
    ask: ({ key, cursor = '', hold }) =>
      get(`/status/get?key=${key}&callback=c0&since=${cursor}${hold ? `&hold=${hold}` : ''}`),
    read(page, answer) {
      const at = answer.indexOf('"cursor":"');
      if (at > 0) page.cursor = answer.slice(at + 10, answer.indexOf('"', at + 10));
      const retry = /"retry":(\d+)/.exec(answer);
      page.retry = retry ? Number(retry[1]) : undefined;
    },
    set: postSet,
  },
  bare: {
    ask: ({ key, hold }) => get(`/status/get?key=${key}&callback=c0${hold ? `&hold=${hold}` : ''}`),
    read() {},
    set: postSet,
  },
  faye: {
    ask(page) {
      const { key, session, subscribed } = page;
      const message = !session
        ? { channel: '/meta/handshake', version: '1.0', supportedConnectionTypes: ['callback-polling'] }
        : subscribed
          ? { channel: '/meta/connect', clientId: session, connectionType: 'callback-polling' }
          : { channel: '/meta/subscribe', clientId: session, subscription: `/${key}` };
      return get(`/faye?message=${encodeURIComponent(JSON.stringify([message]))}&jsonp=c0`);
    },
    read(page, answer) {
      page.session ??= /"clientId":"(\w+)"/.exec(answer)?.[1];
      if (answer.includes('/meta/subscribe')) page.subscribed = true;
    },
    set: postSet,
  },
  engineio: {
    ask: ({ key, session }) =>
      get(`/engine.io/?EIO=4&transport=polling&j=0&${session ? `sid=${session}` : `key=${key}`}`),
    read(page, answer) {
      page.session ??= /"sid\\*":\\*"([\w-]+)/.exec(answer)?.[1];
    },
    set: postSet,
  },
  nchan: {
    ask: ({ key, cursor = '' }) => get(`/sub?id=${key}`, cursor),
    read(page, answer) {
      const time = /\r\nLast-Modified: ([^\r]+)/i.exec(answer)?.[1];
      const tag = /\r\nEtag: ([^\r]+)/i.exec(answer)?.[1];
      if (time && tag) page.cursor = `If-Modified-Since: ${time}\r\nIf-None-Match: ${tag}\r\n`;
    },
    set: (key, value) => post(`/pub?id=${key}`, `{"n":${value}}`, 'Accept: text/json\r\n'),
  },
};
protocols.koa = protocols.bare;

/** What a browser of today sends with a script tag, beside `Host`. */
const BROWSER = [
  'sec-ch-ua-platform: "Windows"',
  'User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36',
  'sec-ch-ua: "Chromium";v="142", "Google Chrome";v="142", "Not_A Brand";v="99"',
  'sec-ch-ua-mobile: ?0',
  'Accept: */*',
  'Sec-Fetch-Site: same-site',
  'Sec-Fetch-Mode: no-cors',
  'Sec-Fetch-Dest: script',
  'Referer: https://www.example.com/',
  'Accept-Encoding: gzip, deflate, br, zstd',
  'Accept-Language: en-US,en;q=0.9,de;q=0.8',
  `Cookie: session=${'0123456789abcdef'.repeat(4)}; consent=${'x'.repeat(100)}`,
].join('\r\n');
protocols.browser = {
  ...protocols.tagwait,
  ask: page => protocols.tagwait.ask(page).replace('\r\n\r\n', `\r\n${BROWSER}\r\n\r\n`),
};
