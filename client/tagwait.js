/*
 * The page's script: it polls by script tags and calls the page's handlers. ES3 in syntax and in what it calls.
 * One file and one closure, because its functions share their variables: across files each would need a name in the build.
 * The build wraps `create` for each way to load it; `included`: by a script tag of its own, not in a bundle; `read`
 * (many.js only) converts an answer for several keys into one for this watch. The script for one key leaves it out.
 *
 * Invariant: a poll is valid only while `since` is still the cursor that it was sent with. A late answer with values
 * counts if its poll is valid, and moves `since` on. So an abandoned poll can still deliver, nothing is delivered twice,
 * and cursors need not be compared for their order.
 *
 * The order of the functions, some numbers written twice and `[since]` for text are what gzip packs best.
 */
function create(window, document, included, read) {
  // A form named `createElement` replaces the document's own method (DOM clobbering), but not its prototype's. That
  // needs the real document, which an image has: sandboxes such as qiankun's, in engines of today, give us a proxy.
  var methods = (window.Document || 0).prototype || document;
  if (window.Image && window.Promise) document = new Image().ownerDocument;

  // The including tag: a script element with our address that current browsers name; in old ones, and for a module, the
  // last one that is not watched yet. Where errors have a stack it must hold that address: an injected element has not run.
  var list = included ? methods.getElementsByTagName.call(document, 'script') : '';
  var stack = new Error().stack;
  var origin = '';
  var tag;
  if (included)
    for (var i = list.length; i--; ) {
      var element = list[i];
      var found = /^([^/]*\/\/[^/]+)[^?#]*\/client(\/\d[^/]*)?\.js\b/.exec(element.src);
      if (
        found &&
        (element === document.currentScript ||
          !(tag || element.tagwait || (stack && stack.indexOf(element.src) < 0)))
      ) {
        tag = element;
        origin = found[1];
      }
    }

  // One global for all callbacks, unlike that of any other copy or tab: so no URL is ever asked for twice.
  var registry = 'tagwait_' + ((Math.random() * 1e9) | 0);
  var calls = (window[registry] = {});
  var watches = 0;

  // A page's CSP lists this policy in `trusted-types`. Where it may not be made, plain text may still do.
  var policy = { createScriptURL: String };

  function now() {
    return +new Date();
  }

  // `options` is an object, or the tag itself.
  function watch(key, options) {
    options = options || calls;
    var lists = read && options !== tag; // key, since and proof of many.js are lists, encoded
    var path = 'w' + watches++;
    calls[path] = onEvent; // with the functions that answers call
    var polls = 0; // so far; also the newest poll's number
    var age = now() + Math.random(); // of this tab: the oldest three hold as long as they like
    var beat = now(); // when `pulse` ran last
    var due = now() + 3000; // when a poll is given up, or asked for; at the start: a load event may never come
    var url = option('url') || origin;
    var delay = 250; // ms before the next try, doubled up to 16 s; more than that: the last poll failed
    var since = option('since');
    var settle = now; // or what settles `ended`
    var signal = option('signal');
    var self = { stop: stop };
    // asked: when; after a failure 0; or, when the service said when to ask again, that time. live: the URL that drops
    // the poll in flight. cap: seconds that a hold may last behind a proxy that cut one after `cut` ms.
    var asked, cap, channel, script, ended, full, live, hold, cut, older, state;

    // Loads a URL as a script: as the last child of the root, which pages without a head have too, and sandboxes do not
    // watch. In a page of plain XML only an element of the root's namespace is a script.
    function load(text) {
      try {
        var root = methods.getElementsByTagName.call(document, 'html')[0];
        var element = (script = root.namespaceURI
          ? methods.createElementNS.call(document, root.namespaceURI, 'script')
          : methods.createElement.call(document, 'script'));
        element.src = policy.createScriptURL(text);
        element.nonce = option('nonce') || (tag && tag.nonce);
        // Load and error are hints: some engines fire both, some neither. Only the call counts.
        element.onerror = element.onload = function () {
          if (element === script) failed((live = 0));
        };
        root.appendChild(element);
      } catch (e) {
        blocked('CSP: trusted-types lacks tagwait? ' + e);
      }
    }

    // None is what a script of the page has added to the prototype of all objects. @param none is never given
    function option(name, none) {
      return options === tag
        ? tag.getAttribute('data-' + name)
        : options[name] !== calls[name]
          ? options[name]
          : none;
    }

    // What the browser says: an event, or the reports of a ReportingObserver; 0: it slept.
    function onEvent(event) {
      if (/de$/.test(event.type)) {
        // `pagehide`: leaving, perhaps into the back/forward cache: no outcome of this poll is worth a word.
        pause();
      } else if (event.blockedURI) {
        if (
          script &&
          !script.src.indexOf(event.blockedURI) &&
          /^sc.*e$/.test(event.effectiveDirective + event.disposition) // script-src…, enforce
        )
          blocked('CSP: ' + event.effectiveDirective + ' lacks ' + url);
      } else if (event[0]) {
        // Only Integrity-Policy reports with `reportOnly`.
        if (script && !script.src.indexOf(event[0].body.blockedURL) && event[0].body.reportOnly < 1)
          blocked(event[0].type);
      } else if ((event.type === 'resume' || !document.hidden) && now() - asked > 500) {
        // Back: a poll that is older than a moment may be on a dead connection, and nothing would tell. A page that was
        // frozen goes on before it is shown, if it is.
        delay = 250;
        ask();
      }
    }

    function blocked(message) {
      end('blocked', { code: 'blocked', message: message });
    }

    // Without an answer, the first failure in a row goes untold: a socket broke, a network changed, the page is being
    // left. The jitter: the pages of a node that dies do not come back in the same moment.
    function failed(answer) {
      var took = now() - asked;
      var error = answer || { code: 'failed', retry: delay, message: 'offline' };
      error.retry += Math.random() * 1000;
      if (!answer && hold !== 1 && took > 2000) {
        // Cut twice after the same time: a proxy's limit. Four fifths of it pass. But browsers send a poll that was cut
        // again by themselves, Firefox nine times: the limit may be far less than what it took, and than the hold too.
        if (took - cut < 500) cap = (Math.min(due - asked, took * 4) / 5000) | 0;
        cut = took;
      }
      if (delay < 10000) delay += delay;
      retire();
      due = now() + error.retry;
      asked = answer ? due : 0; // focus and the like shorten our own wait, not the service's
      if (answer ? 6 + answer.code : delay > 500) {
        become(answer ? 'busy' : 'offline');
        tell('onerror', error);
      }
    }

    function end(reason, error) {
      if (ended) return;
      ended = 1;
      calls[path] = now; // nothing more is heard or answered
      pause();
      settle(reason);
      if (error) tell('onerror', error);
      become('ended');
      tell('onend', reason);
    }

    // From here on the element's events mean nothing. A poll that is still held is dropped: a script request cannot be
    // cancelled, and would keep one of the browser's six connections to the service.
    function retire() {
      var old = script;
      var drop = live;
      script = live = 0;
      if (old && old.parentNode) old.parentNode.removeChild(old);
      if (drop) retire(load(drop));
    }

    function stop() {
      tell = now; // nothing is reported any more
      end('stopped');
    }

    function ask() {
      var number = ++polls;
      var from = since;
      if (number < 2 || now() - asked > 500) {
        // Each older tab answers once, with the age that it was asked with.
        full = older > 2;
        older = 0;
        try {
          channel = channel || new BroadcastChannel('tagwait');
          channel.onmessage = function (event) {
            event = event.data;
            if (!(event + age)) older++;
            else if (event > age) channel.postMessage(-event);
          };
          channel.postMessage(age);
        } catch (e) {} // no such thing here: every tab asks, as if it were alone
      }
      retire();

      // One poll in 500 tries whether the proxy still cuts. Short where a held answer is in the way: of other tabs (a
      // new one has not heard of them yet), or of the news that all is well again.
      hold = (number % 500 && cap) || option('hold');
      if (number < 2 || full || delay > 250) hold = full = 1;
      asked = now();
      due = now() + 10000 + (hold || 25) * 1000; // 25 s when nobody said, and 10 more

      onEvent['p' + number] = function (answer) {
        var code = answer.code;
        var fresh = answer.cursor !== since && !code;
        var before = since;
        // A drop is answered through the same function. And where the chain has moved on, whatever this says is known, or
        // will be said again.
        if (!(number === polls && script ? !(live = 0) : fresh) || from !== since || ended) return;
        retire();
        if (lists) code = read(answer, options);
        self.expires = now() + answer.left * 1000 || self.expires;
        if (code > -2) {
          delay = 250;
          since = answer.cursor || since;
          become('waiting');
          var values = fresh ? (answer.earlier || []).concat([answer.data]) : '';
          for (; values.length && !ended; answer.lost = 0)
            tell('onvalue', values.shift(), {
              cursor: values.length ? before : since,
              lost: answer.lost | 0,
              'final': !values.length && !!answer['final']
            });
          // The backend waits for a proof that the handlers ran, for every value: one poll more, which is not dropped.
          if (answer.receipt > values.length) pause((live = ask()));
          if (answer['final']) end('final');
          if (!ended) {
            // Straight from the callback, because a hidden tab's timers crawl; but never round and round on nothing.
            // A hidden tab without a place naps between its polls.
            due = older > 2 && document.hidden ? 5000 : 1000;
            if (fresh || now() - asked > due / 2) ask();
            else due += asked;
          }
        } else if (answer.retry) failed(answer);
        // the hold that was learned is longer than the service's own
        else if (code < -3 && cap) failed((cap = 0));
        else end(answer.message, code < -2 && answer);
      };
      delete onEvent['p' + (number - 8)];

      var text =
        url.replace(/\/?$/, '/status/get?callback=') +
        registry +
        '.' +
        path +
        '.p' +
        number +
        '&poll=' +
        registry +
        number +
        path +
        '&proof=' +
        (lists ? options.proof : escape([option('proof')])) +
        '&since=' +
        (lists ? since : escape([since])) +
        '&key=' +
        (lists ? key : escape(key)) +
        (hold == null ? '' : '&hold=' + escape(hold));
      load(text);
      if (!state) become('waiting');
      live = text.replace('poll=', 'drop=');
    }

    function become(next) {
      if (next !== state) tell('onstate', (state = next));
    }

    // A throwing handler is the page's business, not the loop's. A tag's handlers are names, looked up late.
    function tell(name, a, b) {
      var handler = option(name);
      try {
        if (handler) (handler.split ? window[handler] : handler)(a, b);
      } catch (e) {
        setTimeout(function () {
          throw e;
        });
      }
    }

    // Four times a second: the one timer, by the wall clock. A gap: the device slept. Backwards: the clock was put back, and
    // `due` is too far away.
    function pulse() {
      // A sandbox such as qiankun's gives a script a copy of the window, which injected scripts do not see. Timers have
      // the real one.
      if (this) this[registry] = calls;
      if (options.isConnected < 1) stop();
      if (ended) return;
      if (beat + 10000 < now()) onEvent(0);
      // Not while a young poll may say that it is the clock that was put forward.
      if (self.expires < now() && now() - asked > 500) end('expired');
      else if (due < now() || beat > now() || (polls < 1 && document.readyState === 'complete'))
        (script ? failed : ask)();
      beat = now();
      setTimeout(pulse, 250);
    }

    function pause() {
      retire();
      due = channel = channel && channel.close();
      asked = 0;
    }

    if (window.Promise)
      self.ended = new Promise(function (resolve) {
        settle = resolve;
      });
    // Handlers run where `watch` was called, and nothing else does: each timer would have Angular render the page.
    try {
      tell = Zone.current.wrap(tell);
      pulse = Zone.root.wrap(pulse);
    } catch (e) {} // no zone.js (Angular has it), or an element with that id
    if (signal) signal.addEventListener('abort', stop, signal.aborted && stop());
    setTimeout(pulse, 25); // a moment after load
    return self;
  }

  // For every watch of this copy.
  function onAnyEvent(event) {
    for (var i = watches; i--; ) calls['w' + i](event);
  }

  // Each line for newer browsers than the one before it. `resume` goes to the document and does not bubble: the first of
  // the list is heard on its way down. The focus of a field must not be.
  list = 'resume focus visibilitychange pagehide pageshow securitypolicyviolation online'.split(' ');
  try {
    for (i = list.length; i--; ) window.addEventListener(list[i], onAnyEvent, !i);
    policy = trustedTypes.createPolicy('tagwait', policy);
    new ReportingObserver(onAnyEvent).observe();
  } catch (e) {}

  // Nothing but the tag: its data-… are the key and the options.
  // Once for each tag: a script that comes after its own has been replaced takes the one in its place for its own.
  if (tag && (list = tag.getAttribute('data-key')) != null) tag.tagwait = tag.tagwait || watch(list, tag);

  return { watch: watch };
}
