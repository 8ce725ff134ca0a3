// The page of a run: the scenarios, six at a time, each reporting what it hears. ES3, like the client.

/** Runs in the page (and in JScript): starts the scenarios with `send(scenario, order, text)` as their way to report. */
const starter = function (scenarios, tagwait, send) {
  function text(value) {
    return value && typeof value === 'object' ? 'object' : '' + value;
  }

  var begun = 0;

  // A few at a time: Chromium has ten scripts of a page under way at once, and lets the others wait.
  function next() {
    if (begun < scenarios.length) start(scenarios[begun++]);
  }

  function start(scenario) {
    var count = 0;
    var running = 0;
    function done() {
      if (!--running) next();
    }
    function log(line) {
      send(scenario.name, ++count, line);
    }
    function watch(options, suffix, copy) {
      var own = {
        url: scenario.url,
        onvalue: function (value) {
          log('value ' + text(value));
        },
        onend: function (reason) {
          log('end ' + reason);
          done();
        },
        onerror: function (error) {
          log('error ' + error.code);
        },
        onstate: function (state) {
          log('state ' + state);
        }
      };
      for (var name in options || {}) own[name] = options[name];
      running++;
      // not by +: Wine 8 compares two texts that were made so by their beginnings
      return (copy || tagwait).watch([scenario.name, suffix].join(''), own);
    }
    scenario.page(watch, log, done);
  }

  for (var i = 0; i < 6; i++) next();
};

/** The scenarios as ES3 text, for a page or for JScript. */
export const literalOf = (chosen, urlOf) =>
  `[${chosen
    .map(
      (scenario, i) =>
        `{ name: '${scenario.name}', url: '${urlOf(scenario, i)}', page: ${scenario.page}, answers: ${
          typeof scenario.answers === 'function' ? scenario.answers : JSON.stringify(scenario.answers)
        } }`
    )
    .join(',\n')}]`;

export const starterText = `(${starter})`;

export const pageOf = (chosen, { port, victim, host }) => `<!doctype html>
<html><head><title>tagwait</title>
<script>
var loaded = false, second, many;
window.onload = function () { loaded = true; };
window.onerror = function () { return true; };
var images = typeof Image === 'function' || typeof Image === 'object' ? [] : 0;
if (/NetSurf/.test(navigator.userAgent)) images = 0;
function send(scenario, order, text) {
  var url = 'http://${host(2)}:${port}/event?scenario=' + scenario + '&id=' + order + '&text=' + encodeURIComponent(text);
  if (images) { var image = new Image(); images[images.length] = image; image.src = url; }
  else { var tag = document.createElement('script'); tag.src = url; document.getElementsByTagName('head')[0].appendChild(tag); }
}
</script>
<script src="/client.js"></script>
<script>second = tagwait;</script>
<script src="/client/many.js"></script>
<script>many = tagwait;</script>
<script src="/client.js?again"></script>
</head><body><p>tagwait</p><img src="/slow" alt="">
<script>
${starterText}(${literalOf(chosen, (scenario, i) => `http://${host(i + 3)}:${scenario.victim ? victim : port}`)}, tagwait, send);
</script>
</body></html>`;
