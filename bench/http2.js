/** A page's HTTP/2 connection over TLS, for load.js, which writes requests of HTTP/1.1 and takes answers. */
import { connect } from 'node:http2';

/** The header fields of requests, by their text: all pages send the same ones. */
const known = new Map();

/** @returns what load.js uses of a socket; `take` gets the body of each response */
export function openHttp2(port, host, take, gone) {
  const session = connect(`https://${host}:${port}`, {
    rejectUnauthorized: false,
    settings: { enablePush: false },
  });
  session.on('error', () => {});
  session.on('close', gone);
  return {
    on: (event, listener) => session.on(event, listener),
    removeAllListeners: event => session.removeAllListeners(event),
    destroy: () => session.destroy(),
    write(request) {
      const [, path, fields] = /^GET (\S+) HTTP\/1.1\r\n(.*)\r\n\r\n$/s.exec(request);
      const stream = session.request({ ':path': path, ...headersOf(fields) });
      let body = '';
      stream.setEncoding('latin1');
      stream.on('data', text => {
        body += text;
      });
      // a response that broke off is none: the session closes
      stream.on('error', () => {});
      stream.on('end', () => take(body));
    },
  };
}

function headersOf(fields) {
  const found = known.get(fields);
  if (found) return found;
  const headers = Object.fromEntries(
    fields
      .split('\r\n')
      .map(field => field.split(/: (.*)/).slice(0, 2))
      .filter(([name]) => name !== 'Host')
      .map(([name, value]) => [name.toLowerCase(), value]),
  );
  known.set(fields, headers);
  return headers;
}
