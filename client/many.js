/*
 * Several keys on one page: watches of one service share a poll, up to 16 keys each. The build puts this behind `create`
 * of tagwait.js, in a script of its own, because the two are more than 2,048 bytes. ES3, like that.
 *
 * A line is one poll for several keys: a watch of `create` whose key, proof and cursor are lists. `read` turns an
 * answer for one of the keys into an answer for the line. When a key comes or goes, the line starts another poll.
 */
function createMany(window, document, included) {
  var lines = [];
  var single = create(window, document, included, read);

  function now() {
    return +new Date();
  }

  // Unix seconds: when the ticket ends.
  function endOf(one) {
    return parseInt(one.proof, 10) || 1 / 0;
  }

  // A query has at most 2,048 bytes: those of a key, with a long cursor. What the service refuses gets a poll of its own:
  // the others of its line would be refused with it.
  function bytes(one) {
    return /^[\w.~:-]{1,128}&[\w.-]*$/.test(one.key + '&' + one.proof + one.since)
      ? one.key.length + one.proof.length + 60
      : 2048;
  }

  function listed(of, name) {
    var texts = [];
    for (var i = 0; i < of.length; i++) texts.push(escape(of[i][name]));
    return texts.join('&' + name + '=');
  }

  function become(one, state) {
    if (one.state !== state && !one.ended) one.tell('onstate', (one.state = state));
  }

  function each(line, action) {
    var of = line.of.slice(0);
    for (var i = 0; i < of.length; i++) action(of[i]);
  }

  function end(one, reason, error) {
    if (one.ended) return;
    if (!one.proves) remove(one);
    if (one.settle) one.settle(reason);
    if (error) one.tell('onerror', error);
    become(one, 'ended');
    one.ended = true;
    one.tell('onend', reason);
  }

  function remove(one) {
    var of = one.line.of;
    for (var i = of.length; i--; ) if (of[i] === one) of.splice(i, 1);
    renew(one.line);
  }

  // While values are delivered, the poll must live.
  function renew(line) {
    line.stale = line.telling;
    if (line.stale) return;
    if (line.poll) line.poll.stop();
    line.poll = line.of.length && single.watch(listed(line.of, 'key'), optionsOf(line));
    setClock(line);
  }

  // A line ends a key by its own clock when the first ticket ends.
  function setClock(line) {
    if (line.poll) line.poll.expires = 1 / 0;
    each(line, function (one) {
      if (one.self.expires < line.poll.expires) line.poll.expires = one.self.expires;
    });
  }

  function optionsOf(line) {
    var of = line.of;
    return {
      line: line,
      url: line.url,
      nonce: line.nonce,
      hold: line.hold,
      since: listed(of, 'since'),
      proof: listed(of, 'proof'),
      onvalue: function (value, info) {
        var one = line.one;
        var last = info.cursor === line.since;
        if (one && !one.ended) {
          one.tell('onvalue', value, {
            cursor: last ? one.since : one.before,
            lost: info.lost,
            'final': last && one.last
          });
          if (last && one.last) end(one, 'final');
        }
        if (!last) return;
        line.telling = false;
        if (line.stale) renew(line);
      },
      // A new poll of the line is no news to a key that has been offline: an answer is.
      onstate: function (state) {
        if (state !== 'ended')
          each(line, function (one) {
            if (state !== 'waiting' || !one.state) become(one, state);
          });
      },
      onerror: function (error) {
        each(line, function (one) {
          if (!one.ended) one.tell('onerror', error);
        });
      },
      onend: function (reason) {
        var time = now() + 500;
        var several = of.length > 1;
        each(line, function (one) {
          // by the clock: of several keys, those whose ticket is over
          if (several && reason === 'expired' && (one.self.expires || time) >= time) return;
          one.proves = false;
          if (one.ended) remove(one);
          end(one, reason);
        });
      }
    };
  }

  // An answer's `left` is that of its key, or the least of all keys: proofs say how far the others are from it.
  function setExpiry(line, answer, from) {
    each(line, function (one) {
      if (!answer.key && endOf(one) < from) from = endOf(one);
    });
    each(line, function (one) {
      if (endOf(one) < 1 / 0) one.self.expires = now() + (answer.left + endOf(one) - from) * 1000;
    });
    delete answer.left;
    setClock(line);
  }

  // Turns an answer for one of the keys into one for the line. → its code
  function read(answer, options) {
    var line = options.line;
    var code = answer.code;
    var of = line.of;
    var several = of.length > 1;
    var one = of[0];
    if (answer.key) {
      one = 0;
      for (var i = of.length; i--; ) if (of[i].key === answer.key) one = of[i];
    }
    line.one = one;
    if (code > -2)
      each(line, function (one) {
        become(one, 'waiting');
      });
    if (answer.left && one) setExpiry(line, answer, endOf(one));
    if (several && answer.key && code && one) {
      // this key has ended, the others go on
      one.proves = false;
      if (one.ended) remove(one);
      else end(one, answer.message, code < -2 && answer);
      return -1;
    }
    if (answer.cursors) for (i = of.length; i--; ) of[i].since = answer.cursors[i];
    else if (one && answer.cursor) {
      one.before = one.since;
      one.since = answer.cursor;
    }
    if (!code) {
      line.telling = several || answer.cursor !== one.before;
      one.last = !!answer['final'];
      // its next poll still has the key, with the cursor that proves the value, and hears that the key has ended
      one.proves = several && answer.receipt;
    }
    if (several) {
      answer['final'] = answer.receipt = 0;
      answer.cursor = listed(of, 'since');
    }
    line.since = answer.cursor;
    return code;
  }

  function lineFor(one) {
    for (var i = 0; i < lines.length; i++) {
      var line = lines[i];
      var room = line.of.length < 16;
      var size = bytes(one);
      for (var j = line.of.length; j--; ) {
        size += bytes(line.of[j]);
        if (line.of[j].key === one.key) room = false;
      }
      if (room && size < 1900 && line.url === one.url && line.nonce === one.nonce && line.hold === one.hold)
        return line;
    }
    lines.push((line = { of: [], url: one.url, nonce: one.nonce, hold: one.hold }));
    return line;
  }

  function watch(key, options) {
    options = options || {};
    // not what a script has added to the prototype of all objects
    function option(name) {
      return options[name] === lines[name] ? undefined : options[name];
    }
    var signal = option('signal');
    var one = {
      key: key,
      url: option('url'),
      nonce: option('nonce'),
      hold: option('hold'),
      since: option('since') || '',
      proof: option('proof') || '',
      tell: function (name, a, b) {
        try {
          if (option(name)) options[name](a, b);
        } catch (e) {
          setTimeout(function () {
            throw e;
          });
        }
      },
      self: {
        stop: function () {
          options = {}; // with the handlers
          end(one, 'stopped');
        }
      }
    };
    try {
      one.tell = Zone.current.wrap(one.tell);
    } catch (e) {} // no zone.js, or something else of that name
    if (window.Promise)
      one.self.ended = new Promise(function (resolve) {
        one.settle = resolve;
      });
    one.line = lineFor(one);
    one.line.of.push(one);
    renew(one.line);
    if (signal) {
      signal.addEventListener('abort', one.self.stop);
      if (signal.aborted) one.self.stop();
    }
    return one.self;
  }

  return { watch: watch };
}
