// `npm test`: set-up, then every check.
import { setUp } from "./setup.mjs";

await setUp();
const { runChecks } = await import("../src/setup/checks.ts");
process.exitCode = await runChecks();
