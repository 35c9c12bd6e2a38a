// The plugin alone, without the other commands. The Python package starts this file, and its wheel contains it bundled.
import { ignoreSignals } from "../terminal/signals.ts";

// Before loading the rest, which can take a second.
if (process.argv.includes("--owned")) ignoreSignals();
const [{ runProgram }, { serve }] = await Promise.all([import("./program.ts"), import("./serve.ts")]);
process.exitCode = await runProgram([serve], process.argv.slice(2));
