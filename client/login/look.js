/*
 * How the box looks. Ink and font are the page's, so it is light or dark as the page is; the card is white, because a
 * code must be. A page changes it by `--tagwait-accent`, or by rules that begin with the element that the box is in.
 */
/** `~` stands for `.tagwait-`. */
var LOOK = (
  '~login{box-sizing:border-box;width:22em;max-width:100%;margin:0 auto;text-align:center;line-height:1.4;font-size:max(1rem,1.05vw)}' +
  '~card{position:relative;max-width:70vh;margin:0 auto 1em;border-radius:1.7em;background:#fff;color:#121a16;box-shadow:0 1em 3em -1em #0006,0 0 2px #0003;forced-color-adjust:none}' +
  '~card:before{content:"";display:block;padding-top:100%}' +
  '~ring,~over{position:absolute;top:0;left:0;width:100%;height:100%}' +
  '~ring path{fill:none;stroke:#d3dcd5;stroke-width:1.1}' +
  '~code{position:absolute;top:12.5%;left:12.5%;width:75%;height:75%;color:inherit}' +
  '~modules{display:block;width:100%;height:100%}' +
  '~login td{padding:0;border:0}' +
  '~over{display:flex;flex-direction:column;align-items:center;justify-content:center;pointer-events:none}' +
  '~icon{width:30%;margin-bottom:.6em;fill:none;stroke-width:1.6;stroke-linecap:round;stroke-linejoin:round}' +
  '~icon,~login path+path{stroke:#07704a;stroke:var(--tagwait-accent,#07704a)}' +
  '~again{pointer-events:auto;font:inherit;font-weight:600;border:0;border-radius:.8em;padding:.75em 1.4em;max-width:84%}' +
  '~again,~approved ~card,~done ~card{color:#fff;background:#07704a;background:var(--tagwait-accent,#07704a)}' +
  '~login p{margin:0;min-height:1.4em}' +
  '~say{font-weight:600}' +
  '~left{font-variant-numeric:tabular-nums}' +
  '~login ~code{opacity:.08}' +
  '~waiting ~code{opacity:.3}' +
  '~waiting~well ~code{opacity:1}' +
  '~approved ~code,~done ~code,~denied ~code,~failed ~code,~approved ~ring,~done ~ring{opacity:0}' +
  '~denied ~icon,~failed ~icon{stroke:#ab241b}' +
  '~approved ~icon,~done ~icon{stroke:#fff}' +
  '@media (prefers-reduced-motion:no-preference){~login *{transition:opacity .4s,background .4s}~login path{transition:stroke-dashoffset 1s linear}}'
).replace(/~/g, '.tagwait-');
