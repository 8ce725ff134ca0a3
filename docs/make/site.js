/**
 * `npm run docs`: makes a static site of all pages in build/docs/. It opens from files, without a server, and asks
 * nothing of other hosts. marked renders the pages, MiniSearch searches them.
 */
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Marked, Renderer } from 'marked';
import MiniSearch from 'minisearch';

const root = fileURLToPath(new URL('../../', import.meta.url));
const own = fileURLToPath(new URL('site/', import.meta.url));
const read = path => readFileSync(join(root, path), 'utf8');
/** Files that are shown as pages or pictures as they are; all others are copied as text. */
const PICTURES = ['.png', '.svg'];

/** The groups of the menu, which are the tables of docs/README.md. @returns `[heading, [title, path][]][]` */
function menu() {
  return read('docs/README.md')
    .split(/^## /m)
    .slice(1)
    .map(part => {
      const links = [...part.matchAll(/\[([^\]]+)\]\(([^)#]+\.md)\)/g)];
      const entries = links.map(([, title, path]) => [
        title === 'deploy/' ? 'Deploying' : title,
        join('docs', path),
      ]);
      return [part.split('\n')[0], entries];
    });
}

/** @returns the name of a page's file: `docs/redis.md` is `redis.html`, `client/README.md` is `client.html` */
export function fileOf(path) {
  if (path === 'README.md') return 'index.html';
  if (path === 'docs/README.md') return 'pages.html';
  const name = path.endsWith('/README.md')
    ? dirname(path)
    : path.replace(/^.*\/|\.md$/g, '').replace(/\.md$/, '');
  return `${name.toLowerCase()}.html`;
}

/** As GitHub makes them. */
const anchorOf = heading =>
  heading
    .toLowerCase()
    .replace(/[^\w\s-]/g, '')
    .replaceAll(' ', '-');
const escapeHtml = text =>
  text.replace(/[&<>"]/g, mark => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[mark]);
const plainOf = tokens =>
  (tokens ?? []).map(({ tokens: inner, text, raw }) => (inner ? plainOf(inner) : (text ?? raw))).join('');

/** @returns the path that a link means, from the root of the repository */
const pathOf = (page, href) => join(dirname(page), href.split('#')[0]);

/** Turns a link of a page into one of the site, and notes files that have to be copied. */
function resolver(page, pages, copies) {
  return href => {
    if (/^(https?:|#|mailto:)/.test(href)) return href;
    const [path, anchor] = href.split('#');
    const target = pathOf(page, path);
    const suffix = anchor ? `#${anchor}` : '';
    if (pages.has(target)) return `${fileOf(target)}${suffix}`;
    if (!existsSync(join(root, target)) || statSync(join(root, target)).isDirectory()) return undefined;
    const name = PICTURES.includes(extname(target)) ? target : `${target}.txt`;
    copies.set(target, `files/${name}`);
    return `files/${name}`;
  };
}

function render(page, pages, copies) {
  const resolve = resolver(page, pages, copies);
  const renderer = {
    heading({ tokens, depth, text }) {
      const id = anchorOf(text);
      const inner = this.parser.parseInline(tokens);
      return depth === 1
        ? `<h1 id="${id}">${inner}</h1>`
        : `<h${depth} id="${id}"><a href="#${id}">${inner}</a></h${depth}>`;
    },
    link({ href, tokens }) {
      const to = resolve(href);
      const text = this.parser.parseInline(tokens);
      // pages of the repository call each other by file name, pages of the site by title
      const inner = /^[\w/.-]+\.md$/.test(text) ? escapeHtml(pages.get(pathOf(page, href)) ?? text) : text;
      return to === undefined ? inner : `<a href="${escapeHtml(to)}">${inner}</a>`;
    },
    image: ({ href, text }) => `<img src="${escapeHtml(resolve(href))}" alt="${escapeHtml(text)}">`,
    code: ({ text, lang = '' }) =>
      `<pre data-language="${escapeHtml(lang)}" tabindex="0"><code>${escapeHtml(text)}\n</code></pre>`,
    table(token) {
      return `<div class="table">${new Renderer().table.call(this, token)}</div>`;
    },
  };
  return renderer;
}

/** The sections of a page, for the search. */
function sectionsOf(page, tokens) {
  const sections = [];
  for (const token of tokens) {
    if (token.type === 'heading')
      sections.push({ heading: plainOf(token.tokens), anchor: anchorOf(token.text), text: '' });
    else if (sections.length > 0)
      sections.at(-1).text +=
        ` ${token.raw.replace(/!?\[([^\]]*)\]\([^)]*\)/g, '$1').replace(/[|`*#]|-{3,}/g, ' ')}`;
  }
  const [first] = sections;
  return sections.map(({ heading, anchor, text }) => ({
    id: `${fileOf(page)}#${anchor}`,
    page: first.heading,
    heading,
    text: text.replace(/\s+/g, ' ').trim(),
  }));
}

/** @param out the folder, which is emptied first @returns the pages and what was copied */
export function makeSite(out) {
  const groups = menu();
  const paths = new Map([
    ['README.md', 'tagwait'],
    ['docs/README.md', 'All pages'],
    ...groups.flatMap(([, entries]) => entries.map(([title, path]) => [path, title])),
  ]);
  if (existsSync(join(root, 'bench/results.md'))) paths.set('bench/results.md', 'Results');
  const copies = new Map();
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  const template = readFileSync(join(own, 'page.html'), 'utf8');
  const documents = [];
  for (const [page, title] of paths.entries()) {
    const text = read(page).replace(/<!--[\s\S]*?-->\n?/g, '');
    const marked = new Marked({ renderer: render(page, paths, copies) });
    const tokens = marked.lexer(text);
    documents.push(...sectionsOf(page, tokens));
    const parts = {
      title: page === 'README.md' ? 'tagwait' : `${title} · tagwait`,
      menu: menuHtml(groups, page),
      body: marked.parser(tokens),
    };
    writeFileSync(
      join(out, fileOf(page)),
      template.replace(/\{\{(\w+)\}\}/g, (_, name) => parts[name]),
    );
  }
  for (const [from, to] of copies) {
    mkdirSync(join(out, dirname(to)), { recursive: true });
    cpSync(join(root, from), join(out, to));
  }
  writeSearch(out, documents);
  const styles = [join(root, 'src/palette.css'), join(own, 'site.css')];
  writeFileSync(join(out, 'site.css'), styles.map(file => readFileSync(file, 'utf8')).join(''));
  return { pages: [...paths.keys()].map(fileOf), copies: [...copies.values()] };
}

function menuHtml(groups, page) {
  const link = ([title, path]) =>
    `<li><a href="${fileOf(path)}"${path === page ? ' aria-current="page"' : ''}>${escapeHtml(title)}</a></li>`;
  return groups
    .map(([heading, entries]) => `<h2>${escapeHtml(heading)}</h2><ul>${entries.map(link).join('')}</ul>`)
    .join('');
}

/** The index as a script, because a page that was opened from a file may not read other files. */
function writeSearch(out, documents) {
  const options = { fields: ['heading', 'page', 'text'], storeFields: ['page', 'heading', 'text'] };
  const index = new MiniSearch(options);
  // of two headings of one name on a page, links lead to the first
  index.addAll([...new Map(documents.toReversed().map(one => [one.id, one])).values()]);
  const library = read('node_modules/minisearch/dist/umd/index.js').replace(/\/\/# sourceMappingURL.*/, '');
  const data = JSON.stringify({ options, index: JSON.stringify(index) }).replaceAll('<', '\\u003c');
  writeFileSync(
    join(out, 'search.js'),
    `${library}\nwindow.SEARCH = ${data};\n${readFileSync(join(own, 'search.js'), 'utf8')}`,
  );
}

if (process.argv[1] === import.meta.filename) {
  const { pages } = makeSite(join(root, 'build/docs'));
  console.log(`build/docs/index.html: ${pages.length} pages`);
}
