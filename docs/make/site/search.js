/* The search of every page of the site; it follows MiniSearch and the index in search.js. */
(() => {
  const { options, index } = window.SEARCH;
  const search = window.MiniSearch.loadJSON(index, options);
  const input = document.getElementById('search');
  const list = document.getElementById('results');
  const MOST = 12;
  const AROUND = 60;

  const element = (name, text, parent) => {
    const made = document.createElement(name);
    made.textContent = text;
    parent.append(made);
    return made;
  };

  /** A part of the text around the first word that was found. */
  function excerpt({ text, terms }) {
    const at = Math.max(0, ...terms.map(term => text.toLowerCase().indexOf(term)));
    const from = Math.max(0, at - AROUND);
    return `${from > 0 ? '… ' : ''}${text.slice(from, at + 2 * AROUND)} …`;
  }

  function show() {
    const words = input.value.trim();
    const found = search
      .search(words, {
        prefix: true,
        fuzzy: term => (term.length > 4 ? 0.2 : 0),
        boost: { heading: 4, page: 2 },
        combineWith: 'AND',
      })
      .slice(0, MOST);
    list.replaceChildren();
    list.hidden = words === '';
    input.setAttribute('aria-expanded', String(!list.hidden));
    for (const one of found) {
      const link = element('a', one.heading, element('li', '', list));
      link.href = one.id;
      element('small', one.page === one.heading ? excerpt(one) : `${one.page} · ${excerpt(one)}`, link);
    }
    if (found.length === 0) element('li', 'Nothing found.', list).className = 'none';
  }

  const links = () => [...list.querySelectorAll('a')];
  input.addEventListener('input', show);
  document.addEventListener('keydown', event => {
    if (event.key === '/' && document.activeElement !== input) {
      event.preventDefault();
      input.focus();
    } else if (event.key === 'Escape') {
      list.hidden = true;
      input.setAttribute('aria-expanded', 'false');
    } else if (event.key === 'Enter' && document.activeElement === input) links()[0]?.click();
    else if (/^Arrow(Up|Down)$/.test(event.key) && [input, ...links()].includes(document.activeElement)) {
      event.preventDefault();
      const all = [input, ...links()];
      const next = all.indexOf(document.activeElement) + (event.key === 'ArrowDown' ? 1 : -1);
      all[Math.min(Math.max(next, 0), all.length - 1)].focus();
    }
  });
  list.addEventListener('click', () => {
    list.hidden = true;
  });
})();
