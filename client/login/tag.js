/* The script's own tag, its options, and what the page's script and the phone's script have in common. */

/** Calls a method of the document, also where an element of that name has taken its place (DOM clobbering). */
function call(method, a, b) {
  try {
    return Document.prototype[method].call(document, a, b);
  } catch (e) {
    return document[method](a, b);
  }
}

/**
 * The including tag: the script element of this name that the browser says is running; otherwise (modules, old
 * engines) the last one that no copy of the script has taken.
 * @param name a pattern of the file's path
 */
function ownTag(name) {
  var list = call('getElementsByTagName', 'script');
  var found;
  for (var i = list.length; i--; ) {
    var parts = new RegExp('^(\\w*:?//[^/]+)?[^?#]*/' + name + '(/\\d[^/]*)?\\.js\\b').exec(list[i].src);
    if (parts && !list[i].tagwait && (!found || list[i] === document.currentScript))
      found = { element: list[i], origin: parts[1] || '' };
  }
  if (found) found.element.tagwait = 1;
  return found;
}

/** A property; null for what a script has added to the prototype of all objects. */
function valueIn(object, name) {
  return object[name] === {}[name] ? null : object[name];
}

/** Reads an option: of an object, or `data-…` of the tag. */
function optionsOf(tag, given) {
  return function (name, fallback) {
    var value = given ? valueIn(given, name) : tag && tag.element.getAttribute('data-' + name);
    return value == null ? fallback : value;
  };
}

/** Calls a handler of the page: a function, or the name of a global one. An error of it is the page's business. */
function tell(option, name, a, b) {
  var handler = option(name);
  try {
    if (handler) (handler.split ? window[handler] : handler)(a, b);
  } catch (e) {
    setTimeout(function () {
      throw e;
    });
  }
}

/** The texts by name: the page's own, or those of its language, or English. */
function textsOf(option) {
  var wanted = option('lang') || document.documentElement.lang || navigator.language || '';
  var code = wanted.toLowerCase().split(/[-_]/)[0];
  if (!TEXTS[code] || !TEXTS[code].split) code = 'en';
  var texts = { lang: code, dir: option('dir', code === 'ar' ? 'rtl' : 'ltr') };
  var own = TEXTS[code].split('|');
  for (var i = 0; i < own.length; i++) texts[TEXT_NAMES[i]] = option('text-' + TEXT_NAMES[i], own[i]);
  return texts;
}

/** Calls `then` with the element that the box goes into, once the page has it. @param into the element, or its `#id` */
function place(into, then) {
  var element = into.split ? call('getElementById', into.replace('#', '')) : into;
  if (element) then(element);
  else
    setTimeout(function () {
      place(into, then);
    }, 50);
}

/**
 * Posts a form to the page's own site.
 * @param name of the option with the path
 * @param fields `&name=value` of each
 * @param done is given the status (0: no answer), the answer if it is JSON, the date of the answer, and the request
 */
function post(option, name, fields, done) {
  var request = new XMLHttpRequest();
  var token = option('csrf');
  try {
    if (option('csrf-cookie')) {
      token = new RegExp('(^|; )' + option('csrf-cookie') + '=([^;]*)').exec(document.cookie)[2];
      token = decodeURIComponent(token);
    }
  } catch (e) {} // no such cookie, none to be read in a sandbox, or one that is sent as it is
  var body = option('csrf-field') ? option('csrf-field') + '=' + encodeURIComponent(token) : '';
  request.open('POST', option(name), true);
  request.setRequestHeader('Content-Type', 'application/x-www-form-urlencoded');
  request.setRequestHeader('Accept', 'application/json');
  // frameworks know it, and a page of another site cannot send it, unless the site allows it
  request.setRequestHeader('X-Requested-With', 'XMLHttpRequest');
  if (token) request.setRequestHeader(option('csrf-header', 'X-CSRF-Token'), token);
  var timer = setTimeout(function () {
    request.abort();
    over(0);
  }, 15000);
  function over(status) {
    var answer, date;
    if (timer) clearTimeout(timer);
    else return;
    timer = 0;
    try {
      date = request.getResponseHeader('Date');
      answer = JSON.parse(request.responseText);
    } catch (e) {}
    done(status, answer || {}, date, request);
  }
  request.onreadystatechange = function () {
    if (request.readyState === 4) over(request.status);
  };
  request.send(body + fields);
}
