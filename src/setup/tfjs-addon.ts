import { existsSync } from "node:fs";
import { readFile, rm, symlink } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { z } from "zod";
import { writeAtomic } from "../files/atomic.ts";
import { packageRoot } from "../files/paths.ts";
import { probeBackend } from "./backend.ts";
import { fetchLibtensorflow, libtensorflow } from "./libtensorflow.ts";
import { say, step } from "./progress.ts";
import { answers, run } from "./shell.ts";

const addon = join(packageRoot, "node_modules", "@tensorflow", "tfjs-node");
const built = join(addon, "lib");
const stamp = join(addon, ".mixhead-setup.json");

/** The outcome of set-up: the native addon, or wasm and the reason. `node`: the Node ABI for which it is valid. */
const Outcome = z.object({ node: z.string(), backend: z.enum(["tensorflow", "wasm"]), why: z.string() });
export type Outcome = z.infer<typeof Outcome>;

/** The outcome of the last set-up for this Node; undefined if there was none. */
export async function addonOutcome(): Promise<Outcome | undefined> {
  try {
    const outcome = Outcome.parse(JSON.parse(await readFile(stamp, "utf8")));
    return outcome.node === process.versions.modules ? outcome : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Makes tfjs-node's native addon work: as it is, or with its own download of libtensorflow, or built
 * against the libtensorflow of the wheel `tensorflow-cpu`. If none of these succeeds, mixhead computes
 * with wasm: the reason is printed and saved, and set-up tries again only with `retry`.
 * @returns whether there was anything to do
 */
export async function setUpAddon(python: string, retry = false): Promise<boolean> {
  if (!existsSync(addon)) return false;
  const before = await addonOutcome();
  if (before && (before.backend === "tensorflow" || !retry)) return false;
  const failures: string[] = [];
  for (const way of [asItIs, ordinaryDownload, wheelBuild]) {
    try {
      await way(python);
      await probeBackend("tensorflow");
      await keep("tensorflow", "");
      return true;
    } catch (error) {
      failures.push(error instanceof Error ? error.message : String(error));
    }
  }
  // A broken addon could crash every process that loads it.
  await rm(built, { recursive: true, force: true });
  const why = failures.at(-1)?.split("\n")[0] ?? "";
  await keep("wasm", why);
  say(
    `  mixhead computes with wasm, since the native tfjs-node is not available: ${why} (npm run setup tries again)`,
  );
  return true;
}

async function keep(backend: Outcome["backend"], why: string): Promise<void> {
  const outcome: Outcome = { node: process.versions.modules, backend, why };
  await writeAtomic(stamp, [JSON.stringify(outcome)]);
}

async function asItIs(): Promise<void> {
  if (!existsSync(built)) throw new Error("tfjs-node has no addon yet");
}

/** Runs the package's own install script. It is stopped if nothing has arrived after 20 seconds. */
async function ordinaryDownload(): Promise<void> {
  const arrived = join(addon, "deps", "lib");
  await rm(join(addon, "deps"), { recursive: true, force: true });
  await step("tfjs-node: fetching libtensorflow, about 100 MB (400 MB on disk)", async (note) => {
    const patience = new AbortController();
    const timer = setTimeout(() => {
      if (!existsSync(arrived)) patience.abort("its host did not answer in 20 seconds");
    }, 20_000);
    const rebuild = ["rebuild", "--ignore-scripts=false", "--foreground-scripts", "@tensorflow/tfjs-node"];
    const env = { npm_config_fetch_retries: "0", ...nodeHeaders() };
    await run("npm", rebuild, { cwd: packageRoot, env, signal: patience.signal, onLine: note }).finally(() =>
      clearTimeout(timer),
    );
  }).catch((error: unknown) => {
    say("  not available from its own host");
    throw error;
  });
}

async function wheelBuild(python: string): Promise<void> {
  if (process.platform !== "linux" || process.arch !== "x64")
    throw new Error(`there is no other libtensorflow for ${process.platform} on ${process.arch}`);
  for (const [tool, names] of Object.entries({
    "a C++ compiler": ["c++", "g++", "clang++"],
    make: ["make"],
  })) {
    const found = await Promise.all(names.map((name) => answers(name)));
    if (!found.includes(true)) throw new Error(`building it needs ${tool}, and there is none`);
  }
  if (!existsSync(libtensorflow))
    await step(
      "tfjs-node: fetching libtensorflow in the wheel tensorflow-cpu, 274 MB (860 MB on disk)",
      (note) => fetchLibtensorflow(python, note),
    );
  await step("tfjs-node: building the addon", async (note) => {
    const deps = join(addon, "deps");
    await rm(deps, { recursive: true, force: true });
    await symlink(relative(dirname(deps), libtensorflow), deps);
    const env = { ...nodeHeaders(), npm_config_python: python };
    await run("npm", ["run", "build-addon-from-source"], { cwd: addon, env, onLine: note });
    await rm(join(addon, "build-tmp-napi-v8"), { recursive: true, force: true });
  });
}

/** Points node-gyp to the headers of this Node, which it would otherwise download. */
function nodeHeaders(): Record<string, string> {
  const prefix = dirname(dirname(process.execPath));
  return existsSync(join(prefix, "include", "node", "node.h")) ? { npm_config_nodedir: prefix } : {};
}
