// `npm run package`: what npm publishes, as build/mixhead-VERSION.tgz. ESM with declarations, compiled from src, and
// beside it the Python sources that its workers run.
import { execFileSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { root } from "./packages.mjs";

const out = join(root, "build", "package");
const compiler = join(root, "node_modules", "typescript", "bin", "tsc");

/** What is needed as it is: the live page's script, Python, presets. */
const copied = [
  "README.md",
  "LICENSE",
  "CHANGELOG.md",
  "CITATION.cff",
  "configs",
  "src/live/client",
  "python_env/pyproject.toml",
  "python_env/requirements.lock",
  "python_env/setup.py",
  "python_env/mixhead",
];

rmSync(out, { recursive: true, force: true });
mkdirSync(join(out, "bin"), { recursive: true });
execFileSync(process.execPath, [compiler, "-p", join(root, "tsconfig.build.json")], { stdio: "inherit" });
for (const path of copied) cpSync(join(root, path), join(out, path), { recursive: true, filter: isSource });
writeFileSync(join(out, "bin/mixhead.mjs"), program());
chmodSync(join(out, "bin/mixhead.mjs"), 0o755);
writeFileSync(join(out, "package.json"), `${JSON.stringify(manifest(), null, 2)}\n`);
execFileSync("npm", ["pack", out, "--pack-destination", join(root, "build"), "--loglevel=error"], {
  stdio: ["ignore", "inherit", "inherit"],
});

/** Neither what Python compiles nor the bundle that the wheel carries. */
function isSource(path) {
  return !["__pycache__", "_plugin"].includes(basename(path));
}

function program() {
  return [
    "#!/usr/bin/env node",
    'import { main } from "../dist/cli/main.js";',
    "",
    "process.exitCode = await main(process.argv.slice(2));",
    "",
  ].join("\n");
}

/** The repository's package.json with what is built in place of the sources. */
function manifest() {
  const own = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const { private: _, scripts, devDependencies, overrides, ...kept } = own;
  const built = (source) => source.replace(/^\.\/src\//, "./dist/").replace(/\.ts$/, "");
  const exports = Object.entries(own.exports).map(([name, source]) => [
    name,
    { types: `${built(source)}.d.ts`, default: `${built(source)}.js` },
  ]);
  return { ...kept, exports: Object.fromEntries(exports) };
}
