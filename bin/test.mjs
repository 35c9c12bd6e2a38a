// `npm test`: set-up, then every check. What follows `npm test --` names the ones to run.
import { setUp } from "./setup.mjs";

await setUp();
const { runChecks } = await import("../src/setup/checks.ts");
process.exitCode = await runChecks(process.argv.slice(2));
