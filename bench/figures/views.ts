import { resolveConfig } from "../../src/config/load.ts";
import { dataDir } from "../../src/files/paths.ts";
import type { Figure } from "../figure.ts";
import { python } from "../process.ts";
import { inTurns, samplesOf } from "../turns.ts";

/** The parts of a step of a joint arm. */
export const views: Figure = {
  title: "A joint arm's step: fetching images, augmenting them, all the rest",
  how: ({ device }) =>
    `conv-small, 128 CIFAR-10 images, 2 + 2 views${device === "cpu" ? ", one thread" : ""}: median (least to greatest) of steps after the first 10.`,
  async measure(context) {
    const config = resolveConfig({ prototypes: "joint", device: context.device, data: { train: 20_000 } });
    const command = python("views", { config, dataDir: dataDir() });
    const env: Record<string, string> = context.device === "cpu" ? { OMP_NUM_THREADS: "1" } : {};
    const answers = await inTurns({ step: { command, env } }, context.quick ? 5 : 40, context);
    const part = (key: string) => samplesOf(answers.get("step"), key, "ms");
    return [
      {
        setting: { encoder: config.encoder.name, images: config.train.batch },
        arms: { fetching: part("fetchMs"), augmenting: part("augmentMs"), "the rest": part("restMs") },
        ratios: [],
      },
    ];
  },
};
