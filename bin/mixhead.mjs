#!/usr/bin/env node
// The command line. Checked in as plain JavaScript, so that it can say what to do where nothing is installed yet.
import { nodeTooOld, packagesMatch, root } from "./packages.mjs";

const problem =
  nodeTooOld() ??
  (packagesMatch()
    ? undefined
    : `the npm packages are not those of package-lock.json: run \`npm start\` in ${root}, which sets everything up`);
if (problem) {
  process.stderr.write(`mixhead: ${problem}\n`);
  process.exit(2);
}
await import("../register.mjs");
const { main } = await import("../src/cli/main.ts");
process.exitCode = await main(process.argv.slice(2));
