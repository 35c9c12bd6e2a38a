// The plugin alone, without the commands that need more than it: what the Python package starts and its wheel carries.
import { ignoreSignals } from "../terminal/signals.ts";

// Before the rest is loaded, which may take a second.
if (process.argv.includes("--owned")) ignoreSignals();
const [{ runProgram }, { serve }] = await Promise.all([import("./program.ts"), import("./serve.ts")]);
process.exitCode = await runProgram([serve], process.argv.slice(2));
