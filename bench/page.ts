import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeAtomic } from "../src/files/atomic.ts";
import { packageRoot } from "../src/files/paths.ts";
import { result } from "./figure.ts";
import { footnotes, markdownTable } from "./tables.ts";

const DOCS = join(packageRoot, "docs");
/** Text between `<!-- figure PATH -->` and the next `<!-- end -->` is generated from bench/results/PATH. */
const PLACE = /(<!-- figure (\S+) -->\n)[\s\S]*?(<!-- end -->)/g;

/** Regenerates the tables of the pages, so that no figure is typed by hand. Returns the pages' names. */
export async function renewPages(results: string): Promise<string[]> {
  const pages = (await readdir(DOCS)).filter((name) => name.endsWith(".md"));
  const renewed: string[] = [];
  for (const page of pages) {
    const path = join(DOCS, page);
    const text = await readFile(path, "utf8");
    const tables = new Map<string, string>();
    for (const [, , name = ""] of text.matchAll(PLACE))
      tables.set(name, await tableFrom(join(results, name)));
    if (tables.size === 0) continue;
    await writeAtomic(path, [
      text.replace(PLACE, (_, begin, name, end) => `${begin}${tables.get(name)}${end}`),
    ]);
    renewed.push(page);
  }
  return renewed;
}

async function tableFrom(path: string): Promise<string> {
  const measured = result.parse(JSON.parse(await readFile(path, "utf8")));
  return `${markdownTable(measured)}\n\n${footnotes(measured).join("\n")}\n`;
}
