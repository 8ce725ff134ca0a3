/**
 * Loaded into a node before its own code: connections to some ports of this machine go to others instead, as with DNAT.
 * So every server of a Cluster, and every Sentinel, has a line of its own for each node, whatever address it announces.
 *
 * CHAOS_ROUTES is `port:instead,…`, for example `6379:40001,6380:40002`.
 */
import { Socket } from 'node:net';

const routes = new Map(
  (process.env.CHAOS_ROUTES ?? '').split(',').map(route => route.split(':').map(Number)),
);
const { connect } = Socket.prototype;

Socket.prototype.connect = function (...given) {
  // node:net itself passes [options, callback] on, in one array
  const list = Array.isArray(given[0]) ? given[0] : given;
  const instead = routes.get(Number(list[0]?.port));
  if (instead !== undefined) list[0] = { ...list[0], port: instead };
  return connect.apply(this, given);
};
