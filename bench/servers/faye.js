/** Faye 1.4 as in its README; the server's own client publishes sets. */
import { createServer } from 'node:http';
import faye from 'faye';

const bayeux = new faye.NodeAdapter({ mount: '/faye', timeout: Number(process.env.HOLD ?? 300) });
const client = bayeux.getClient();

const server = createServer((request, response) => {
  let body = '';
  request.setEncoding('utf8').on('data', text => {
    body += text;
  });
  request.on('end', () => {
    const { key, value } = JSON.parse(body);
    client.publish(`/${key}`, value);
    response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': 10 });
    response.end('{"code":0}');
  });
});
bayeux.attach(server);
server.listen(Number(process.env.PORT), '127.0.0.1', () => console.log('ready'));
