import type { Context, Figure, Row } from "../figure.ts";
import { python } from "../process.ts";
import { allSamples, inTurns, samplesOf } from "../turns.ts";
import { attachment } from "./head.ts";

const COMPONENTS = 65_536;

/** The memory that a head keeps on the device between steps. */
export const memory: Figure = {
  title:
    "Memory of a head on the device: parameters, gradients, AdamW's moments, the teacher's copy, the mixture",
  how: () =>
    `K = ${COMPONENTS.toLocaleString("en-US")}, D = 256, after three steps. "host" keeps its mixture in Node's memory, which is not counted.`,
  async measure(context) {
    const arm = (prototypes: string, attach = {}) => ({
      command: python("memory", {
        prototypes,
        components: COMPONENTS,
        batch: 8,
        views: 2,
        device: context.device,
        attach,
      }),
    });
    const plugin = { components: COMPONENTS };
    const diagonal = { ...plugin, covariance: "diagonal", weights: "estimated" };
    const answers = await inTurns(
      {
        joint: arm("joint"),
        host: arm("online-gmm", attachment(plugin, "host")),
        device: arm("online-gmm", attachment(plugin, "device")),
        "device, diagonal": arm("online-gmm", attachment(diagonal, "device")),
      },
      1,
      context,
    );
    const row = (part: string, key: string, goal?: number): Row => ({
      setting: { part },
      arms: allSamples(answers, key, "MB"),
      ratios: [
        { of: "device", to: "joint", ...(goal !== undefined && { atMost: goal }) },
        { of: "device, diagonal", to: "joint", ...(goal !== undefined && { atMost: 1.3 * goal }) },
      ],
    });
    return [row("the whole head", "MB", 0.6), row("without its MLP", "prototypesMB")];
  },
};

/** The peak memory of an EM step with many rows. */
export const peak: Figure = {
  title: "Peak memory of an EM step, above what the mixture keeps",
  how: ({ device }) =>
    `N = 8,192, K = 65,536, D = 256: N x K alone would be 2,147 MB. ${device === "cuda" ? "Of PyTorch's tensors on the GPU." : "Of the process, by the kernel's count."}`,
  async measure(context: Context) {
    const size = { rows: 8192, dim: 256, components: COMPONENTS, device: context.device };
    const plugin = { components: COMPONENTS };
    const answers = await inTurns(
      {
        device: { command: python("em_peak", { ...size, attach: attachment(plugin, "device") }) },
        ...(context.device === "cuda" && { PyTorch: { command: python("em_peak", size) } }),
      },
      1,
      context,
    );
    return [
      {
        setting: { N: size.rows, K: COMPONENTS },
        arms: {
          ...allSamples(answers, "MB", "MB"),
          device: { ...samplesOf(answers.get("device"), "MB", "MB"), atMost: 500 },
        },
        ratios: [],
      },
    ];
  },
};
