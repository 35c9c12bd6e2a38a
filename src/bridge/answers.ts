import { sentence } from "../errors.ts";
import { encode, type Frames, type Tensors } from "./codec.ts";
import { RejectError } from "./errors.ts";
import { PROTOCOL_VERSION, type RejectCode } from "./protocol.ts";
import type { Answer, Welcome } from "./room.ts";
import { targetTensors } from "./sparse.ts";

export function encodeWelcome(generation: string, welcome: Welcome): Frames {
  const { step, config, commands, prototypes } = welcome;
  const header = { type: "welcome", version: PROTOCOL_VERSION, generation, step, config, commands } as const;
  if (!prototypes) return encode(header);
  const { n, d, data } = prototypes;
  return encode(header, { prototypes: { dtype: "float32", shape: [n, d], data } });
}

/** A rejection as it travels; `otherwise` is the code of what is not a RejectError. */
export function encodeReject(error: unknown, otherwise: RejectCode): Frames {
  const code = error instanceof RejectError ? error.code : otherwise;
  return encode({ type: "reject", code, message: sentence(error) });
}

/**
 * An answer as the tensors of each rank: the prototypes are everybody's, the target rows each one's
 * own. `counts`: how many rows each rank sent. Throws RangeError where the answer does not fit them.
 */
export function answerTensors({ rows, targets }: Answer, counts: number[]): Tensors[] {
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
  return counts.map((count) => {
    const own = data.subarray(start * k, (start + count) * k);
    start += count;
    return { ...shared, ...targetTensors(own, count, k) };
  });
}
