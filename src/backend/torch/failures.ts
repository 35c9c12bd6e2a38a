import { RunError, UserError } from "../../errors.ts";
import type { Instruction } from "./datum.ts";
import { describe } from "./datum.ts";
import { inBrackets } from "./sites.ts";

/**
 * The error of a failed run, in one sentence: the operation, its inputs, the line of code that queued it, and the
 * executor's message. `at`: the index of the instruction that failed; -1 if it is none of them.
 */
export function failureOf(code: readonly Instruction[], at: number, kind: string, message: string): Error {
  const instruction = code[at];
  if (instruction === undefined) return errorOf(kind, `a run failed on the device: ${message}`);
  const { kernel, site } = instruction;
  const why = message.replace(`${kernel} failed: `, "").replace(`${kernel} found no memory: `, "");
  const how = kind === "memory" ? "does not fit into the device's memory" : "failed on the device";
  return errorOf(kind, `${inWords(instruction)} ${how}${inBrackets(site)}: ${why}`);
}

/** "BatchMatMul of float32 [2, 3] and float32 [3, 4]". */
export function inWords({ kernel, inputs }: Pick<Instruction, "kernel" | "inputs">): string {
  return inputs.length === 0 ? kernel : `${kernel} of ${inputs.map(describe).join(" and ")}`;
}

function errorOf(kind: string, sentence: string): Error {
  const isUsers = kind === "memory" || kind === "kernel";
  return isUsers ? new UserError(sentence) : new RunError("device-failed", sentence);
}
