/*
 * The login as the page sees it: one state, one ticket, one watch. The states: loading, waiting, scanned, approved and
 * done; expired, denied and failed end in a button. In loading, waiting and scanned there may be trouble: busy, offline.
 */
// Codes that follow by themselves, so that a page left open does not ask all night. An engine without XMLHttpRequest is given
// its ticket by the page, and a new one by a new page: only the button loads that, or a page would load itself for ever.
var RENEWALS = window.XMLHttpRequest ? 5 : 0;
var LATE = 1000; // ms that a code lives longer here than on the service: a scan in the last moment counts
var MINUTE = 60000; // ms: how long the code of a redeem lives, and the most that a site's `retry` counts for

/** @param option reads an option @param url the service @param nonce of the page's policy */
function begin(option, tag, url, nonce) {
  var texts = textsOf(option);
  var state = 'loading';
  var trouble = '';
  var turn = 0; // the number of the ticket: what belongs to an older one is not heard
  var renewed = 0; // by themselves, in a row
  var asleep; // the next code waits until the page is looked at
  var ticket, view, watch, span, deadline, timer, stopped;

  /** Stopped; or the page was replaced without a load: the tag has left, and the box with it. */
  function gone() {
    return stopped || (tag && tag.element.isConnected < 1);
  }

  /** Makes a function that does nothing once another ticket has taken the place of this one, or the box has left. */
  function mine(then) {
    var number = turn;
    return function (a, b, c) {
      if (number === turn && !gone()) then(a, b, c);
    };
  }

  function alive() {
    return state === 'waiting' || state === 'scanned';
  }

  /** Seconds left of the code; -1 where none counts. The watch knows best when its ticket ends. */
  function left() {
    if (watch && watch.expires) deadline = watch.expires;
    return alive() ? Math.max(0, (deadline - new Date()) / 1000) : -1;
  }

  function paint() {
    var seconds = left();
    if (view) view.left(Math.floor(seconds), Math.min(1, seconds / span));
  }

  function tick() {
    if (gone()) return stop();
    paint();
    if (alive() && new Date() - deadline > LATE) expire();
    follow();
  }

  /** The state changes here, and nowhere else. */
  function become(next, nextTrouble) {
    state = next;
    trouble = nextTrouble || '';
    if (view) view.state(state, trouble, ticket);
    paint();
    tell(option, 'onstate', state, { trouble: trouble, link: ticket && ticket.link, left: left() });
  }

  function leave() {
    turn++;
    asleep = 0;
    if (watch) watch.stop();
    watch = 0;
  }

  function again() {
    renewed = 0;
    window.XMLHttpRequest ? renew() : location.reload();
  }

  function follow() {
    if (!asleep || document.hidden) return;
    renewed++;
    renew();
  }

  /** Posts until `done` says that there is an answer, or asking again would be answered the same. */
  function askSite(name, fields, done) {
    var tries = 0;
    var ask = mine(function () {
      post(option, name, fields, answered);
    });
    var answered = mine(function (status, answer, date) {
      var ms = answer.retry;
      if (done(status, answer, date)) return;
      if (status && status < 500 && status !== 429) return become('failed');
      if (state === 'loading') become(state, status ? 'busy' : 'offline');
      // what the site says, within limits
      ms =
        ms < 1 / 0 && ms === +ms
          ? Math.min(Math.max(ms, 1000), MINUTE)
          : (500 + Math.random() * 1000) * Math.min(++tries, 20);
      setTimeout(ask, ms);
    });
    ask();
  }

  /** Asks for a ticket, until there is one. */
  function renew() {
    leave();
    if (!window.XMLHttpRequest) {
      if (ticket) return become('expired');
      if (window.console) console.error('tagwait: no XMLHttpRequest, data-key');
      return become('failed');
    }
    become('loading');
    askSite('new', '', function (status, answer, date) {
      return status === 200 && answer.key && answer.link && !show(answer, date);
    });
  }

  /** @param date the server's clock, if its answer had one */
  function show(given, date) {
    var rows = qr(given.link);
    var number = turn;
    ticket = given;
    span = ticket.expires - (+new Date(date) || +new Date()) / 1000;
    if (!(span > 0 && span < 86400)) span = 120;
    deadline = +new Date() + span * 1000;
    if (!rows) return become('failed');
    if (view) view.code(rows);
    become('waiting');
    if (number !== turn) return; // the page has stopped the box when it heard of the state
    watch = client().watch(ticket.key, {
      url: url,
      proof: ticket.proof,
      nonce: nonce,
      onvalue: mine(heard),
      onstate: mine(linked),
      onend: mine(function (reason) {
        if (alive()) reason === 'expired' ? expire() : become('failed');
      })
    });
  }

  function heard(value) {
    var said = value && value.state;
    if (said === 'scanned') become(said);
    if (said === 'denied') become(said);
    if (said === 'approved') redeem('&key=' + ticket.key + '&code=' + encodeURIComponent(value.code));
  }

  /** State of the watch. After `offline` the service may have restarted and lost this code, so a new one is requested. */
  function linked(now) {
    var was = trouble;
    var next = now === 'waiting' ? '' : now;
    if (!alive() || now === 'ended' || next === was) return;
    become(state, next);
    if (was === 'offline')
      setTimeout(
        mine(function () {
          if (state === 'waiting') renew();
        }),
        0
      );
  }

  /** If nobody scanned the code, shows a new one while the page is visible, at most `RENEWALS` in a row. */
  function expire() {
    var more = state === 'waiting' && renewed < RENEWALS;
    leave();
    asleep = more;
    become('expired');
    follow();
  }

  /** Posts the code. The backend gives it as the `id` too, so that a repeat is answered as the first was. */
  function redeem(fields) {
    var end = +new Date() + MINUTE;
    become('approved');
    // an engine without it goes there: the code is good once, and for this visitor alone
    if (!window.XMLHttpRequest) return (location.href = option('redeem') + fields.replace('&', '?'));
    askSite('redeem', fields, function (status, answer) {
      if (status > 199 && status < 300) {
        become('done');
        tell(option, 'ondone', answer);
        if (option('then')) location.href = option('then');
        return 1;
      }
      return new Date() > end && !become('failed');
    });
  }

  function start() {
    timer = setInterval(tick, 1000);
    if (option('key'))
      show({ key: option('key'), proof: option('proof'), link: option('link'), expires: option('expires') });
    else renew();
  }

  if (option('look') === 'none') start();
  else
    place(
      option('into') || tag.element.parentNode,
      mine(function (parent) {
        addLook(nonce);
        view = draw(parent, option('into') ? null : tag.element, texts, again);
        start();
      })
    );

  function stop() {
    stopped = 1;
    leave();
    clearInterval(timer);
    if (view) view.remove();
  }

  return { again: again, stop: stop };
}
