/** The sets of a server that keeps its own clients: a POST of `{"key","value"}`, as the load sends it to every server. */
import { createServer } from 'node:http';

/** @param publish called with the key and the value of each set @returns a server that answers 200 to each */
export const serverOfSets = publish =>
  createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', text => {
      body += text;
    });
    request.on('end', () => {
      const { key, value } = JSON.parse(body);
      publish(key, value);
      response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': 10 });
      response.end('{"code":0}');
    });
  });
