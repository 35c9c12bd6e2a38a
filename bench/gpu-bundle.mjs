// `node bench/gpu-bundle.mjs FOLDER`: mixhead's command line and the figures, for a Linux machine without node_modules.
// FOLDER has to lie two folders below the repository's root there: that is where the bundle looks for python_env/.
import { cpSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { bundle } from "../bin/bundling.mjs";
import { root } from "../bin/packages.mjs";

const [out] = process.argv.slice(2);
if (out === undefined) throw new Error("say where to: node bench/gpu-bundle.mjs FOLDER");
const pythonia = join(root, "node_modules/pythonia/src/pythonia");

/** Large parts that are not needed there: PNG pictures need native code, the live page a compiler. */
const leftOut = {
  name: "left-out",
  setup({ onLoad }) {
    const refuses = (what) => `{ throw new Error("this bundle ${what}"); }`;
    onLoad({ filter: /@resvg[\\/]resvg-js[\\/]index\.js$/ }, () => ({
      contents: `export class Resvg { constructor() ${refuses("draws no PNG")} }`,
    }));
    onLoad({ filter: /src[\\/]live[\\/]server\.ts$/ }, () => ({
      contents: `export const FIRST_PORT = 0; export async function serveLive() ${refuses("has no live page")}`,
    }));
  },
};

/** The command line as a separate program, like bin/mixhead.mjs. */
const commandLine = {
  name: "command-line",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^mixhead-command-line$/ }, ({ path }) => ({ path, namespace: "command-line" }));
    onLoad({ filter: /.*/, namespace: "command-line" }, () => ({
      contents: `import { main } from "./src/cli/main.ts"; process.exitCode = await main(process.argv.slice(2));`,
      resolveDir: root,
    }));
  },
};

await bundle({
  entryPoints: {
    mixhead: "mixhead-command-line",
    bench: "bench/index.ts",
    "recipe-table": "bench/recipe-table.ts",
  },
  outdir: out,
  out,
  platforms: ["linux-x64"],
  outExtension: { ".js": ".mjs" },
  splitting: true,
  minifySyntax: true,
  minifyWhitespace: true,
  external: ["canvas", "@tensorflow/tfjs-node"],
  plugins: [leftOut, commandLine],
});
// The Python half of the worker launcher, which expects it beside itself.
for (const file of readdirSync(pythonia))
  if (file.endsWith(".py")) cpSync(join(pythonia, file), join(out, file));
