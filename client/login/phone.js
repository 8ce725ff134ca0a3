/* The phone's side of a login by scan: what the login shows, and yes or no. */

/** The key in the page's address; as it stands there, where it cannot be decoded. */
function keyOf() {
  var key = (/[?&]key=([^&#]*)/.exec(location.search) || ['', ''])[1];
  try {
    return decodeURIComponent(key);
  } catch (e) {
    return key;
  }
}

/** The last of these words that a text has. A more special one comes later: Edge also says Chrome, and Chrome Safari. */
function lastIn(text, words) {
  var found = '';
  words.replace(/\w+/g, function (word) {
    if (text.indexOf(word) > 0) found = word;
  });
  return found;
}

/** A User-Agent header as people call it: "Chrome (Windows)". Any other text stays. */
function browserOf(text) {
  if (!/^Mozilla\/\d/.test(text)) return text;
  var name = lastIn(text, 'Safari Chrome CriOS Firefox FxiOS Samsung OPR Edg');
  var system = lastIn(text, 'Linux Android CrOS Mac iPad iPhone Windows');
  var names = { Edg: 'Edge', OPR: 'Opera', FxiOS: 'Firefox', CriOS: 'Chrome' };
  return name && system ? (names[name] || name) + ' (' + system + ')' : text;
}

/** How this tab has seen a login decided, also after a reload; undefined without storage. @param state is noted */
function taken(key, state) {
  try {
    if (state) sessionStorage.setItem('tagwait ' + key, state);
    return sessionStorage.getItem('tagwait ' + key);
  } catch (e) {}
}

/**
 * A text that the login shows, at most so long, without what could move the texts around it: control characters and
 * those of writing direction. '' for what is no text. Where the page is read from the right, it has a direction of its own.
 */
function shown(value, most, dir) {
  if (!/^(string|number)$/.test(typeof value)) return '';
  value = ('' + value)
    .replace(/\s+/g, ' ')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: what is taken out
    .replace(/[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]|^ | $/g, '');
  if (value.length > most) value = value.slice(0, most).replace(/[\ud800-\udbff]$/, '') + '…';
  return value && dir === 'rtl' ? '\u2068' + value + '\u2069' : value;
}

/** The question, with the names of site, browser and place in it, and without each part in `[…]` that has one that is not known. */
function questionOf(texts, show) {
  var part = /\[([^[\]]*)\]/g;
  function known(_, text) {
    var name = /\{(\w+)/.exec(text);
    return name && !shown(show[name[1]]) ? '' : text;
  }
  return texts.ask
    .replace(part, known)
    .replace(part, known)
    .replace(/\{(\w+)\}/g, function (_, name) {
      return shown(show[name], 60, texts.dir);
    });
}

/** The rows of the table: label and text. */
function rowsOf(show, created, texts) {
  var rows = [];
  for (var name in show) {
    var text = shown(valueIn(show, name), 200, texts.dir);
    if (text) rows.push([/^(site|browser|place)$/.test(name) ? texts[name] : name, text]);
  }
  var date = new Date(created * 1000);
  var time;
  try {
    time = date.toLocaleTimeString(texts.lang, { hour: '2-digit', minute: '2-digit' });
  } catch (e) {
    time = date.toLocaleTimeString();
  }
  if (created) rows.push([texts.time, time]);
  return rows;
}

/** Says how a step ended. */
function outcome(status) {
  if (status === 409) return 'taken';
  return status === 404 || status === 410
    ? 'expired'
    : status && status < 500 && status !== 429
      ? 'failed'
      : 'busy';
}

/** @param option reads an option of the tag */
function ask(option, parent, before) {
  var texts = textsOf(option);
  var key = option('key', keyOf());
  var root = call('createElement', 'div');
  var login;
  var tries = 0; // of a call that got no good answer
  parent.insertBefore(root, before);
  attributes(root, { lang: texts.lang, dir: texts.dir });

  function title(state, text) {
    root.className = 'tagwait-ask tagwait-' + state;
    empty(root);
    if (state !== 'asked' && state !== 'loading')
      addSvg(root, 24, 'icon', [{ d: state === 'approved' ? YES : NO }]);
    var heading = add(root, 'h1');
    attributes(heading, { tabindex: -1 });
    say(heading, text);
    heading.focus();
    tell(option, 'onstate', state);
  }

  function button(parent, name, press) {
    var made = add(parent, 'button', name);
    made.setAttribute('type', 'button');
    made.onclick = press;
    say(made, texts[name]);
  }

  /** Posts the key. A page as the answer counts as 401: a sign-in, to which the site has sent the call on. */
  function send(name, then) {
    post(option, name, '&key=' + encodeURIComponent(key), function (status, answer, _, request) {
      then(status > 199 && status < 300 && /^\s*</.test(request.responseText) ? 401 : status, answer);
    });
  }

  function step(name) {
    return function () {
      var buttons = root.getElementsByTagName('button');
      for (var i = buttons.length; i--; ) buttons[i].disabled = true;
      send(name, function (status, answer) {
        if (status > 199 && status < 300) done(name === 'deny' ? 'denied' : 'approved');
        else refused(status, step(name), answer.reason);
      });
    };
  }

  /** @param state `approved` or `denied` */
  function done(state) {
    taken(key, state);
    title(state, texts[state]);
  }

  /**
   * @param retry is called where asking again may help: three times, and then by a button
   * @param reason of a conflict: it may have been decided already, for example in another tab
   */
  function refused(status, retry, reason) {
    var signin = option('signin');
    if (status === 401 && signin)
      location.href = signin.replace('{here}', encodeURIComponent(location.pathname + location.search));
    else if (status === 409 && /^(approved|denied)$/.test(reason)) done(reason);
    else trouble(outcome(status), retry);
  }

  function trouble(state, retry) {
    if (state === 'busy' && ++tries < 4) return setTimeout(retry, 1000 * tries);
    tries = 0;
    title(state, state === 'busy' ? texts.failed : texts[state]);
    if (state === 'busy') button(add(root, 'div', 'acts'), 'again', retry);
  }

  function question() {
    var show = login.show || {};
    if (typeof show !== 'object') show = { site: show };
    show.site = shown(show.site) || location.hostname;
    show.browser = browserOf(show.browser);
    tries = 0;
    title('asked', questionOf(texts, show));
    var list = add(root, 'dl');
    var rows = rowsOf(show, login.created, texts);
    for (var i = 0; i < rows.length; i++) {
      say(add(list, 'dt'), rows[i][0]);
      say(add(list, 'dd'), rows[i][1]);
    }
    say(add(root, 'p'), texts.care);
    var acts = add(root, 'div', 'acts');
    button(acts, 'deny', step('deny'));
    button(acts, 'approve', step('approve'));
  }

  function scan() {
    title('loading', texts.busy);
    send('scan', function (status, answer) {
      login = answer;
      var before = taken(key);
      if (status === 200) question();
      // a phone reloads the page that it has put away: the answer is 410 then
      else if (status === 410 && before) done(before);
      else refused(status, scan);
    });
  }
  scan();
}

var own = ownTag('login/phone');
if (own)
  place(own.element.getAttribute('data-into') || own.element.parentNode, function (parent) {
    addLook(own.element.nonce || own.element.getAttribute('nonce'));
    ask(optionsOf(own), parent, own.element.getAttribute('data-into') ? null : own.element);
  });
