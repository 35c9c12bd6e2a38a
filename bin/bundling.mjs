// What every bundle of our JavaScript needs: esbuild's settings, and beside the bundle what JavaScript cannot hold.
import { cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import { root } from "./packages.mjs";

const packages = join(root, "node_modules");

/** tfjs's wasm files; the third one is for browsers, which alone run it on several threads. */
const wasm = ["tfjs-backend-wasm.wasm", "tfjs-backend-wasm-simd.wasm"];

/**
 * zeromq's addons, for the platforms that PyTorch has wheels for. They speak Node-API, so each runs on every
 * later Node, and on Node 20: of those for Linux the ones built for Node 22 ask for the oldest glibc, 2.25.
 */
const addons = {
  "linux-x64": "linux/x64/node/glibc-127-Release",
  "linux-arm64": "linux/arm64/node/glibc-127-Release",
  "darwin-x64": "darwin/x64/node/libc-115-Release",
  "darwin-arm64": "darwin/arm64/node/libc-115-Release",
  "win32-x64": "win32/x64/node/msvc-115-Release",
  "win32-arm64": "win32/arm64/node/msvc-115-Release",
};

/** Has zeromq look for its addon beside the bundle, where its own loader expects a node_modules. */
const addonBesideBundle = {
  name: "addon-beside-bundle",
  setup({ onLoad }) {
    onLoad({ filter: /zeromq[\\/]lib[\\/]native\.js$/ }, () => ({
      contents: `
        const platform = process.platform + "-" + process.arch;
        const known = ${JSON.stringify(Object.keys(addons))};
        if (!known.includes(platform))
          throw new Error("the plugin has no ZeroMQ for " + platform + "; it has it for " + known.join(", "));
        module.exports = require(require("node:path").join(__dirname, "zeromq", platform + ".node"));`,
    }));
  },
};

/**
 * Bundles for Node 20 into the folder `out`, which is made anew, with the addons of these platforms (all of
 * them, where it is left out). `options` are esbuild's, over ours; gives esbuild's result.
 */
export async function bundle({ out, platforms = Object.keys(addons), plugins = [], ...options }) {
  rmSync(out, { recursive: true, force: true });
  const result = await build({
    absWorkingDir: root,
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
    metafile: true,
    logLevel: "warning",
    banner: {
      // What the CommonJS packages in it take for granted.
      js: `import { createRequire as $createRequire } from "node:module";
import { dirname as $dirname } from "node:path";
import { fileURLToPath as $fileURLToPath } from "node:url";
const require = $createRequire(import.meta.url);
const __filename = $fileURLToPath(import.meta.url);
const __dirname = $dirname(__filename);`,
    },
    ...options,
    plugins: [addonBesideBundle, ...plugins],
  });
  for (const file of wasm)
    cpSync(join(packages, "@tensorflow/tfjs-backend-wasm/dist", file), join(out, file));
  for (const platform of platforms)
    cpSync(
      join(packages, "zeromq/build", addons[platform], "addon.node"),
      join(out, "zeromq", `${platform}.node`),
    );
  return result;
}
