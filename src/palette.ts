/** The colours and the type of all pages. */
import { asset } from './assets.js';

/** Puts palette.css into a page, in place of the comment that names it. */
export const withPalette = (page: string): string =>
  page.replace('/* palette.css */', () => asset('src/palette.css'));
