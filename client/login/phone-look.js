/* How the phone's side looks: the page's ink and font, as the box. */
var LOOK = (
  '~ask{box-sizing:border-box;max-width:26em;margin:0 auto;line-height:1.45;text-align:start}' +
  '~ask h1{font-size:1.35em;line-height:1.25;margin:0 0 .8em;overflow-wrap:anywhere}~ask h1:focus{outline:0}' +
  '~ask p{margin:0 0 1.2em}' +
  '~ask dl{display:grid;grid-template-columns:fit-content(45%) 1fr;margin:0 0 1.2em;border:1px solid rgba(128,128,128,.4);border-radius:1.1em;padding:.3em 1.1em}' +
  '~ask dt,~ask dd{margin:0;padding:.5em 0;overflow-wrap:anywhere}' +
  '~ask dd{font-weight:600;text-align:end;padding-inline-start:1em}' +
  '~acts{display:flex;flex-wrap:wrap;gap:.75em}' +
  '~icon{display:block;box-sizing:border-box;width:5.5em;padding:1.2em;margin:15vh auto 1.2em;border-radius:50%;fill:none;stroke:#ab241b;stroke-width:1.75;stroke-linecap:round;background:#fff;box-shadow:0 0 0 2px rgba(128,128,128,.3)}' +
  '~approved ~icon{stroke:#07704a;stroke:var(--tagwait-accent,#07704a)}~icon+h1{text-align:center}' +
  '~acts button{flex:1;font:inherit;font-weight:600;border:2px solid #07704a;border-color:var(--tagwait-accent,#07704a);border-radius:.9em;padding:.85em 1em;cursor:pointer}' +
  '~approve,~again{color:#fff;background:#07704a;background:var(--tagwait-accent,#07704a)}' +
  '~deny{color:inherit;background:transparent}' +
  '~acts button:disabled{opacity:.5}'
).replace(/~/g, '.tagwait-');
