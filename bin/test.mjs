// `npm test`: set-up, then every check; with --quick those that take seconds.
import { setUp } from "./setup.mjs";

const others = process.argv.slice(2).filter((argument) => argument !== "--quick");
if (others.length > 0) {
  process.stderr.write(`mixhead: npm test takes --quick alone, not ${others.join(" ")}\n`);
  process.exit(2);
}
await setUp();
const { runChecks } = await import("../src/setup/checks.ts");
process.exitCode = await runChecks({ quick: process.argv.includes("--quick") });
