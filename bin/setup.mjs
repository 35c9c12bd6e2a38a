// Set-up, stage one: what has to work before anything is installed. It brings the npm packages, then hands over to
// src/setup. By itself (`npm run setup`) it also tries again what an earlier set-up did without.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { shareLock } from "../src/files/lock.mjs";
import { takeLock } from "./lock.mjs";
import { nodeTooOld, packagesMatch, root } from "./packages.mjs";

const lock = join(root, ".cache", "setup.lock");

/** Installs whatever is missing; ends the process with one sentence where that cannot be done. */
export async function setUp({ retry = false } = {}) {
  const tooOld = nodeTooOld();
  if (tooOld) fail(tooOld);
  const start = Date.now();
  const stops = Object.entries({ SIGINT: 130, SIGTERM: 143, SIGHUP: 129 }).map(([signal, status]) => {
    const stop = () => process.exit(status);
    process.on(signal, stop);
    return () => process.off(signal, stop);
  });
  const free = await takeLock(lock);
  try {
    // Where its download fails, an `npm install` by hand has dropped tfjs-node, which is optional.
    const installed = !packagesMatch() || !existsSync(join(root, "node_modules/@tensorflow/tfjs-node"));
    if (installed) await installPackages();
    await import("../register.mjs");
    const { setUpAll } = await import("../src/setup/index.ts");
    await setUpAll({ start, retry, installed });
  } catch (error) {
    fail(error.message);
  } finally {
    free();
    for (const off of stops) off();
  }
}

/** `npm ci` needs no scripts: every addon but tfjs-node's comes built. */
async function installPackages() {
  process.stderr.write("npm packages of package-lock.json: about 260 MB to fetch, 650 MB on disk\n");
  const start = Date.now();
  const seconds = () => Math.round((Date.now() - start) / 1000);
  const alive = setInterval(() => process.stderr.write(`  ${seconds()} s\n`), 15_000);
  const quiet = ["--no-audit", "--no-fund", "--loglevel=error"];
  const npm = spawn("npm", ["ci", "--ignore-scripts", "--include=dev", "--include=optional", ...quiet], {
    cwd: root,
    stdio: ["ignore", "ignore", "inherit"],
  });
  if (npm.pid) shareLock(lock, npm.pid);
  const stop = () => npm.kill();
  process.once("exit", stop);
  const status = await new Promise((resolve) => {
    npm.once("error", (error) => resolve(error.message));
    npm.once("close", resolve);
  });
  clearInterval(alive);
  process.off("exit", stop);
  if (status !== 0) throw new Error(`npm ci failed (${status}): the npm packages are not installed`);
  if (!packagesMatch()) throw new Error("npm ci did not install what package-lock.json says");
  process.stderr.write(`  done in ${seconds()} s\n`);
}

function fail(sentence) {
  process.stderr.write(`set-up failed: ${sentence}\n`);
  process.exit(1);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await setUp({ retry: true });
