/** Changes of deploy/nginx.conf that `npm run path -- --settings` measures: a name, and the texts to replace. */
const without = name => [new RegExp(` +${name} .*\\n`), ''];
const POOLS = ['ssl_buffer_size', 'request_pool_size', 'http2_pool_size'];
const BUFFERING = [/proxy_buffering on;\s+proxy_max_temp_file_size 0;/, 'proxy_buffering off;'];

export const VARIANTS = [
  ['as shipped'],
  ["nginx's defaults for all of these", ...POOLS.map(without)],
  ...POOLS.map(name => [`without \`${name}\``, without(name)]),
  ['`ssl_buffer_size 1400`', ['ssl_buffer_size 4k', 'ssl_buffer_size 1400']],
  ['`request_pool_size 512`', ['request_pool_size 1k', 'request_pool_size 512']],
  [
    '`client_header_buffer_size 256`',
    ['request_pool_size 1k;', 'request_pool_size 1k; client_header_buffer_size 256;'],
  ],
  ['`proxy_buffering off`', BUFFERING],
];
/** Two writes for each answer. */
export const UNBUFFERED = [BUFFERING];
