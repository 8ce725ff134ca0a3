// Writes a program for Windows' script host: the built client in a document that is only a stub, with IE 8's ready
// states, and the scenarios' lists for a service. It prints what it hears and asks: one line each, tab separated.
import { readFileSync } from 'node:fs';
import { literalOf, starterText } from './page.js';
import { client, many } from './service.js';

const stub = function () {
  var timers = [];
  var ids = 0;
  var clock = 1e12;

  // Time is the stub's own and jumps to the next timer: this script host cannot sleep.
  Date = function () {
    this.valueOf = function () {
      return clock;
    };
  };
  setTimeout = function (action, ms) {
    timers.push({ id: ++ids, action: action, at: clock + (ms || 1) });
    return ids;
  };
  clearTimeout = function (id) {
    for (var i = 0; i < timers.length; i++) if (timers[i].id === id) return timers.splice(i, 1);
  };

  function print(kind, scenario, text) {
    WScript.Echo([kind, scenario, clock - 1e12, text].join('\t'));
  }
  // of several keys, a list with commas
  function parameter(url, name) {
    var pattern = new RegExp('[?&]' + name + '=([^&]*)', 'g');
    var all = [];
    var found;
    while ((found = pattern.exec(url))) all.push(decodeURIComponent(found[1]));
    return all.join();
  }
  // Every state is reported, errors too, and the last may come before the script has run.
  function expectStates(element, states) {
    for (var i = 0; i < states.length; i++) {
      element.readyState = states[i];
      if (element.onreadystatechange) element.onreadystatechange();
    }
  }

  var tags = [];
  var root = {
    appendChild: function (element) {
      element.parentNode = root;
      tags.push(element);
      fetch(element);
    },
    removeChild: function (element) {
      element.parentNode = null;
      for (var i = 0; i < tags.length; i++) if (tags[i] === element) return tags.splice(i, 1);
    }
  };
  var asked = {};

  function fetch(element) {
    if (parameter(element.src, 'drop')) return;
    var key = parameter(element.src, 'key');
    var callback = parameter(element.src, 'callback');
    for (var i = 0; i < scenarios.length; i++)
      if (key.indexOf(scenarios[i].name) === 0) var scenario = scenarios[i];
    var first = key.split(',')[0];
    var index = (asked[first] = (asked[first] || 0) + 1) - 1;
    var answers = scenario.answers;
    var entry = typeof answers === 'function' ? answers(index) : answers[index];
    entry = entry || { code: -2, message: 'done', after: 300 };
    print(
      'poll',
      scenario.name,
      [key, callback, parameter(element.src, 'since'), parameter(element.src, 'hold')].join(' ')
    );
    expectStates(element, ['loading']);
    if (entry === 'hold') return;
    setTimeout(function () {
      var early = index % 2;
      if (early) expectStates(element, ['loaded']);
      if (entry.message || entry.code != null) {
        var names = callback.split('.');
        var target = window;
        for (var i = 0; i < names.length - 1; i++) target = target && target[names[i]];
        if (target && target[names[i]]) target[names[i]](entry);
      }
      if (!early) expectStates(element, ['loaded', 'complete']);
    }, entry.after || 5);
  }

  window = {
    attachEvent: function (name, handler) {
      if (name === 'onload')
        setTimeout(function () {
          loaded = true;
          handler({ type: 'load' });
        }, 800);
    }
  };
  document = {
    readyState: 'interactive',
    createElement: function () {
      return { setAttribute: function () {} };
    },
    getElementsByTagName: function (name) {
      return name === 'html' ? [root] : tags;
    }
  };
  loaded = false;
  send = function (scenario, _order, text) {
    print('event', scenario, text);
  };
  // Until nothing is left to happen. An error thrown from a timer is the page's affair, as in a browser.
  run = function () {
    while (timers.length) {
      var first = 0;
      for (var i = 1; i < timers.length; i++) if (timers[i].at < timers[first].at) first = i;
      var timer = timers.splice(first, 1)[0];
      clock = Math.max(clock, timer.at);
      try {
        timer.action();
      } catch (e) {
        print('thrown', '', e.message);
      }
    }
    print('over', '', '');
  };
};

export const programOf = chosen => {
  const source = JSON.stringify(readFileSync(client, 'utf8'));
  const several = JSON.stringify(readFileSync(many, 'utf8'));
  return `var setTimeout, clearTimeout, window, document, loaded, send, run, second, many;
var scenarios = ${literalOf(chosen, () => 'http://service')};
(${stub})();
WScript.Echo('version\\t' + ScriptEngine() + ' ' + ScriptEngineMajorVersion() + '.' + ScriptEngineMinorVersion());
eval(${source});
second = tagwait;
eval(${several});
many = tagwait;
eval(${source});
${starterText}(scenarios, tagwait, send);
run();
`;
};
