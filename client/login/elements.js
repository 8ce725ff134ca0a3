/* Elements: every text is a text node, every attribute is set by name, and no markup is parsed. */
var SVG = 'http://www.w3.org/2000/svg';

function add(parent, tag, name) {
  var element = call('createElement', tag);
  if (name) element.className = 'tagwait-' + name;
  parent.appendChild(element);
  return element;
}

function empty(element) {
  while (element.firstChild) element.removeChild(element.firstChild);
}

/** A text that stays is not written again: a screen reader would say it again. */
function say(element, text) {
  if (element.tagwaitText === text) return;
  element.tagwaitText = text;
  empty(element);
  element.appendChild(call('createTextNode', text));
}

function attributes(element, values) {
  for (var name in values) if (valueIn(values, name)) element.setAttribute(name, values[name]);
}

/** @param parts the attributes of its paths @returns undefined in engines without SVG */
function addSvg(parent, side, name, parts) {
  try {
    var svg = call('createElementNS', SVG, 'svg');
    svg.createSVGRect();
  } catch (e) {
    return;
  }
  attributes(svg, { viewBox: '0 0 ' + side + ' ' + side, 'class': 'tagwait-' + name, 'aria-hidden': 'true' });
  for (var i = 0; i < parts.length; i++) {
    var path = call('createElementNS', SVG, 'path');
    attributes(path, parts[i]);
    svg.appendChild(path);
  }
  parent.appendChild(svg);
  return svg;
}

var looked; // once for each copy of the script

/** Without a nonce, and under any policy, where sheets can be constructed; by an element in front of the page's own styles elsewhere. */
function addLook(nonce) {
  if (looked) return;
  looked = 1;
  try {
    var sheet = new CSSStyleSheet();
    sheet.replaceSync(LOOK);
    document.adoptedStyleSheets = [sheet].concat([].slice.call(document.adoptedStyleSheets));
  } catch (e) {
    var style = call('createElement', 'style');
    var head = call('getElementsByTagName', 'head')[0];
    if (nonce) style.setAttribute('nonce', nonce);
    if (style.styleSheet) style.styleSheet.cssText = LOOK;
    else style.appendChild(call('createTextNode', LOOK));
    head.insertBefore(style, head.firstChild);
  }
}
