// Prints each value of a key as a line of JSON, by the WebSocket of the package undici: undici-socket.js URL KEY.
import { WebSocket } from 'undici';

const [url, key] = process.argv.slice(2);
let since = '';
function connect() {
  const socket = new WebSocket(`${url.replace(/^http/, 'ws')}/status/socket`, 'tagwait.1');
  let over = false;
  socket.onopen = () => socket.send(JSON.stringify({ watch: key, since }));
  socket.onmessage = event => {
    const { data, earlier = [], cursor, final } = JSON.parse(event.data);
    since = cursor;
    for (const value of [...earlier, data]) console.log(JSON.stringify(value));
    over = final === true;
    if (over) socket.close();
  };
  socket.onclose = ({ code, reason }) => {
    if (!over) setTimeout(connect, code === 1012 ? JSON.parse(reason).retry : 100);
  };
}
connect();
