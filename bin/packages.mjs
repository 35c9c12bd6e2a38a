// Which npm packages there are and which there should be, in plain Node: nothing is installed yet when it runs.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The folder that holds package.json. */
export const root = fileURLToPath(new URL("..", import.meta.url));

/** A sentence where this Node is too old, else undefined. */
export function nodeTooOld() {
  const [, major, minor] = />=(\d+)\.(\d+)/.exec(read("package.json").engines.node);
  const [haveMajor, haveMinor] = process.versions.node.split(".").map(Number);
  if (haveMajor > Number(major) || (haveMajor === Number(major) && haveMinor >= Number(minor))) return;
  return `mixhead needs Node ${major}.${minor} or newer, and this is ${process.versions.node}`;
}

/**
 * Whether node_modules is what package-lock.json says. npm writes what it has installed as its last
 * act, so an installation that was cut short does not match. A package that is optional may be missing.
 */
export function packagesMatch(folder = root) {
  let installed;
  try {
    installed = read("node_modules/.package-lock.json", folder).packages;
  } catch {
    return false;
  }
  const { "": _, ...wanted } = read("package-lock.json", folder).packages;
  const same = (name) => installed[name]?.version === wanted[name]?.version;
  const needed = Object.keys(wanted).filter((name) => !wanted[name].optional || name in installed);
  return needed.every(same) && Object.keys(installed).every(same);
}

function read(file, folder = root) {
  return JSON.parse(readFileSync(join(folder, file), "utf8"));
}
