/** Faye 1.4 as in its README; the server's own client publishes sets. */
import faye from 'faye';
import { serverOfSets } from './sets.js';

const bayeux = new faye.NodeAdapter({ mount: '/faye', timeout: Number(process.env.HOLD ?? 300) });
const client = bayeux.getClient();

const server = serverOfSets((key, value) => client.publish(`/${key}`, value));
bayeux.attach(server);
server.listen(Number(process.env.PORT), '127.0.0.1', () => console.log('ready'));
