import { type Context, type Figure, type Row, rowOfEach } from "../figure.ts";
import { python } from "../process.ts";
import { type ArmSpec, allSamples, inTurns, onceOf, samplesOf } from "../turns.ts";
import { attachment } from "./head.ts";

interface Setting {
  rows: number;
  components: number;
  host: boolean;
  /** Milliseconds. */
  atMost?: number;
}

const DIM = 256;
const COVARIANCES = ["shared", "diagonal"] as const;
/** Products of the diagonal covariance are twice as wide. */
const WIDER = { shared: 1, diagonal: 1.3 };

function settings({ device }: Context): Setting[] {
  if (device === "cpu") {
    return [
      { rows: 256, components: 1024, host: true },
      { rows: 256, components: 8192, host: true },
    ];
  }
  return [
    { rows: 512, components: 65_536, host: false },
    { rows: 512, components: 262_144, host: false, atMost: 10 },
  ];
}

/** Compares the plugin's EM step with the same step in PyTorch, and with the products that every implementation needs. */
export const em: Figure = {
  title: "An EM step: the plugin's, the same in PyTorch, and its two matrix products alone",
  how: (context) =>
    `D = ${DIM}. "device": Node queues, this process's PyTorch computes, and a step waits for the answer to the one before; "kernels": of it, what the GPU computes. Each arm in a process of its own, in turns; median (least to greatest) of ${roundsOf(context)} rounds.`,
  measure: (context) => rowOfEach(settings(context), context, measureOne),
};

const roundsOf = ({ device, quick }: Pick<Context, "device" | "quick">) =>
  quick ? 2 : device === "cpu" ? 11 : 5;

async function measureOne(setting: Setting, context: Context): Promise<Row> {
  const { rows, components, host, atMost } = setting;
  const { device, quick } = context;
  context.note(`N = ${rows}, K = ${components}`);
  const size = { rows, dim: DIM, device, seconds: quick ? 0.1 : 0.5 };
  const inPython = (what: string): ArmSpec => ({ command: python("em", { what, components, ...size }) });
  const arms: Record<string, ArmSpec> = {};
  for (const covariance of COVARIANCES) {
    const plugin = { components, covariance, ...(covariance === "diagonal" && { weights: "estimated" }) };
    const dropIn = (placement: string): ArmSpec => ({
      command: python("em_dropin", { ...size, attach: attachment(plugin, placement) }),
    });
    arms[named("device", covariance)] = dropIn("device");
    arms[named("PyTorch", covariance)] = inPython(covariance);
    arms[named("products", covariance)] = inPython(`products ${covariance}`);
    if (host) arms[named("host", covariance)] = dropIn("host");
  }
  const answers = await inTurns(arms, roundsOf(context), context);
  const measured = allSamples(answers, "ms", "ms");
  for (const covariance of COVARIANCES) {
    const name = named("device", covariance);
    const limit = atMost === undefined ? {} : { atMost: WIDER[covariance] * atMost };
    measured[name] = { ...samplesOf(answers.get(name), "ms", "ms"), ...limit };
    if (device === "cuda")
      measured[named("kernels", covariance)] = onceOf(answers.get(name), "kernelMs", "ms");
  }
  return {
    setting: { N: rows, K: components },
    arms: measured,
    ratios: COVARIANCES.flatMap((covariance) => [
      ratio("device", "PyTorch", covariance, 1.1),
      ratio("device", "products", covariance, 1.5),
      ...(device === "cuda" ? [ratio("kernels", "products", covariance, 1.5)] : []),
      ...(host ? [{ of: named("host", covariance), to: named("PyTorch", covariance) }] : []),
    ]),
  };
}

function named(arm: string, covariance: (typeof COVARIANCES)[number]): string {
  return covariance === "shared" ? arm : `${arm}, diagonal`;
}

function ratio(of: string, to: string, covariance: (typeof COVARIANCES)[number], goal: number) {
  return { of: named(of, covariance), to: named(to, covariance), atMost: goal * WIDER[covariance] };
}
