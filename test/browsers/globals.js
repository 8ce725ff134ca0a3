// Writes src/protocol/globals.ts: the names that a browser or JavaScript defines on every page. They come from the
// package `globals`, from each engine that is installed, and from the lists below. Names are only ever added: an old browser
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
  'webextensions',
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

/**
 * Also of no engine here: other Safari, also on phones and in WebViews, other Firefox, Chrome on Android, installed web
 * apps, Internet Explorer and old Edge, wallets and other extensions, and trials that ended. Sources: their
 * documentation and the data of MDN (@mdn/browser-compat-data 2.0.7 and 8.1.9). VENDOR covers more.
 */
const ELSEWHERE = `orientation onorientationchange GestureEvent ongesturestart ongesturechange ongestureend
ontouchforcechange ApplePaySession ApplePayError ApplePaySetup WebKitMediaKeys WebKitPlaybackTargetAvailabilityEvent
SafariRemoteNotification SafariNamespace UIRequestEvent AutocompleteErrorEvent AutofillEvent onautocomplete
onautocompleteerror MediaControlsHost MediaKeyNeededEvent CanvasProxy Database DatabaseSync DatabaseCallback SQLError
SQLException SQLResultSet SQLResultSetRowList SQLTransaction SQLTransactionSync DOMURL EntryArray EntryArraySync
CSSUnknownRule CSSVariablesDeclaration CSSCustomMediaRule RGBColor Rect SVGColor SVGICCColor SVGPaint SVGDocument
SVGException SVGColorProfileElement SVGSolidcolorElement SVGUnknownElement SVGDiscardElement SVGAnimatedPoints
SVGViewSpec SVGElementInstanceList SVGAltGlyphElement SVGAltGlyphDefElement SVGAltGlyphItemElement SVGGlyphElement
SVGGlyphRefElement SVGHKernElement SVGVKernElement SVGCursorElement SVGFontElement SVGFontFaceElement SVGTRefElement
SVGPathSeg SVGPathSegArcAbs SVGPathSegArcRel SVGPathSegClosePath SVGPathSegCurvetoCubicAbs SVGPathSegCurvetoCubicRel
SVGPathSegCurvetoCubicSmoothAbs SVGPathSegCurvetoCubicSmoothRel SVGPathSegCurvetoQuadraticAbs
SVGPathSegCurvetoQuadraticRel SVGPathSegCurvetoQuadraticSmoothAbs SVGPathSegCurvetoQuadraticSmoothRel
SVGPathSegLinetoAbs SVGPathSegLinetoHorizontalAbs SVGPathSegLinetoHorizontalRel SVGPathSegLinetoRel
SVGPathSegLinetoVerticalAbs SVGPathSegLinetoVerticalRel SVGPathSegList SVGPathSegMovetoAbs SVGPathSegMovetoRel
HTMLModelElement HTMLContentElement HTMLShadowElement HTMLMenuItemElement HTMLPortalElement HTMLAttachmentElement
HTMLBlockElement HTMLBGSoundElement HTMLNextIdElement HTMLPhraseElement HTMLRichtextElement HTMLAreasCollection
HTMLModelessDialog HTMLImportElement sizeToContent getAttention getAttentionWithCycleCount setCursor openDialog maximize
minimize routeEvent globalStorage onpaint InstallVersion InstallTriggerImpl pkcs11 _content crypto updateCommands
intlUtils DOMApplication DOMApplicationsManager DOMCursor DOMRequest DOMTransactionEvent DOMConstructor DataErrorEvent
DataStore DataStoreChangeEvent DataStoreCursor DataContainerEvent DeviceLightEvent DeviceProximityEvent
UserProximityEvent DeviceStorage DeviceStorageChangeEvent CameraCapabilities CameraControl CameraManager FMRadio
IccChangeEvent InputMethod InterAppConnection LSProgressEvent LocalMediaStream MediaStreamError PropertyNodeList
RecordErrorEvent RadioInterfaceLayer SmartCardEvent SimpleGestureEvent StyleRuleChangeEvent
StyleSheetApplicableStateChangeEvent StyleSheetChangeEvent SpecialPowers TVManager UserDataHandler WebActivity
XULCommandEvent XULControllers XULElement XULTemplateBuilder ChromeWindow ChromeWorker ChromeNodeList BoxObject TreeColumn
TreeColumns TreeContentView TreeSelection CSS2Properties CSSNameSpaceRule CSSGroupRuleRuleList CSSRect
CSSFontFeatureValuesMap CommandEvent ScrollAreaEvent ScrollViewChangeEvent SelectionStateChangedEvent Notation
DOMErrorHandler FileException IDBDatabaseException IDBEnvironment IDBLocaleAwareKeyRange ServiceWorkerMessageEvent
XPCSafeJSObjectWrapper XPCCrossOriginWrapper XPCComponents XMLStylesheetProcessingInstruction EntityReference Entity
RTCIdentityAssertion RTCIdentityErrorEvent RTCIdentityEvent RTCIdentityProviderRegistrar AuthenticationAssertion
ScopedCredential ScopedCredentialInfo BudgetService PushRegistrationManager StorageQuota TrackDefault TrackDefaultList
getDigitalGoodsService DigitalGoodsService pushManager requestFileSystem resolveLocalFileSystemURL AmbientLightSensor
Magnetometer CanvasFilter ContactAddress ContactsManager ContentIndex ContentIndexEvent NDEFMessage NDEFReader
NDEFReadingEvent NDEFRecord NDEFWriter FaceDetector TextDetector DetectedFace DetectedText DetectedBarcode
DirectoryEntrySync DirectoryReaderSync EntrySync FileEntrySync FileSystemSync Metadata InterventionReportBody
DeprecationReportBody MerchantValidationEvent PaymentInstruments MediaStreamTrackHandle MouseWheelEvent Intent
SpeechInputEvent SpeechInputResult SpeechInputResultList Path PerformanceContainerTiming PerformanceFrameTiming PortalHost
PortalActivateEvent portalHost onportalactivate PreferenceManager PreferenceObject SharedStorageWorkletGlobalScope
SharedWorkerContext StorageAccessHandle VideoTrackGenerator ML MLContext MLGraph MLGraphBuilder MLOperand MLTensor
WebGL2ComputeRenderingContext WebGLTimerQueryEXT WebGLVertexArrayObjectOES XRMediaBinding TCPSocket TCPServerSocket
UDPSocket SmartCardContext SmartCardConnection SmartCardError getScreens isMultiScreen AppBannerPromptResult layoutShift
v8Intl v8Locale convertPointFromNodeToPage convertPointFromPageToNode AsyncIterator HMDVRDevice PositionSensorVRDevice
VRDevice VRDisplay VRDisplayCapabilities VRDisplayEvent VREyeParameters VRFieldOfView VRFrameData VRPose VRPositionState
VRStageParameters onvrdisplayactivate onvrdisplayblur onvrdisplayconnect onvrdisplaydeactivate onvrdisplaydisconnect
onvrdisplayfocus onvrdisplaypointerrestricted onvrdisplaypointerunrestricted onvrdisplaypresentchange onclipboardchange
oncompassneedscalibration onafterscriptexecute onbeforescriptexecute onfullscreenchange onfullscreenerror onfreeze onresume
oninterest onloseinterest onloadend onencrypted onwaitingforkey onoverflow onunderflow onshow onsort onstop
onpointerlockchange onpointerlockerror onprerenderingchange onreadystatechange onvisibilitychange onbeforecopy onbeforecut
onbeforepaste onbeforeactivate onbeforedeactivate onbeforeeditfocus oncellchange oncontrolselect ondataavailable
ondatasetchanged ondatasetcomplete ondeactivate onerrorupdate onfilterchange onlayoutcomplete onlosecapture onmoveend
onmovestart onpropertychange onresizeend onresizestart onrowenter onrowexit onrowsdelete onrowsinserted ontimeerror
onmscontentzoom onmsgesturechange onmsgesturedoubletap onmsgestureend onmsgesturehold onmsgesturestart onmsgesturetap
onmsinertiastart onmslostpointercapture onmsgotpointercapture onmsmanipulationstatechanged onmsneedkey onmspointercancel
onmspointerdown onmspointerenter onmspointerhover onmspointerleave onmspointermove onmspointerout onmspointerover
onmspointerup onmssitemodejumplistitemremoved onmsthumbnailclick onmsorientationchange MSAssertion
MSBehaviorUrnsCollection MSBlobBuilder MSCSSMatrix MSCSSProperties MSCSSRuleList MSCompatibleInfo
MSCompatibleInfoCollection MSCredentials MSCurrentStyleCSSProperties MSDataBindingRecordSetExtension
MSDataBindingRecordSetReadonlyExtension MSDataBindingTableExtension MSEventAttachmentTarget MSEventObj
MSFIDOCredentialAssertion MSFIDOSignature MSFIDOSignatureAssertion MSGestureEvent MSGraphicsTrust MSInputMethodContext
MSLaunchUriError MSManipulationEvent MSMediaKeyError MSMediaKeyMessageEvent MSMediaKeyNeededEvent MSMediaKeySession
MSMediaKeys MSMimeTypesCollection MSNamespaceInfo MSNamespaceInfoCollection MSNodeExtensions MSPluginsCollection
MSPrintManagerTemplatePrinter MSProtocolsCollection MSRangeCollection MSResourceMetadata MSScriptHost MSSelection
MSSiteModeEvent MSStyleCSSProperties MSStyleSheetPage MSStyleSheetPageList MSTemplatePrinter MSUnsafeFunctionCallback
MSWebViewAsyncOperation MSWebViewSettings BookmarkCollection ControlRangeCollection DOMSiteModeEvent LongRange ULongRange
RulesCollection StyleSheetPage StyleSheetPageList TextRange TextRangeCollection Debug Windows msAnimationStartTime
msContentScript msCredentials msCrypto msFIDOAuthenticator msPerformance msSaveBlob msSaveOrOpenBlob animationStartTime
doNotTrack browser opr oprt ethereum solana web3 BinanceChain braveEthereum braveSolana UserJSEvent UserJSElement
__gCrWeb __crWeb __firefox__ __wxjs_environment __wxjs_is_wkwebview AlipayJSBridge ucweb ucapi ucbrowser mqq`;

/** Prefixes that vendors give to what they add, and the form of the constructors of elements: not in the list. */
const VENDOR =
  /^(?:(?:webkit|WebKit|moz|Moz|ApplePay)[A-Z]\w*|on(?:webkit|moz)[a-z]+|(?:HTML|SVG)[A-Z]\w*Element)$/;

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

/** What neither the package nor an engine here knows of. */
export const goneNames = () => `${GONE} ${ELSEWHERE}`.split(/\s+/);

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
  const names = new Set([...packagedNames(), ...goneNames(), ...written()]);
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
 * The global names that browsers and JavaScript define on every page, and those that every object inherits.
 * Generated by test/browsers/globals.js, which documents the sources.
 */
const NAMES = \`
${lines([...names].filter(name => !VENDOR.test(name)).sort())}
\`;

/** Prefixes that vendors give to what they add, and the form of the constructors of elements. */
const VENDOR =
  ${VENDOR};

export const GLOBALS: ReadonlySet<string> = new Set(NAMES.trim().split(/\\s+/));

/** Whether a browser or JavaScript defines this name, or may in another version. */
export const isGlobal = (name: string): boolean => GLOBALS.has(name) || VENDOR.test(name);
`,
  );
  console.log(`${names.size} names written`);
}
