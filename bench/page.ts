import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeAtomic } from "../src/files/atomic.ts";
import { packageRoot } from "../src/setup/paths.ts";
import { result } from "./figure.ts";
import { footnotes, markdownTable } from "./tables.ts";

const PAGE = join(packageRoot, "docs", "performance.md");
/** What is between `<!-- figure PATH -->` and the next `<!-- end -->` is made from bench/results/PATH. */
const PLACE = /(<!-- figure (\S+) -->\n)[\s\S]*?(<!-- end -->)/g;

/** Writes the page's tables anew, so that no figure is ever typed by hand. */
export async function renewPage(results: string): Promise<void> {
  const text = await readFile(PAGE, "utf8");
  const tables = new Map<string, string>();
  for (const [, , path = ""] of text.matchAll(PLACE)) {
    const measured = result.parse(JSON.parse(await readFile(join(results, path), "utf8")));
    tables.set(path, `${markdownTable(measured)}\n\n${footnotes(measured).join("\n")}\n`);
  }
  await writeAtomic(PAGE, [
    text.replace(PLACE, (_, begin, path, end) => `${begin}${tables.get(path)}${end}`),
  ]);
}
