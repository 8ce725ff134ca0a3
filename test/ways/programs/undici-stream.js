// Prints each value of a key as a line of JSON, by the EventSource of the package undici: undici-stream.js URL KEY.
import { EventSource } from 'undici';

const [url, key] = process.argv.slice(2);
const stream = new EventSource(`${url}/status/events?key=${key}`);
stream.addEventListener('value', ({ data }) => console.log(data));
// while it waits to connect again, nothing of undici keeps the process alive
const alive = setInterval(() => {}, 1000);
stream.addEventListener('end', () => {
  stream.close();
  clearInterval(alive);
});
