// Writes src/protocol/globals.ts: the names that a browser or JavaScript defines on every page. They come from the
// package `globals`, from each engine that is installed, and from GONE. Names are only ever added: an old browser
// keeps what a new one has dropped. Run it when `globals` or an engine is newer; a test says when a name is missing.

import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import packaged from 'globals';
import { until } from '../../bench/until.js';
import { listenOnFree } from '../ports.js';
import { engines, start } from './engines.js';

const file = new URL('../../src/protocol/globals.ts', import.meta.url);

/** The sets of the package that hold names of pages and of the language. */
const SETS = [
  'browser',
  'builtin',
  'worker',
  'sharedWorker',
  'serviceworker',
  'audioWorklet',
  'paintWorklet',
];

/** What no engine here defines: Internet Explorer, old Edge, Opera, Safari and Chrome, extensions of theirs, WebViews. */
const GONE = `ActiveXObject CollectGarbage GetObject MSApp MSGesture MSPointerEvent MSStream MSStreamReader ScriptEngine
ScriptEngineBuildVersion ScriptEngineMajorVersion ScriptEngineMinorVersion VBArray Enumerator WScript XDomainRequest
attachEvent clipboardData createPopup detachEvent dialogArguments dialogHeight dialogLeft dialogTop dialogWidth execScript
msCancelRequestAnimationFrame msClearImmediate msIndexedDB msIsIndependentlyComposed msMatchMedia msRequestAnimationFrame
msSetImmediate msWriteProfilerMark navigate offscreenBuffering onafterupdate onbeforeupdate onfocusin onfocusout onhelp
maxConnectionsPerServer returnValue showHelp showModalDialog showModelessDialog setImmediate clearImmediate toStaticHTML
opera opr widget safari webkit webkitNotifications webkitAudioContext webkitIndexedDB webkitIDBKeyRange
webkitIDBTransaction webkitRequestAnimationFrame webkitCancelRequestAnimationFrame webkitStorageInfo webkitURL
webkitPostMessage openDatabase applicationCache defaultStatus defaultstatus chrome external sidebar netscape
InstallTrigger XPCNativeWrapper Components controllers content dump getInterface pkcs11 mozAnimationStartTime
mozCancelAnimationFrame mozCancelRequestAnimationFrame mozIndexedDB mozInnerScreenX mozInnerScreenY mozPaintCount
mozRequestAnimationFrame mozRTCIceCandidate mozRTCPeerConnection mozRTCSessionDescription BlobBuilder WebKitBlobBuilder
MozBlobBuilder java Packages sun JavaPackage layers back forward home disableExternalCapture enableExternalCapture
setResizable onuserproximity ondeviceproximity ondevicelight u2f cordova Android AndroidInterface ReactNativeWebView
WeixinJSBridge StyleMedia styleMedia SVGElementInstance Intl Iterator StopIteration uneval toSource watch unwatch eval`;

/** Runs in the page, in engines of any age. → every name on window and on what it inherits from */
export const collector = () => {
  var names = [];
  var object = window;
  function take(name) {
    if (/^[A-Za-z_$][A-Za-z0-9_$]*$/.test(name)) names.push(name);
  }
  for (; object; object = Object.getPrototypeOf(object)) Object.getOwnPropertyNames(object).forEach(take);
  return names;
};

const page = `<!doctype html><title>globals</title><script>
(function () {
  var names = (${collector})(), images = [], parts = Math.ceil(names.length / 50);
  for (var part = 0; part < parts; part++) {
    images[part] = new Image();
    images[part].src = '/names?part=' + part + '&of=' + parts + '&names=' + names.slice(part * 50, part * 50 + 50).join('+');
  }
})();
</script>`;

/** What an engine defines on a page of its own. */
async function namesIn(engine) {
  const parts = new Map();
  let wanted = 0;
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url, 'http://page');
    if (pathname === '/') return response.writeHead(200, { 'content-type': 'text/html' }).end(page);
    if (pathname === '/names') {
      wanted = Number(searchParams.get('of'));
      parts.set(searchParams.get('part'), searchParams.get('names').split(' '));
    }
    response.writeHead(404).end();
  });
  const stop = start(engine, `http://127.0.0.1:${await listenOnFree(server)}/`, []);
  try {
    await until(() => wanted > 0 && parts.size === wanted, `the names of ${engine.name}`, { within: 30_000 });
    return [...parts.values()].flat();
  } finally {
    await stop();
    server.closeAllConnections();
    await new Promise(resolve => server.close(resolve));
  }
}

/** What the package knows of. */
export const packagedNames = () => SETS.flatMap(set => Object.keys(packaged[set]));

const written = () =>
  readFileSync(file, 'utf8')
    .match(/^[\w$]+(?: [\w$]+)*$/gm)
    ?.join(' ')
    .split(' ') ?? [];

/** Lines of at most 130 characters. */
function lines(names) {
  const all = [''];
  for (const name of names)
    if (all.at(-1).length + name.length < 129) all.push(`${all.pop()} ${name}`.trim());
    else all.push(name);
  return all.join('\n');
}

if (process.argv[1] === import.meta.filename) {
  const names = new Set([...packagedNames(), ...GONE.split(/\s+/), ...written()]);
  // NetSurf and JScript tell nothing that the others do not
  for (const engine of engines.filter(one => !/NetSurf|JScript/.test(one.name) && one.found())) {
    const found = await namesIn(engine);
    const fresh = found.filter(name => !names.has(name));
    console.log(`${engine.name} ${engine.version()}: ${found.length} names, ${fresh.length} of them new`);
    for (const name of found) names.add(name);
  }
  writeFileSync(
    file,
    `/**
 * The names that a browser or JavaScript defines on every page, and what every object inherits.
 * Written by test/browsers/globals.js; its head says from what.
 */
const NAMES = \`
${lines([...names].sort())}
\`;

export const GLOBALS: ReadonlySet<string> = new Set(NAMES.trim().split(/\\s+/));
`,
  );
  console.log(`${names.size} names written`);
}
