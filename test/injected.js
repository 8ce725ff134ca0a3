// The pages of injected.test.ts: one that an attacker injects script URLs into, and those with clobbering elements.

/** Queries of an injected script URL. The names on the page below are the attacker's choice, too. */
export const WAYS = [
  ...[
    'pay.submit',
    'pay.reset',
    'document.forms.pay.submit',
    'document.body.firstElementChild.click',
    'document.body.remove',
    'document.open',
    'location.reload',
    'history.back',
    'localStorage.clear',
    'window.stop',
    // elements in the place of JSONP clients' registries
    'tagwait_1.submit',
    'tagwait_1.ownerDocument.forms.pay.submit',
    'tagwait_1.w1.click',
    'angular.callbacks.click',
    'dojo_request_script_callbacks.submit',
    // globals
    'open',
    'stop',
    'focus',
    'scrollBy',
    'captureEvents',
    'postMessage',
    'structuredClone',
    'Function',
    'eval',
    'toString',
    '__defineGetter__',
    'constructor',
  ].map(name => `callback=${name}`),
  ...[
    'location',
    'name',
    'open',
    'onhashchange',
    'toString',
    'history',
    'document.cookie',
    'document.title',
    'document.domain',
    'document.location.hash',
    'top.location',
    'window.name',
    'localStorage.stolen',
    'pay.action',
    'Object.prototype.injected',
    'pay.constructor.prototype.submit',
    'pay.__proto__.injected',
    '__proto__',
  ].map(name => `var=${name}`),
];

/** Runs in the page: injects each URL, and tells what its element fired and what was changed. */
const attack = (service, ways) => {
  let called = 0;
  const happened = [];
  window.cb = () => called++;
  window.open = () => happened.push('open');
  window.stop = () => happened.push('stop');
  window.focus = () => happened.push('focus');
  for (const type of ['submit', 'reset', 'click', 'hashchange', 'message'])
    addEventListener(type, () => happened.push(type), true);
  // biome-ignore lint/suspicious/noDocumentCookie: what an attacker would write to
  document.cookie = 'session=1';
  document.title = 'shop';
  localStorage.cart = 'full';
  const looks = () => ({
    address: location.href,
    cookie: document.cookie,
    title: document.title,
    domain: document.domain,
    local: JSON.stringify(localStorage),
    name: window.name,
    prototype: Object.getOwnPropertyNames(Object.prototype).sort().join(),
    methods: Object.getOwnPropertyNames(HTMLFormElement.prototype)
      .map(name => typeof Object.getOwnPropertyDescriptor(HTMLFormElement.prototype, name).value)
      .join(),
    globals: [typeof open, typeof onhashchange, typeof toString, typeof history.back].join(),
    action: document.getElementById('pay').getAttribute('action'),
    body: document.body.innerHTML,
    happened: happened.join(),
  });
  const inject = query =>
    new Promise(resolve => {
      const script = document.createElement('script');
      script.onload = script.onerror = event => setTimeout(() => resolve(event.type), 0);
      script.src = `${service}/status/get?key=attack&hold=0&${query}`;
      document.head.append(script);
    });
  (async () => {
    const result = {};
    for (const way of ways) {
      const before = looks();
      const fired = await inject(way);
      const after = looks();
      result[way] = { fired, changed: Object.keys(before).filter(what => before[what] !== after[what]) };
    }
    await inject('callback=cb');
    await fetch('/report', { method: 'POST', body: JSON.stringify({ attack: result, called }) });
  })();
};

/** The page whose policy lists the service. The attacker's own elements stand in for registries of JSONP clients. */
export const attacked =
  service => `<!doctype html><title>shop</title><body><a id="leave" href="/left">Leave</a>
<form id="pay" method="post" action="/paid"><input name="amount" value="1"></form>
<form id="tagwait_1" method="post" action="/paid"><input type="submit" name="w1"></form>
<a id="angular"></a><button id="angular" name="callbacks" form="pay"></button>
<form id="dojo_request_script_callbacks" method="post" action="/paid"></form>
<script nonce="r4nd0m">(${attack})(${JSON.stringify(service)}, ${JSON.stringify(WAYS)})</script>`;

/** How the script is used: by a tag that declares a watch, or by a call. */
export const MODES = ['classic', 'async', 'module', 'watched'];

/** The page's own tag. */
export const tagOf = (service, mode, key) => {
  const kind = { async: 'async', module: 'type="module"' }[mode] ?? '';
  const tag = attributes => `<script nonce="r4nd0m" ${attributes} src="${service}/client.js"></script>`;
  if (mode !== 'watched') return tag(`${kind} data-key="${key}" data-onvalue="heard"`);
  return `${tag('')}<script nonce="r4nd0m">tagwait.watch('${key}', { proof: 'secret', onvalue: heard })</script>`;
};

/** Every member of document and window that the script reads, and what it could fall back on. */
const MEMBERS = [
  ...[
    'currentScript',
    'getElementsByTagName',
    'createElement',
    'readyState',
    'hidden',
    'head',
    'documentElement',
  ],
  ...[
    'constructor',
    'defaultView',
    'Document',
    'Object',
    'Math',
    'Date',
    'Error',
    'setTimeout',
    'clearTimeout',
  ],
  ...['encodeURIComponent', 'trustedTypes', 'BroadcastChannel', 'addEventListener', 'attachEvent', 'tagwait'],
];

/** By kind of element: a page that has one for each of MEMBERS, before and after the script's tag. */
export const clobbered = evil => {
  const kinds = {
    // the one that the script reads first, alone: the others would stop it
    one: name => (name === 'currentScript' ? `<img name="${name}" src="${evil}/client.js" alt="">` : ''),
    img: name => `<img name="${name}" id="${name}" src="${evil}/client.js" alt="">`,
    form: name => `<form name="${name}" id="${name}" action="${evil}/client.js"><input name="src" value="${evil}/client.js">
      <input name="nodeName" value="SCRIPT"><input name="nonce" value="r4nd0m"><input name="getAttribute"><input name="call"><input name="prototype"></form>`,
    a: name =>
      `<a id="${name}" name="${name}" href="${evil}/client.js"></a><a id="${name}" name="src" href="${evil}/client.js"></a>`,
    iframe: name => `<iframe name="${name}" src="${evil}/frame"></iframe>`,
    srcdoc: name =>
      `<iframe name="${name}" srcdoc='<a id="src" href="${evil}/client.js"></a><a id="nodeName" href="script:"></a>'></iframe>`,
    embed: name =>
      `<embed name="${name}" id="${name}" src="${evil}/client.js" type="text/plain"><object name="${name}"></object>`,
    script: name =>
      `<script name="${name}" id="${name}" src="${evil}/client.js"></script><script type="text/plain" src="${evil}/client/1.0.0.js"></script>`,
  };
  // frames cost more than other elements: those of the document alone
  const members = kind => (/iframe|srcdoc/.test(kind) ? MEMBERS.slice(0, 8) : MEMBERS);
  return Object.fromEntries(
    Object.entries(kinds).map(([kind, element]) => {
      const all = members(kind).map(element).join('');
      return [
        kind,
        tag => `<!doctype html><title>${kind}</title><body>
<script nonce="r4nd0m">function heard(value) { fetch('/heard/' + location.pathname.split('/')[2]); }</script>
${all}${tag}${all}</body>`,
      ];
    }),
  );
};
