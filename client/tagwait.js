/*
 * The page's script: asks by script tags, and hears what a backend sets. ES3 in syntax and in what it calls.
 * The build wraps `create` for each way to load it; `included`: by a script tag of its own, not in a bundle.
 *
 * One rule carries it: a poll belongs to the place in the chain (`since`) that it was asked from. An answer
 * counts while the chain still stands there, however late it comes, and moves the chain on. So an abandoned
 * poll can still deliver, nothing is delivered twice, and the order of cursors need not be known.
 */
function create(window, document, included) {
  var TICK = 50; // ms after load before the first poll, for other tabs to make themselves known; and after a hint
  var LOAD = 3000; // ms to wait for a load event that may never come (NetSurf, a hanging image)
  var RETRY = 250; // ms; doubled up to 16 s
  var SPREAD = 2000; // ms of jitter on top: the pages of a node that dies do not come back in the same second
  var HOLD = 25; // seconds the service holds when the page does not say
  var GRACE = 10; // seconds an answer may be late before its poll is given up
  var SEATS = 3; // tabs of a site that hold at leisure: a browser has six connections to a host
  var NAP = 30000; // ms between the polls of a hidden tab without a seat

  // Calls a method of the document. A form named `createElement` takes the place of the document's own (DOM
  // clobbering), but not of what Document.prototype has. Old engines have nothing there.
  function call(method, argument) {
    try {
      return Document.prototype[method].call(document, argument);
    } catch (e) {
      return document[method](argument);
    }
  }

  // The including tag: a script element with our address that current browsers name; in old ones, and for a module, the
  // last one. Where errors have a stack it must hold that address: an injected element has not run.
  var list = included ? call('getElementsByTagName', 'script') : '';
  var stack = new Error().stack;
  var tag, origin;
  for (var i = list.length; i--; ) {
    var element = list[i];
    var found = /^(\w*:?\/\/[^/]+)?[^?#]*\/client(\/\d[\w.-]*)?\.js([?#]|$)/.exec(element.src);
    if (
      found &&
      (element === document.currentScript || (!tag && (!stack || stack.indexOf(element.src) > 0)))
    ) {
      tag = element;
      origin = found[1];
    }
  }

  // One global for all callbacks, unlike that of any other copy or tab: so no URL is ever asked for twice.
  var registry = 'tagwait_' + Math.floor(Math.random() * 1e15);
  var calls = (window[registry] = {});
  var watches = 0;
  var policy = {
    createScriptURL: function (url) {
      return url;
    }
  };

  // A page's CSP lists this policy in `trusted-types`. Where it may not be made, plain text may still do.
  try {
    policy = window.trustedTypes.createPolicy('tagwait', policy);
  } catch (e) {}

  function now() {
    return +new Date();
  }

  function watch(key, options) {
    options = options || {};
    var path = 'w' + ++watches;
    var mine = (calls[path] = {});
    var base = options.url || origin || '';
    var url = base.replace('{n}', Math.floor(Math.random() * 10)).replace(/\/$/, '');
    var nonce = options.nonce || (tag && (tag.nonce || tag.getAttribute('nonce')));
    var since = options.since;
    var age = now() + Math.random(); // the eldest tabs have the seats: a new one takes none away
    var peers = {}; // other tabs' ages, and until when they count: one may crash without a word
    var polls = 0; // so far; also the newest poll's number
    var delay = RETRY; // more than that: the last poll failed
    var deadline; // by the wall clock: past it, an event asks at once
    var source = ''; // of the newest poll, as the browser names it
    var asked, channel, ended, napping, script, state, timer;

    // A throwing handler is the page's business, not the loop's. A tag's handlers are names, looked up late.
    function tell(name, a, b) {
      var handler = options[name];
      try {
        if (handler) (handler.split ? window[handler] : handler)(a, b);
      } catch (e) {
        setTimeout(function () {
          throw e;
        }, 0);
      }
    }

    function become(next) {
      if (state !== next) tell('onstate', (state = next));
    }

    // One timer at a time: the watchdog of a poll in flight, or the wait for the next. Without an action: none,
    // and a deadline that never passes. One that may be cut short has passed already.
    function later(action, ms, eager) {
      deadline = eager ? 0 : now() + ms;
      if (timer) clearTimeout(timer); // NetSurf throws on undefined
      timer = action && setTimeout(action, ms);
    }

    // From here on the element's events mean nothing. It goes a tick later, because it may be running now,
    // and its handlers with it (IE leaks).
    function retire() {
      var old = script;
      script = 0;
      if (old)
        setTimeout(function () {
          old.onload = old.onerror = old.onreadystatechange = null;
          if (old.parentNode) old.parentNode.removeChild(old);
        }, 0);
    }

    // --- Tabs: the eldest hold, a visible one always asks, the other hidden ones nap until shown or seated.

    function crowded() {
      var elder = 0;
      for (var other in peers) if (other < age && peers[other] > now()) elder++;
      return elder >= SEATS;
    }

    function meet() {
      try {
        channel = channel || new BroadcastChannel('tagwait ' + base);
        channel.onmessage = function (event) {
          var other = event.data;
          if (other > 0 && !peers[other]) channel.postMessage(age);
          peers[Math.abs(other)] = other > 0 && now() + 3 * NAP;
          if (napping && !crowded()) ask();
        };
        channel.postMessage(age);
      } catch (e) {} // no such thing here: every tab asks, as if it were alone
    }

    function part() {
      later();
      retire();
      if (channel) {
        channel.postMessage(-age);
        channel.close();
        channel = 0;
      }
    }

    // --- The loop: ask, then answered or failed, then ask.

    function ask() {
      var number = ++polls;
      var from = since;
      var hold = options.hold;
      var full = crowded();
      var head = call('getElementsByTagName', 'head')[0];
      retire();
      meet();
      napping = full && document.hidden === true && !napping;
      if (napping) return later(ask, NAP, true);

      // Short where a held answer is in the way: of other tabs (a new one has not heard of them yet), or of the
      // news that all is well again.
      if ((full || number < 2 || delay > RETRY) && hold != 0) hold = 1;
      asked = now();
      later(failed, ((hold || HOLD) - -GRACE) * 1000);

      mine['p' + number] = function (answer) {
        // Else the chain has moved on: whatever this says is known, or will be said again.
        if (!ended && from === since) answered(answer || 0, number === polls);
      };
      delete mine['p' + (number - 8)];

      function pair(name, value) {
        return value == null ? '' : '&' + name + '=' + encodeURIComponent(value);
      }
      source =
        url +
        '/status/get?callback=' +
        registry +
        '.' +
        path +
        '.p' +
        number +
        pair('key', key) +
        pair('since', since) +
        pair('hold', hold) +
        pair('proof', options.proof);
      try {
        var element = (script = call('createElement', 'script'));
        element.async = true;
        if (nonce) element.setAttribute('nonce', nonce);
        element.src = policy.createScriptURL(source);
        source = element.src;
        // Load and error are hints: some engines fire both, some neither, IE's last ready state may come before
        // the call. Only the call counts. Ready states that matter: loaded, complete, and undefined elsewhere.
        element.onload =
          element.onerror =
          element.onreadystatechange =
            function () {
              if (script === element && /(ed|te)$/.test(element.readyState)) later(failed, TICK);
            };
        head.insertBefore(element, head.firstChild); // IE fails at the end, before a <base> has closed
      } catch (e) {
        blocked('trusted-types lacks tagwait');
      }
      if (!state) become('waiting');
    }

    function answered(answer, newest) {
      var code = answer.code;
      var before = since;
      var fresh = !code && answer.cursor && answer.cursor !== since;
      if (!newest && !fresh) return;
      retire();
      if (code > -2) {
        delay = RETRY;
        since = answer.cursor || since;
        become('waiting');
        if (fresh) deliver(answer, before);
        if (ended) return;
        if (answer['final']) end('final');
        // Straight from the callback, because a hidden tab's timers crawl; but never round and round on nothing.
        else if (fresh || now() - asked > 500) ask();
        else later(ask, 1000);
      } else if (/^-[245]$/.test(code)) end(answer.message, code < -2 && answer);
      else failed(answer);
    }

    function deliver(answer, before) {
      var values = (answer.earlier || []).concat([answer.data]);
      for (var i = 0; i < values.length && !ended; i++) {
        var last = i === values.length - 1;
        tell('onvalue', values[i], {
          'cursor': last ? since : before,
          'lost': (!i && answer.lost) || 0,
          'final': last && !!answer['final']
        });
      }
    }

    // With an answer, the service says when to ask again. Without one, the first failure in a row goes untold:
    // a socket broke, a network changed, the page is being left.
    function failed(answer) {
      answer = answer && answer.retry ? answer : 0; // old Firefox tells a timer how late it is
      var told = answer ? answer.code !== -6 : delay > RETRY;
      var ms = (answer ? answer.retry : delay) + Math.random() * SPREAD;
      if (delay < 16000) delay *= 2;
      retire();
      later(ask, ms, !answer); // focus and the like shorten our own wait, not the service's
      if (told) {
        become(answer ? 'busy' : 'offline');
        answer = answer || { code: 'failed', message: 'no answer' };
        answer.retry = ms;
        tell('onerror', answer);
      }
    }

    function blocked(detail) {
      end('blocked', { code: 'blocked', message: 'CSP: ' + detail });
    }

    function end(reason, error) {
      stop();
      if (error) tell('onerror', error);
      become('ended');
      tell('onend', reason);
    }

    function stop() {
      if (ended) return;
      ended = 1;
      delete calls[path];
      part();
    }

    // --- What the browser says.

    mine.heard = function (event) {
      if (event.type === 'load') {
        if (!polls) later(ask, TICK);
      } else if (event.type === 'pagehide') {
        // Leaving, perhaps into the back/forward cache: no outcome of this poll is worth a word.
        part();
      } else if (event.blockedURI) {
        if (
          !source.indexOf(event.blockedURI) &&
          /^script.*enforce/.test(event.effectiveDirective + event.disposition)
        )
          blocked(event.effectiveDirective + ' lacks ' + url);
      } else if (event.persisted || now() > deadline) ask();
    };

    meet();
    later(ask, document.readyState === 'complete' ? TICK : LOAD);
    return { stop: stop };
  }

  function heard(event) {
    for (var path in calls) calls[path].heard(event);
  }

  // For every watch of this copy, and never taken off: IE's detachEvent and leaks are not worth the bytes.
  list = 'load pagehide pageshow online focus visibilitychange securitypolicyviolation'.split(' ');
  for (i = list.length; i--; )
    if (window.addEventListener) window.addEventListener(list[i], heard, false);
    else if (window.attachEvent) window.attachEvent('on' + list[i], heard);

  // Nothing but the tag: its data-… are the key and the options.
  var declared = {};
  list = tag ? 'key url proof since hold onvalue onend onerror onstate'.split(' ') : [];
  for (i = list.length; i--; ) declared[list[i]] = tag.getAttribute('data-' + list[i]);
  if (declared.key) watch(declared.key, declared);

  return { watch: watch };
}
