/* Draws the box. */
/** What stands over the code in a state. */
var ICONS = {
  scanned: 'M9 2.5h6q2.5 0 2.5 2.5v14q0 2.5-2.5 2.5H9Q6.5 21.5 6.5 19V5Q6.5 2.5 9 2.5zM11 18.4h2',
  approved: YES,
  done: YES,
  expired: 'M12 3a9 9 0 1 0 .01 0zM12 7v5l3.2 2',
  denied: NO,
  failed: NO
};
/** An eye of the code, by relative moves: three squares with round corners, one in the other. */
var EYE =
  'm0 2q0-2 2-2h3q2 0 2 2v3q0 2-2 2h-3q-2 0-2-2zm1 0v3q0 1 1 1h3q1 0 1-1v-3q0-1-1-1h-3q-1 0-1 1zm1 .9q0-.9.9-.9h1.2q.9 0 .9.9v1.2q0 .9-.9.9h-1.2q-.9 0-.9-.9z';
/** Clockwise from the top, with round corners; its length is 100. */
var RING = 'M50 .6H92q7.4 0 7.4 7.4V92q0 7.4-7.4 7.4H8Q.6 99.4 .6 92V8Q.6 .6 8 .6z';

/** The code: one path, so that no hairlines show between its modules. A table, in engines without SVG. */
function addCode(parent, rows, label) {
  var size = rows.length;
  var far = size - 7;
  var path = 'M0 0' + EYE + 'M' + far + ' 0' + EYE + 'M0 ' + far + EYE;
  for (var y = 0; y < size; y++)
    for (var x = 0; x < size; x++)
      if (rows[y][x] && !((x < 7 && (y < 7 || y >= far)) || (x >= far && y < 7)))
        path += 'M' + x + ' ' + y + 'h1v1h-1z';
  var drawn = addSvg(parent, size, 'modules', [{ d: path, fill: 'currentColor', 'fill-rule': 'evenodd' }]);
  attributes(drawn || addCells(parent, rows), { 'aria-hidden': 'false', role: 'img', 'aria-label': label });
}

function addCells(parent, rows) {
  var table = add(parent, 'table', 'modules');
  var body = add(table, 'tbody');
  table.setAttribute('cellspacing', '0');
  for (var y = 0; y < rows.length; y++) {
    var line = add(body, 'tr');
    for (var x = 0; x < rows.length; x++)
      attributes(add(line, 'td'), { bgcolor: rows[y][x] ? '#000' : '#fff', width: 6, height: 6 });
  }
  return table;
}

/** The box in its element. @param again is called when the button is pressed @returns what changes it */
function draw(parent, before, texts, again) {
  var root = call('createElement', 'div');
  parent.insertBefore(root, before);
  attributes(root, { lang: texts.lang, dir: texts.dir });
  var card = add(root, 'div', 'card');
  var ring = addSvg(card, 100, 'ring', [{ d: RING }, { d: RING, pathLength: 100, 'stroke-dasharray': 100 }]);
  var code = add(card, 'a', 'code');
  var over = add(card, 'div', 'over');
  var hint = add(root, 'p', 'say');
  var time = add(root, 'p', 'left');
  attributes(hint, { role: 'status', tabindex: -1 });
  attributes(time, { role: 'timer' });
  attributes(code, { target: '_blank', rel: 'noopener' });

  return {
    /** Takes the box out: its code is no longer watched. */
    remove: function () {
      if (root.parentNode) root.parentNode.removeChild(root);
    },
    code: function (rows) {
      empty(code);
      addCode(code, rows, texts.waiting);
    },
    state: function (state, trouble, ticket) {
      root.className = 'tagwait-login tagwait-' + state + ' tagwait-' + (trouble || 'well');
      empty(over);
      if (ICONS[state]) addSvg(over, 24, 'icon', [{ d: ICONS[state] }]);
      if (/denied|expired|failed/.test(state)) {
        var button = add(over, 'button', 'again');
        button.setAttribute('type', 'button');
        button.onclick = function () {
          hint.focus();
          again();
        };
        say(button, texts.again);
      }
      code.setAttribute('aria-hidden', state !== 'waiting');
      if (state === 'waiting' && !/^\s*(\w+script|data):/i.test(ticket.link))
        code.setAttribute('href', ticket.link);
      else code.removeAttribute('href');
      say(hint, texts[trouble || state] || texts.busy);
    },
    /** @param seconds -1: none @param part of the whole time */
    left: function (seconds, part) {
      var minutes = Math.floor(seconds / 60);
      var hours = Math.floor(minutes / 60);
      say(
        time,
        seconds < 0
          ? ''
          : (hours ? hours + ':' + ('0' + (minutes % 60)).slice(-2) : minutes) +
              ':' +
              ('0' + (seconds % 60)).slice(-2)
      );
      if (ring) ring.lastChild.style.strokeDashoffset = part > 0 ? 100 - 100 * part : 0;
    }
  };
}
