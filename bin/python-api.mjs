// The first half of `npm run site`: the Python package's API as Markdown pages, which TypeDoc takes in (typedoc.json).
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import "../register.mjs";
import { root } from "./packages.mjs";

const { pythonPath } = await import("../src/files/python.ts");
const pages = join(root, "build", "site-pages", "python"); // typedoc.json names it too

rmSync(pages, { recursive: true, force: true });
mkdirSync(pages, { recursive: true });
execFileSync(pythonPath(), [join(root, "bin", "python-api.py"), pages], {
  stdio: ["ignore", "inherit", "inherit"],
});
