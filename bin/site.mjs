// `npm run site`: every page of docs, and the API of both packages from their doc comments, as one static site with
// search in build/site. Open its index.html.
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { root } from "./packages.mjs";

const pages = join(root, "build", "site-pages", "python"); // typedoc.json names it too
const python = process.env.MIXHEAD_PYTHON || join(root, "python_env", ".venv", "bin", "python");

rmSync(join(root, "build", "site-pages"), { recursive: true, force: true });
mkdirSync(pages, { recursive: true });
execFileSync(python, [join(root, "bin", "python-api.py"), pages], {
  stdio: ["ignore", "inherit", "inherit"],
});
execFileSync(process.execPath, [join(root, "node_modules", "typedoc", "bin", "typedoc")], {
  cwd: root,
  stdio: ["ignore", "inherit", "inherit"],
});
