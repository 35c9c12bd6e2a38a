import { sentence } from "../errors.ts";
import type { NamedTensors } from "../files/tensors.ts";
import { encode, type Frames, type Tensors } from "./codec.ts";
import { type Dialect, VERSIONS } from "./dialect.ts";
import { RejectError } from "./errors.ts";
import type { Run } from "./executor-run.ts";
import { short } from "./limits.ts";
import type { RejectCode } from "./protocol.ts";
import type { Answer, Welcome } from "./room.ts";
import { runInfo, runTensors } from "./runs.ts";
import { denseTargets, targetTensors } from "./sparse.ts";

/** Encodes a welcome. `run`: the welcome's run as this rank gets it. */
export function encodeWelcome(
  generation: string,
  welcome: Welcome,
  run: Run | undefined,
  { version, capabilities }: Dialect,
): Frames {
  const { step, config, commands, prototypes } = welcome;
  const tensors: Tensors = run ? runTensors(run) : {};
  if (prototypes) {
    const { n, d, data } = prototypes;
    tensors.prototypes = { dtype: "float32", shape: [n, d], data };
  }
  const head = { type: "welcome", version, generation } as const;
  const agreed = version > VERSIONS.oldest ? { capabilities: [...capabilities] } : {};
  return encode({ ...head, step, config, commands, run: run ? runInfo(run) : null, ...agreed }, tensors);
}

/** Encodes the answer to a step. `tensors`, `run`: the answer's as this rank gets them. */
export function encodeTargets(
  generation: string,
  step: number,
  { scalars, commands }: Answer,
  tensors: Tensors | undefined,
  run: Run | undefined,
): Frames {
  const head = { type: "targets", generation, step, scalars, commands } as const;
  if (!run) return encode({ ...head, run: null }, tensors);
  return encode({ ...head, run: runInfo(run) }, { ...tensors, ...runTensors(run) });
}

/**
 * Encodes a rejection. `otherwise`: the code of an error that is not a RejectError. `version`: the version that the
 * client speaks; version 2 has no code "secret".
 */
export function encodeReject(
  error: unknown,
  otherwise: RejectCode,
  version: number = VERSIONS.newest,
): Frames {
  const known = error instanceof RejectError ? error.code : otherwise;
  const code = known === "secret" && version === 2 ? "unknown" : known;
  return encode({ type: "reject", code, message: short(sentence(error)) });
}

/** A room's state as the tensors of a message. */
export function stateTensors(state: NamedTensors): Tensors {
  return Object.fromEntries(
    Object.entries(state).map(([name, tensor]) => [name, { dtype: "float32", ...tensor }] as const),
  );
}

/** Reads a state that a rank saved. Throws RejectError if a tensor is not float32. */
export function readState(tensors: Tensors): NamedTensors {
  const state: NamedTensors = {};
  for (const [name, { dtype, shape, data }] of Object.entries(tensors)) {
    if (dtype !== "float32") throw new RejectError("state", `"${name}" of a state is float32, not ${dtype}`);
    state[name] = { shape, data };
  }
  return state;
}

/**
 * An answer as tensors for each rank: all ranks get the prototypes, and each gets its own target rows. `counts`: the
 * number of rows that each rank sent; `dialects`: what each rank can read. Throws RangeError if the answer does not
 * match the counts.
 */
export function answerTensors(
  { rows, targets }: Answer,
  counts: number[],
  dialects: readonly (Dialect | undefined)[],
): Tensors[] {
  const shared: Tensors = {};
  if (rows) {
    const { indices, data, d } = rows;
    shared.rows = { dtype: "float32", shape: [data.length / d, d], data };
    if (indices) shared.indices = { dtype: "int32", shape: [indices.length], data: indices };
  }
  if (!targets) return counts.map(() => shared);
  const { n, k, data } = targets;
  if (n !== counts.reduce((sum, count) => sum + count, 0) || data.length !== n * k) {
    throw new RangeError(
      `the plugin answered ${n} x ${k} targets (${data.length} numbers) to ${counts.join(" + ")} rows`,
    );
  }
  let start = 0;
  return counts.map((count, i) => {
    const own = data.subarray(start * k, (start + count) * k);
    start += count;
    const sparse = dialects[i]?.capabilities.includes("sparse") ?? false;
    return { ...shared, ...(sparse ? targetTensors(own, count, k) : denseTargets(own, count, k)) };
  });
}
