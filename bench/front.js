/** nginx with the configuration of deploy/nginx.conf: TLS and HTTP/2 before a node. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { folder, freePort, start } from './servers.js';
import { until } from './until.js';

export const SHIPPED = readFileSync(new URL('../deploy/nginx.conf', import.meta.url), 'utf8');
const NGINX = ['/usr/sbin/nginx', '/usr/bin/nginx', '/usr/local/sbin/nginx'].find(path => existsSync(path));
export const hasNginx = NGINX !== undefined;

/** Replaces each text. @throws the file does not have it */
export function replaced(text, ...changes) {
  return changes.reduce((before, [from, to]) => {
    const after = before.replace(from, to);
    if (after === before) throw new Error(`no ${from} in nginx.conf`);
    return after;
  }, text);
}

/**
 * Starts one process of nginx before a node.
 * @param node its public port
 * @param connections a process takes memory for each, used or not
 */
export async function startNginx(node, conf = SHIPPED, connections = 10_000) {
  const port = await freePort();
  const at = join(folder, `nginx${port}`);
  mkdirSync(at);
  const file = name => join(at, name);
  const made = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -keyout ${file('key')} -out ${file('crt')}`;
  execFileSync('openssl', made.split(' '), { stdio: 'ignore' });
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map(name => `${name}_temp_path ${file(name)};`)
    .join('\n');
  const text = replaced(
    conf,
    [/^/, `daemon off; master_process off; pid ${file('pid')}; error_log stderr warn;\n`],
    ['worker_rlimit_nofile 200000', `worker_rlimit_nofile ${2 * connections}`],
    ['worker_connections 100000', `worker_connections ${connections}`],
    ['worker_processes auto', 'worker_processes 1'],
    ['http {', `http {\n${paths}`],
    ['listen 443', `listen 127.0.0.1:${port}`],
    [/ +listen \[::\].*\n/, ''],
    [/ssl_certificate .*/, `ssl_certificate ${file('crt')};`],
    [/ssl_certificate_key .*/, `ssl_certificate_key ${file('key')};`],
    ['127.0.0.1:11000', `127.0.0.1:${node}`],
    [/ +server 127\.0\.0\.1:11100.*\n/, ''],
  );
  writeFileSync(file('conf'), text);
  const child = start('server', NGINX, ['-p', at, '-c', file('conf'), '-e', 'stderr']);
  await until(() => {
    if (child.exitCode !== null) throw new Error(child.complaints);
    return listens(port);
  }, 'nginx listens');
  return { children: [child], ports: [port] };
}

const listens = port =>
  new Promise(resolve => {
    const socket = connect(port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false));
    socket.on('close', () => {}).unref();
    socket.on('connect', () => socket.destroy());
  });
