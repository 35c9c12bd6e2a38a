// `npm run bundle`: the plugin as one JavaScript file for the Python package, and beside it what JavaScript cannot hold.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bundle } from "./bundling.mjs";
import { root } from "./packages.mjs";

const out = join(root, "python_env", "mixhead", "_plugin");

/** Our own licence and that of each package that is in the bundle, one after the other. */
function licences(inputs) {
  const names = Object.keys(inputs).map((path) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1]);
  const others = [...new Set(names)].filter((name) => name !== undefined).sort();
  return ["", ...others]
    .map((folder) => {
      const { name, version, license } = JSON.parse(readFileSync(join(root, folder, "package.json"), "utf8"));
      const file = ["LICENSE", "LICENSE.md", "LICENSE.txt", "LICENCE"]
        .map((file) => join(root, folder, file))
        .find((file) => existsSync(file));
      const text = file === undefined ? "" : `\n${readFileSync(file, "utf8").trim()}\n`;
      return `${name} ${version}: ${license}\n${text}`;
    })
    .join(`\n${"-".repeat(80)}\n`);
}

const { metafile } = await bundle({
  entryPoints: ["src/cli/plugin.ts"],
  outfile: join(out, "mixhead.mjs"),
  out,
  legalComments: "eof",
});
writeFileSync(join(out, "LICENSES.txt"), licences(metafile.inputs));
