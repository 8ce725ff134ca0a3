// Writes a program for Windows' script host: the login box in a document that is only a stub, without SVG, and with the
// XMLHttpRequest of IE 8. It prints the states, how many cells the code has, and what is redeemed.
import { readFileSync } from 'node:fs';

const stub = function () {
  var timers = [];
  var clock = 1e12;
  var real = Date;

  // Time is the stub's own and jumps to the next timer: this script host cannot sleep.
  Date = function (text) {
    this.valueOf = function () {
      return text ? real.parse(text) : clock;
    };
  };
  setTimeout = function (action, ms) {
    timers.push({ action: action, at: clock + (ms || 1), id: ++timers.ids || (timers.ids = 1) });
    return timers.ids;
  };
  setInterval = function (action, ms) {
    var timer = { ended: 0 };
    (function again() {
      setTimeout(function () {
        if (timer.ended) return;
        action();
        again();
      }, ms);
    })();
    return timer;
  };
  clearInterval = function (timer) {
    timer.ended = 1;
  };
  clearTimeout = function (id) {
    for (var i = 0; i < timers.length; i++) if (timers[i].id === id) return timers.splice(i, 1);
  };
  print = function (kind, text) {
    WScript.Echo(kind + '\t' + text);
  };

  var tags = [];
  function Element(name) {
    this.tagName = name;
    this.childNodes = [];
    this.attributes = {};
    this.style = {};
    this.firstChild = null;
    tags.push(this);
  }
  Element.prototype = {
    setAttribute: function (name, value) {
      this.attributes[name] = '' + value;
    },
    getAttribute: function (name) {
      return name in this.attributes ? this.attributes[name] : null;
    },
    removeAttribute: function (name) {
      delete this.attributes[name];
    },
    appendChild: function (child) {
      return this.insertBefore(child, null);
    },
    insertBefore: function (child, next) {
      for (var i = 0; i < this.childNodes.length && this.childNodes[i] !== next; ) i++;
      this.childNodes.splice(i, 0, child);
      this.firstChild = this.childNodes[0];
      child.parentNode = this;
      if (/status.get/.test(child.src)) poll(child);
      return child;
    },
    removeChild: function (child) {
      for (var i = 0; i < this.childNodes.length; i++)
        if (this.childNodes[i] === child) this.childNodes.splice(i, 1);
      this.firstChild = this.childNodes[0] || null;
      child.parentNode = null;
    },
    focus: function () {}
  };
  cells = function (element) {
    var count = element.tagName === 'td' ? 1 : 0;
    for (var i = 0; i < element.childNodes.length; i++) count += cells(element.childNodes[i]);
    return count;
  };

  var polls = 0;
  function poll(element) {
    var answer = answers[polls++];
    var names = /callback=([^&]*)/.exec(element.src)[1].split('.');
    if (answer)
      setTimeout(function () {
        window[names[0]][names[1]][names[2]](answer);
      }, answer.after);
  }
  function respond(request) {
    setTimeout(function () {
      request.readyState = 4;
      request.status = 200;
      request.responseText = request.path === '/login/new' ? ticketText : '{}';
      request.onreadystatechange();
    }, 5);
  }
  XMLHttpRequest = function () {
    this.readyState = 0;
  };
  XMLHttpRequest.prototype = {
    open: function (_method, path) {
      this.path = path;
    },
    setRequestHeader: function () {},
    getResponseHeader: function () {
      return '';
    },
    abort: function () {},
    send: function (body) {
      if (/redeem/.test(this.path)) print('redeem', body);
      respond(this);
    }
  };
  JSON = {
    parse: function (text) {
      return new Function('return ' + text)();
    }
  };

  var tag = new Element('script');
  var head = new Element('head');
  into = new Element('div');
  head.appendChild(tag);
  new Element('html').appendChild(head);
  tag.src = 'http://site/login.js';
  navigator = { userLanguage: 'de' };
  location = {};
  window = {
    XMLHttpRequest: XMLHttpRequest,
    attachEvent: function () {},
    heard: function (state) {
      print('report', state + (state === 'waiting' ? ' table ' + cells(into) : ''));
    }
  };
  document = {
    readyState: 'complete',
    cookie: '',
    documentElement: { lang: '' },
    createElement: function (name) {
      var element = new Element(name);
      if (name === 'style') element.styleSheet = {};
      return element;
    },
    createTextNode: function (text) {
      return { text: text, childNodes: [] };
    },
    getElementById: function () {
      return into;
    },
    getElementsByTagName: function (name) {
      var found = [];
      for (var i = 0; i < tags.length; i++) if (tags[i].tagName === name) found.push(tags[i]);
      return found;
    }
  };
  tag.attributes = {
    'data-new': '/login/new',
    'data-redeem': '/login/redeem',
    'data-into': '#login',
    'data-onstate': 'heard'
  };
  run = function () {
    for (var steps = 0; timers.length && steps < 200; steps++) {
      var first = 0;
      for (var i = 1; i < timers.length; i++) if (timers[i].at < timers[first].at) first = i;
      var timer = timers.splice(first, 1)[0];
      clock = Math.max(clock, timer.at);
      timer.action();
    }
  };
};

/** @param ticket what the site answers @param answers what the polls are answered */
export const boxProgramOf = (
  ticket,
  answers
) => `var setTimeout, setInterval, clearInterval, clearTimeout, print, cells, into, window, document, navigator, location, run;
var answers = ${JSON.stringify(answers)};
var ticketText = ${JSON.stringify(JSON.stringify({ ...ticket, expires: 1e9 + 60 }))};
(${stub})();
eval(${JSON.stringify(readFileSync(new URL('../../dist/client/login.js', import.meta.url), 'utf8'))});
run();
`;
