/**
 * How each server is spoken to, in bytes: what a page sends, and what it makes of the answer.
 *
 *     ask(page)            the page's next request
 *     hear(page, answer)   takes the cursor or the session out of an answer
 *     set(key, value)      the request by which a backend sets
 *
 * The value's number is found in every answer alike, by `numberIn`.
 */
const get = (path, more = '') => `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n${more}\r\n`;
const post = (path, body, more = '') =>
  `POST ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n${more}Content-Length: ${body.length}\r\n\r\n${body}`;
const postSet = (key, value) => post('/status/set', `{"key":"${key}","value":{"n":${value}}}`);

/** The number of the value in an answer, whatever quotes are around it; undefined: a time-out, or a handshake. */
export function numberIn(answer) {
  const found = /"n\\*":(\d+)/.exec(answer);
  return found ? Number(found[1]) : undefined;
}

export const protocols = {
  tagwait: {
    ask: ({ key, cursor = '', hold }) =>
      get(`/status/get?key=${key}&callback=c0&since=${cursor}${hold ? `&hold=${hold}` : ''}`),
    hear(page, answer) {
      const at = answer.indexOf('"cursor":"');
      if (at > 0) page.cursor = answer.slice(at + 10, answer.indexOf('"', at + 10));
      const retry = /"retry":(\d+)/.exec(answer);
      page.retry = retry ? Number(retry[1]) : undefined;
    },
    set: postSet,
  },
  bare: {
    ask: ({ key, hold }) => get(`/status/get?key=${key}&callback=c0${hold ? `&hold=${hold}` : ''}`),
    hear() {},
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
    hear(page, answer) {
      page.session ??= /"clientId":"(\w+)"/.exec(answer)?.[1];
      if (answer.includes('/meta/subscribe')) page.subscribed = true;
    },
    set: postSet,
  },
  engineio: {
    ask: ({ key, session }) =>
      get(`/engine.io/?EIO=4&transport=polling&j=0&${session ? `sid=${session}` : `key=${key}`}`),
    hear(page, answer) {
      page.session ??= /"sid\\*":\\*"([\w-]+)/.exec(answer)?.[1];
    },
    set: postSet,
  },
  nchan: {
    ask: ({ key, cursor = '' }) => get(`/sub?id=${key}`, cursor),
    hear(page, answer) {
      const time = /\r\nLast-Modified: ([^\r]+)/i.exec(answer)?.[1];
      const tag = /\r\nEtag: ([^\r]+)/i.exec(answer)?.[1];
      if (time && tag) page.cursor = `If-Modified-Since: ${time}\r\nIf-None-Match: ${tag}\r\n`;
    },
    set: (key, value) => post(`/pub?id=${key}`, `{"n":${value}}`, 'Accept: text/json\r\n'),
  },
};
protocols.koa = protocols.bare;
