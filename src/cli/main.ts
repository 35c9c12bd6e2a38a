import { compare } from "./compare.ts";
import { diagnose } from "./diagnose.ts";
import { doctor } from "./doctor.ts";
import { fit } from "./fit.ts";
import { runProgram } from "./program.ts";
import { resume } from "./resume.ts";
import { serve } from "./serve.ts";
import { train } from "./train.ts";

/** Runs one command line; the exit status: 0 done, 1 failed, 2 bad input. */
export function main(args: readonly string[]): Promise<number> {
  return runProgram([train, compare, resume, serve, fit, diagnose, doctor], args);
}
