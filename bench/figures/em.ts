import type { Context, Figure, Row } from "../figure.ts";
import { node, python } from "../process.ts";
import { type ArmSpec, allSamples, inTurns, onceOf, samplesOf } from "../turns.ts";
import { attachment } from "./head.ts";

interface Setting {
  rows: number;
  components: number;
  covariance: "shared" | "diagonal";
  host: boolean;
  /** Milliseconds. */
  atMost?: number;
}

const DIM = 256;
const COVARIANCES = ["shared", "diagonal"] as const;

function settings({ device }: Context): Setting[] {
  const sizes =
    device === "cpu"
      ? [
          { rows: 256, components: 1024, host: true },
          { rows: 256, components: 8192, host: true },
        ]
      : [
          { rows: 512, components: 65_536, host: false },
          { rows: 512, components: 262_144, host: false, atMost: 10 },
        ];
  return sizes.flatMap(({ atMost, ...size }): Setting[] =>
    COVARIANCES.map((covariance) => ({
      ...size,
      covariance,
      ...(atMost !== undefined && { atMost: covariance === "shared" ? atMost : 1.3 * atMost }),
    })),
  );
}

/** The EM step of the plugin, beside the same step in PyTorch and beside what no implementation gets around. */
export const em: Figure = {
  title: "An EM step: the plugin's, the same in PyTorch, and its two matrix products alone",
  how: ({ device }) => {
    const kernels = device === "cuda" ? `; "kernels": of it, what the GPU computes` : "";
    return `D = ${DIM}. "device": Node queues, the rank's PyTorch computes, and a step waits for the answer to the one before${kernels}. "backend": a Node program on tfjs's backend torch, which reads the entropy at every step. Each arm in a process of its own, in turns; median (least to greatest) of rounds.`;
  },
  async measure(context) {
    const rows: Row[] = [];
    for (const setting of settings(context)) rows.push(await measureOne(setting, context));
    return rows;
  },
};

async function measureOne(setting: Setting, context: Context): Promise<Row> {
  const { rows, components, covariance, host, atMost } = setting;
  const { device, quick } = context;
  context.note(`N = ${rows}, K = ${components}, ${covariance}`);
  const size = { rows, dim: DIM, device, seconds: quick ? 0.1 : device === "cpu" ? 0.5 : 0.15 };
  const inPython = (what: string): ArmSpec => ({ command: python("em", { what, components, ...size }) });
  const plugin = { components, covariance, ...(covariance === "diagonal" && { weights: "estimated" }) };
  const dropIn = (placement: string): ArmSpec => ({
    command: python("em_dropin", { ...size, attach: attachment(plugin, placement) }),
  });
  const answers = await inTurns(
    {
      device: dropIn("device"),
      PyTorch: inPython(covariance),
      products: inPython(`products ${covariance}`),
      backend: { command: node("em-backend", { backend: "torch", plugin, ...size }) },
      ...(host && { host: dropIn("host") }),
    },
    quick ? 2 : device === "cpu" ? 11 : 7,
    context,
  );
  const limit = atMost === undefined ? {} : { atMost };
  const wider = covariance === "shared" ? 1 : 1.3;
  return {
    setting: { N: rows, K: components, covariance },
    arms: {
      ...allSamples(answers, "ms", "ms"),
      device: { ...samplesOf(answers.get("device"), "ms", "ms"), ...limit },
      ...(device === "cuda" && { kernels: onceOf(answers.get("device"), "kernelMs", "ms") }),
    },
    ratios: [
      { of: "device", to: "PyTorch", atMost: 1.1 * wider },
      { of: "device", to: "products", atMost: 1.5 * wider },
      { of: "backend", to: "PyTorch" },
      ...(host ? [{ of: "host", to: "PyTorch" }] : []),
    ],
  };
}
