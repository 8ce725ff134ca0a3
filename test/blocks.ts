/** Finds the code blocks of a page of the docs, for tests that run them. */
import { readFileSync } from 'node:fs';

export interface Block {
  /** `docs/protocol.md:12` */
  where: string;
  file: string;
  language: string;
  text: string;
  /** the heading it is under */
  heading: string;
}

export const page = (file: string) => readFileSync(new URL(`../${file}`, import.meta.url), 'utf8');

/** @param file path from the root of the repository */
export function blocksOf(file: string): Block[] {
  const blocks: Block[] = [];
  let open: Block | undefined;
  let heading = '';
  for (const [number, line] of page(file).split('\n').entries()) {
    const [, fence] = /^```(\w*)$/.exec(line) ?? [];
    if (fence === undefined) {
      if (open) open.text += `${line}\n`;
      else heading = /^#+ (.*)/.exec(line)?.[1] ?? heading;
    } else if (open) {
      blocks.push(open);
      open = undefined;
    } else open = { where: `${file}:${number + 1}`, file, language: fence, text: '', heading };
  }
  if (open) throw new Error(`${open.where}: never closed`);
  return blocks;
}
