/* Starts the box that the tag declares, and gives pages with a look of their own the same by a function. */
var own = ownTag('login');
var nonceOfTag = own && (own.element.nonce || own.element.getAttribute('nonce'));
var made;

/** The page's script for the watch: part of this file, made when first needed. */
function client() {
  return (made = made || create(window, document));
}

/** As the tag, with the attributes as options: `tagwaitLogin({ new: …, redeem: …, onstate: … })`. */
window.tagwaitLogin = function (given) {
  var option = optionsOf(own, given);
  return begin(
    option,
    given ? undefined : own,
    option('url', own ? own.origin : ''),
    option('nonce', nonceOfTag)
  );
};
window.tagwaitLogin.qr = qr;
if (own && own.element.getAttribute('data-redeem')) window.tagwaitLogin();
