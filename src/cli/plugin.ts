// The plugin alone, without the commands that need more than it: what the Python package starts and its wheel carries.
import { runProgram } from "./program.ts";
import { serve } from "./serve.ts";

process.exitCode = await runProgram([serve], process.argv.slice(2));
